"""Erasing a bucket step by step, what still names a body, and getting removed bytes out of the files. Called
by the engine."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import msgspec

from schemas.request_vault import CATEGORY, MARK_FACTS
from services.request_vault.domain.cursors import Vector
from services.request_vault.domain.recording import DECISIONS, partition_of
from services.request_vault.store.port import Erased
from services.request_vault.store.sqlite import models
from services.request_vault.store.sqlite.ledger import Ledger
from services.request_vault.store.sqlite.models import VERSIONS, Generations
from services.request_vault.store.sqlite.places import PARTITION_SHIFT
from services.request_vault.store.sqlite.removing import remove
from services.request_vault.store.sqlite.rows import fetch, json_list, select
from services.request_vault.store.sqlite.trimming import STEP_BYTES


class _Found(msgspec.Struct, array_like=True):
    place: int
    event_bytes: int
    id: str | None


_found_decoder = msgspec.json.Decoder(list[_Found])

_OBSERVED = """(
SELECT r.place, length(r.event) AS event_bytes, c.id
FROM {event} e INDEXED BY {event}_key CROSS JOIN record r ON r.place = e.place
LEFT JOIN {call} c ON c.place = e.place
WHERE e.key = ? AND e.place > ? AND e.place <= ? ORDER BY e.place LIMIT ?)"""
# What was said of calls that went before.
_DECIDED = """(
SELECT r.place, length(r.event) AS event_bytes, NULL AS id
FROM {event} e INDEXED BY {event}_key CROSS JOIN record r ON r.place = e.place
WHERE e.key = ? AND e.place > ? AND e.place <= ? AND e.type IN (SELECT value FROM json_each(?))
ORDER BY e.place LIMIT ?)"""


def erase_bucket(
    connection: sqlite3.Connection,
    ledger: Ledger,
    bucket: str,
    upto: Vector,
    most: int,
    by: str,
    why: str,
    now_us: int,
) -> Erased:
    """`Store.erase_bucket`."""
    generations = ledger.generations
    partition = partition_of(bucket, ledger.partitions)
    first, last = _between(partition, upto)
    found = _within_step(
        fetch(
            connection,
            _select(_OBSERVED, generations),
            (bucket, first, last, most),
            _found_decoder,
        )
    )
    places = [each.place for each in found]
    ids = tuple(dict.fromkeys(each.id for each in found if each.id is not None))
    if ids:
        said = connection.execute(
            """SELECT r.place FROM json_each(?) w CROSS JOIN record r ON r.stream = ? || w.value
            WHERE r.key = ?""",
            (json_list(list(ids)), f"{CATEGORY}.call-", bucket),
        )
        places += [place for (place,) in said]
    if not places:
        first, last = _between(DECISIONS, upto)
        numbers = [ledger.types[fact.TYPE] for fact in MARK_FACTS if fact.TYPE in ledger.types]
        found = fetch(
            connection,
            _select(_DECIDED, generations),
            (bucket, first, last, json_list(numbers), most),
            _found_decoder,
        )
        places = [each.place for each in found]
    removal = remove(connection, ledger, sorted(places), now_us, erased=(by, why))
    return Erased(calls=ids, records=len(removal.places), bodies=removal.bodies)


def named(
    connection: sqlite3.Connection, generations: Generations, bucket: str, hashes: Sequence[str]
) -> set[str]:
    """`Store.named`."""
    if generations.versions["calls"] != VERSIONS["calls"]:
        return set(hashes)  # a model of an older version may not know
    unnamed = models.unnamed(connection, generations, [(bucket, sha256) for sha256 in hashes])
    return set(hashes) - {sha256 for _, sha256 in unnamed}


def checkpoint(connection: sqlite3.Connection) -> bool:
    """`Store.checkpoint`: everything goes from the write-ahead log into the database, and the log is cut to
    nothing; false when a reader still needs it. Outside a transaction."""
    (timeout_ms,) = connection.execute("PRAGMA busy_timeout").fetchone()
    connection.execute("PRAGMA busy_timeout=0")  # readers are not waited for: nobody could write meanwhile
    try:
        (busy, _, _) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    finally:
        connection.execute(f"PRAGMA busy_timeout={timeout_ms:d}")
    return not busy


def _between(partition: int, upto: Vector) -> tuple[int, int]:
    """Places: beyond the first, up to the last."""
    first = partition << PARTITION_SHIFT
    return first, first | upto.get(partition, 0)


def _select(source: str, generations: Generations) -> str:
    tables = {"event": generations.event, "call": generations.call}
    return select("place, event_bytes, id", source.format(**tables))


def _within_step(found: list[_Found]) -> list[_Found]:
    size = 0
    for count, each in enumerate(found):
        size += each.event_bytes
        if size > STEP_BYTES and count:
            return found[:count]
    return found
