"""Words as the tokens that engines index. Read by every engine's indexer and query compiler.

Tokens are ASCII: `[a-z0-9]` as they are, any other character as `_` and the hex of its UTF-8, so that no
engine's idea of letters, case or accents comes into it and the beginning of a word is the beginning of its
token. `_` alone is the break between lists: it takes a place, and no phrase contains it.
"""

from __future__ import annotations

import re
from typing import Literal

import msgspec

from services.calls.words.indexing import Indexed
from services.calls.words.phrases import Words
from services.calls.words.splitting import words

Stream = Literal["url", "headers", "named", "bodies", "note"]

BREAK = "_"

_OTHER = re.compile(r"[^a-z0-9 _=]")
_ANYWHERE: tuple[Stream, ...] = ("url", "headers", "bodies")


class Streams(msgspec.Struct, frozen=True):
    """Tokens with one blank between them. named: `<canonical name>=<word>`."""

    url: str
    headers: str
    named: str
    bodies: str


class Wanted(msgspec.Struct, frozen=True):
    """A phrase found in any of `streams` where `tokens` stand side by side; prefix: the last begins a
    token."""

    streams: tuple[Stream, ...]
    tokens: tuple[str, ...]
    prefix: bool


def streams(call: Indexed) -> Streams:
    return Streams(
        _stream(call.url),
        _stream(call.headers),
        _stream([[f"{name}={word}" for word in line] for name, line in call.named]),
        _stream(call.bodies),
    )


def note_stream(note: str) -> str:
    return _stream([words(note)])


def wanted(term: Words) -> Wanted:
    tokens = tuple(_ascii(word) for word in term.words)
    match term.scope:
        case "any":
            return Wanted(_ANYWHERE, tokens, term.prefix)
        case "header" if term.name is not None:
            return Wanted(("named",), tuple(f"{term.name}={token}" for token in tokens), term.prefix)
        case "header":
            return Wanted(("headers",), tokens, term.prefix)
        case "body":
            return Wanted(("bodies",), tokens, term.prefix)
        case scope:
            return Wanted((scope,), tokens, term.prefix)


def fts5_match(phrase: Wanted) -> str:
    """For MATCH on an FTS5 table whose columns are named as the streams and whose tokenizer is
    `ascii tokenchars '_='` (or unicode61, which sees the same tokens). The phrase of SQLite's documentation,
    section 3.2 to 3.4."""
    return f'{{{" ".join(phrase.streams)}}} : "{" ".join(phrase.tokens)}"{" *" if phrase.prefix else ""}'


def tsvector(stream: str) -> str:
    """The text of a PostgreSQL tsvector, places counted from 1. Each token has at most MAX_PLACES places and
    none is past 16 383, the most that one keeps."""
    places: dict[str, list[str]] = {}
    for place, token in enumerate(stream.split(), 1):
        if token != BREAK:
            places.setdefault(token, []).append(str(place))
    return " ".join(f"'{token}':{','.join(at)}" for token, at in places.items())


def tsquery(phrase: Wanted) -> str:
    """The text of a PostgreSQL tsquery, for each of the streams."""
    return " <-> ".join(f"'{token}'" for token in phrase.tokens) + (":*" if phrase.prefix else "")


def _stream(lines: list[list[str]]) -> str:
    return _ascii(f" {BREAK} ".join(" ".join(line) for line in lines))


def _ascii(text: str) -> str:
    if text.isascii():
        return text
    return _OTHER.sub(lambda found: f"_{found[0].encode().hex()}", text)
