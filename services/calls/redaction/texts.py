"""Finds secrets in any text by what they look like: known formats, and parameters and userinfo of URLs that
stand in it. All of it in one pass over the hints, and one more for each rule that a hint spoke for.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from services.calls.redaction.escapes import unescaped_percent
from services.calls.redaction.hints import ASSIGNMENTS, KEYS, PARAMETERS, USERINFO
from services.calls.redaction.marks import MARK, Hit
from services.calls.redaction.names import Names
from services.calls.redaction.rules import FORMATS, SCHEMES

Nested = Callable[[bytes, int], list[Hit]]
"""Finds in a text that stood escaped in another, so many levels deep."""

_PARAMETER = re.compile(rb"[?&#;] ?([^\s=?&#;\"'<>\\]{1,64}+)=([^\s&#;\"'<>\\]*+)")
_USERINFO = re.compile(rb"://([^\s/?#\"'<>\\]*+)")
_ASSIGNMENT = re.compile(rb"[:=][ \t\r\n]{0,8}+\\{0,8}+([\"'])")
_QUOTED = {
    b'"': re.compile(rb'[^"\\\r\n]*+(?:\\.[^"\\\r\n]*+)*+'),
    b"'": re.compile(rb"[^'\\\r\n]*+(?:\\.[^'\\\r\n]*+)*+"),
}
_NAME_BYTES = 64
_BREAKS = bytes(byte if (chr(byte).isalnum() and byte < 128) or byte in b"-_." else 32 for byte in range(256))


def find_formats(text: bytes, hints: frozenset[int]) -> list[Hit]:
    hits: list[Hit] = []
    for place in sorted(hints):
        if place >= KEYS:
            break
        kind, _, expression, group, is_one = FORMATS[place]
        for found in expression.finditer(text):
            secret = found[group]
            if is_one is None or is_one(secret):
                hits.append(Hit(*found.span(group), kind, "", secret))
    return hits


def find_in_urls(text: bytes, hints: frozenset[int], names: Names, nested: Nested, depth: int) -> list[Hit]:
    """Userinfo (RFC 3986, 3.2.1) and parameters, whether a whole URL, a part of one or a cookie's text is
    around them."""
    hits: list[Hit] = []
    if USERINFO in hints:
        for found in _USERINFO.finditer(text):
            userinfo, at, _ = found[1].rpartition(b"@")
            if at and userinfo and MARK.fullmatch(userinfo) is None:
                start = found.start(1)
                secret = unescaped_percent(userinfo).text
                hits.append(Hit(start, start + len(userinfo), "userinfo", "", secret))
    if PARAMETERS in hints:
        for found in _PARAMETER.finditer(text):
            hits += find_in_parameter(found[1], found[2], found.start(2), "query", names, nested, depth)
    return hits


def find_in_parameter(
    name: bytes, value: bytes, start: int, rule: str, names: Names, nested: Nested, depth: int
) -> list[Hit]:
    """value: as it is encoded, from `start` on. Of a value that is not coded only the name is judged: it is
    part of a text that is searched anyway."""
    told = names.parameter(name)
    if told is None:
        return find_in_coded(value, start, nested, depth)
    hit = masked_whole(value, start, rule, told)
    return [] if hit is None else [hit._replace(secret=unescaped_percent(hit.secret).text)]


def find_in_coded(value: bytes, start: int, nested: Nested, depth: int) -> list[Hit]:
    if b"%" not in value and b"+" not in value:
        return []
    inner = unescaped_percent(value)
    return [inner.outside(hit, start) for hit in nested(inner.text, depth + 1)]


def find_assignments(text: bytes, hints: frozenset[int], names: Names) -> list[Hit]:
    """`password: "..."` and `token = '...'`, for text that is no JSON: GraphQL, JSON that is broken, code."""
    hits: list[Hit] = []
    at = 0
    while ASSIGNMENTS in hints and (found := _ASSIGNMENT.search(text, at)) is not None:
        at = found.end()
        before = text[max(0, found.start() - _NAME_BYTES) : found.start()].rstrip(b" \t\r\n\"'\\")
        told = names.parameter(before.translate(_BREAKS).rpartition(b" ")[2])
        if told is None:
            continue
        value = _QUOTED[found[1]].match(text, at)
        assert value is not None
        hit = masked_whole(value[0].rstrip(b"\\"), at, "key", told)
        if hit is not None:
            hits.append(hit)
        at = value.end()
    return hits


def masked_whole(value: bytes, start: int, rule: str, name: str) -> Hit | None:
    """A value that is secret by its name, but for the scheme in front of a credential (RFC 9110, 11.4). None:
    it is empty, or a mark already."""
    scheme, blank, credential = value.partition(b" ")
    if blank and credential and scheme.lower() in SCHEMES:
        start += len(scheme) + 1
        value = credential
    if not value or MARK.fullmatch(value) is not None:
        return None
    return Hit(start, start + len(value), rule, name, value)
