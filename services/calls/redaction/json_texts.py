"""Finds secrets in JSON by the names of its members, also where it is cut, broken or in a string.

It is walked, never parsed: what is found are spans of the bytes as they are, duplicated keys count each, and
a cut document is read as far as it goes. Each byte is looked at a bounded number of times.
"""

from __future__ import annotations

import re
from bisect import bisect_right

import msgspec

from services.calls.redaction.escapes import unescaped_json
from services.calls.redaction.hints import ESCAPES, KEYS
from services.calls.redaction.json_paths import JsonPaths
from services.calls.redaction.json_tokens import BARE, CLOSING, OPENING, STRING, TOKEN, VALUE
from services.calls.redaction.marks import MARK, Hit
from services.calls.redaction.names import Names
from services.calls.redaction.patterns import Patterns, Piece
from services.calls.redaction.texts import Nested, masked_whole

# A string; if it is a key, with its colon and its value's first token.
_MEMBER = re.compile(
    STRING + rb"(?:[ \t\r\n]*+:[ \t\r\n]*+(?:" + STRING + rb'|([^\s",\[\]{}:]++)|([\[{]))?+)?+', re.DOTALL
)
_NUMBER = re.compile(rb"-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?")
_BEGINNING = re.compile(rb'[ \t\r\n]*+(?:\{[ \t\r\n]*+["}]|\[[ \t\r\n]*+(?:["{\[\]0-9-]|null|true|false))')
_BEFORE_NUMBER = frozenset(bytes((byte,)) for byte in b":,[ \t\r\n-.0123456789") | {b""}
_CONSTANTS = frozenset((b"null", b"true", b"false"))
_UNKNOWN = "?"  # no header, key or parameter is told so

_syntax = msgspec.json.Decoder(msgspec.Raw)


def looks_like_json(text: bytes) -> bool:
    return _BEGINNING.match(text) is not None


def is_json(text: bytes) -> bool:
    """One document, or one a line."""
    for read in (_syntax.decode, _syntax.decode_lines):
        try:
            read(text)
        except (ValueError, RecursionError):
            continue
        return True
    return False


def find_by_key(
    text: bytes, hints: frozenset[int], names: Names, nested: Nested, depth: int
) -> tuple[list[Hit], list[int]]:
    """Also the places of strings with escapes, start, end, start, end ...: they were looked into, so what is
    found in their escaped form does not count."""
    hits: list[Hit] = []
    looked_into: list[int] = []
    escapes = ESCAPES in hints
    if not (escapes or KEYS in hints):
        return hits, looked_into
    keys = names.keys
    at: int | None = 0
    while at is not None:
        resume = None
        for found in _MEMBER.finditer(text, at):
            which = found.lastindex
            key = found[1]
            if escapes and b"\\" in key:
                _look_into(key, found.start(1), hits, looked_into, nested, depth)
            if which == 1:
                continue
            told = keys.get(key, _UNKNOWN)
            if told is _UNKNOWN:
                told = names.key(key)
            if told is None:
                if escapes and which == 2 and b"\\" in found[2]:
                    _look_into(found[2], found.start(2), hits, looked_into, nested, depth)
                continue
            assert which is not None
            if which == 4:
                resume = mask_tree(text, found.start(4), "key", told, hits, looked_into)
                break
            _mask_scalar(found[which], found.start(which), which == 3, "key", told, hits, looked_into)
        at = resume
    return hits, looked_into


def find_by_pattern(text: bytes, patterns: Patterns) -> list[Hit]:
    """In each string that has no escapes (the others are looked into), and each number."""
    pieces = []
    for found in TOKEN.finditer(text):
        if found.lastindex == BARE:
            bare = found[BARE]
            quote = b'"' if bare in _CONSTANTS or _NUMBER.fullmatch(bare) else b""
            pieces.append(Piece(bare, found.start(BARE), quote))
        elif found[VALUE] is not None and b"\\" not in found[VALUE]:
            pieces.append(Piece(found[VALUE], found.start(VALUE)))
    return patterns.find(pieces)


def find_by_path(text: bytes, paths: JsonPaths, hits: list[Hit], looked_into: list[int]) -> None:
    paths.walk(text, lambda start, path: mask_tree(text, start, "bucket-path", path, hits, looked_into))


def mask_tree(text: bytes, start: int, rule: str, name: str, hits: list[Hit], looked_into: list[int]) -> int:
    """Every string and number of the value that begins at `start`; names of members stay. Returns its end."""
    depth = 0
    for found in TOKEN.finditer(text, start):
        which = found.lastindex
        if which == OPENING:
            depth += 1
        elif which == CLOSING:
            depth -= 1
        elif which in (VALUE, BARE):
            bare = which == BARE
            _mask_scalar(found[which], found.start(which), bare, rule, name, hits, looked_into)
        elif which is not None:
            continue
        if depth <= 0:
            return found.end()
    return len(text)


def dropped(text: bytes) -> list[Hit]:
    """Every value, in strict mode."""
    hits: list[Hit] = []
    for found in TOKEN.finditer(text):
        which = found.lastindex
        if which == BARE:
            hits.append(Hit(*found.span(BARE), "strict", "", b"", b'"'))
        elif which == VALUE and MARK.fullmatch(found[1]) is None:
            hits.append(Hit(*found.span(1), "strict", "", b""))
    return hits


def with_quotes(text: bytes, hits: list[Hit]) -> list[Hit]:
    """Hits of a search that knew no JSON: one in a number takes the whole number, and quotes."""
    if not any(text[hit.start - 1 : hit.start] in _BEFORE_NUMBER for hit in hits):
        return hits
    numbers = [
        found.span(BARE)
        for found in TOKEN.finditer(text)
        if found.lastindex == BARE and _NUMBER.fullmatch(found[BARE])
    ]
    quoted = []
    for hit in hits:
        nearest = bisect_right(numbers, (hit.start, len(text))) - 1
        if nearest >= 0 and hit.end <= numbers[nearest][1]:
            start, end = numbers[nearest]
            hit = hit._replace(start=start, end=end, quote=b'"')
        quoted.append(hit)
    return quoted


def _mask_scalar(
    value: bytes, start: int, bare: bool, rule: str, name: str, hits: list[Hit], looked_into: list[int]
) -> None:
    if bare:
        if value not in _CONSTANTS and value != b"\\":  # half an escape, where a text is cut
            hits.append(Hit(start, start + len(value), rule, name, value, b'"'))
        return
    hit = masked_whole(value, start, rule, name)
    if hit is None:
        return
    if b"\\" in value:
        looked_into += (start, start + len(value))
        hit = hit._replace(secret=unescaped_json(hit.secret).text)
    hits.append(hit)


def _look_into(
    value: bytes, start: int, hits: list[Hit], looked_into: list[int], nested: Nested, depth: int
) -> None:
    inner = unescaped_json(value)
    looked_into += (start, start + len(value))
    hits += [inner.outside(hit, start) for hit in nested(inner.text, depth + 1)]
