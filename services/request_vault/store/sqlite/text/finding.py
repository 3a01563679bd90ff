"""Places of the calls that hold a phrase, from the shards."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from functools import lru_cache

import msgspec

from services.calls.query import Words
from services.calls.words import fts5_match, wanted
from services.request_vault.store.sqlite.text.schema import table
from services.request_vault.store.sqlite.text.shards import Shard

TOGETHER = 16
"""Shards that one statement looks into: a statement costs more than a shard that lacks the word."""

_decoder = msgspec.json.Decoder(list[int])


def match_of(phrases: Sequence[Words], bucket: int) -> str:
    """For FTS5: all these phrases, in tokens of this bucket."""
    mark = mark_of(bucket)
    found = [wanted(phrase) for phrase in phrases]
    return " AND ".join(
        f"({fts5_match(msgspec.structs.replace(each, tokens=tuple(mark + token for token in each.tokens)))})"
        for each in found
    )


def mark_of(bucket: int) -> str:
    """What every token of a bucket begins with."""
    return f"{bucket}="


def marked(stream: str, mark: str) -> str:
    """A stream of tokens, each with the mark."""
    return mark + stream.replace(" ", " " + mark) if stream else ""


def find(
    connection: sqlite3.Connection,
    shards: Sequence[Shard],
    match: str,
    first: int,
    before: int,
    most: int,
    newest_first: bool,
) -> list[int]:
    """The first `most` places with first <= place < before, in order."""
    found: list[int] = []
    for group in _groups(shards, first, before, newest_first):
        (text,) = connection.execute(
            _statement(group, newest_first),
            {"match": match, "first": first, "before": before, "most": most - len(found)},
        ).fetchone()
        found += _decoder.decode(text)
        if len(found) >= most:
            break
    return found


def _groups(
    shards: Sequence[Shard], first: int, before: int, newest_first: bool
) -> Iterator[tuple[int, ...]]:
    """Numbers of shards to look into together, in the order of the search. Always the same ones together, so
    that their statement is one that was prepared before."""
    starts = range(0, len(shards), TOGETHER)
    for start in reversed(starts) if newest_first else starts:
        group = shards[start : start + TOGETHER]
        if group[0].first < before and group[-1].last >= first:
            numbers = tuple(shard.number for shard in group)
            yield numbers[::-1] if newest_first else numbers


@lru_cache(maxsize=256)
def _statement(shards: tuple[int, ...], newest_first: bool) -> str:
    """One array of places. SQLite runs the parts of UNION ALL one after the other, and no further than the
    limit."""
    order = "DESC" if newest_first else "ASC"
    parts = " UNION ALL ".join(
        f"SELECT * FROM (SELECT rowid AS place FROM {table(shard)} WHERE {table(shard)} MATCH :match"
        f" AND rowid >= :first AND rowid < :before ORDER BY rowid {order} LIMIT :most)"
        for shard in shards
    )
    return f"SELECT json_group_array(place) FROM (SELECT place FROM ({parts}) LIMIT :most)"
