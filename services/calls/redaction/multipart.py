"""Finds secrets in `multipart/form-data` (RFC 7578): fields by name, other parts by what is in them. Also in
a body that is cut, or whose boundary nobody names: its first line does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from services.calls.redaction.finder import Finder
from services.calls.redaction.marks import MARK, Hit, merged, moved, outside
from services.calls.redaction.texts import masked_whole

_BOUNDARY = re.compile(r"boundary\s{0,4}=\s{0,4}(?:\"([^\"]{1,200})\"|([^\s;,\"]{1,200}))", re.IGNORECASE)
_FIRST_LINE = re.compile(rb"--([^\r\n]{1,400}+)\r?\n")
_NAME = re.compile(rb"[;\s]name\s{0,4}=\s{0,4}(?:\"([^\"\r\n]{0,200}+)|([^\s;\"]{1,200}+))", re.IGNORECASE)
_FILE_NAME = re.compile(rb"filename\*?\s{0,4}=\s{0,4}\"?([^\"\r\n;]{1,1000}+)", re.IGNORECASE)


class Part(NamedTuple):
    """`text[start:end]` is its body; head: its headers, from head_start on."""

    head: bytes
    head_start: int
    start: int
    end: int


def parts(text: bytes, content_type: str | None) -> Iterator[Part]:
    """Of an end that is missing, the body's end is taken."""
    declared = _BOUNDARY.search(content_type or "")
    if declared is not None:
        boundary = (declared[1] or declared[2]).encode("utf-8", "replace")
    else:
        first = _FIRST_LINE.match(text)
        if first is None or not (boundary := first[1].rstrip(b" \t")):
            return
    line = b"--" + boundary
    at = text.find(line)
    while at >= 0:
        begin = at + len(line)
        at = text.find(b"\n" + line, begin - 1)
        end = at if at >= 0 else len(text)
        if at > begin and text[at - 1 : at] == b"\r":
            end -= 1
        at = at + 1 if at >= 0 else at
        blank = text.find(b"\r\n\r\n", begin, end)
        gap = 4
        if blank < 0:
            blank = text.find(b"\n\n", begin, end)
            gap = 2
        if blank >= 0:
            yield Part(text[begin:blank], begin, blank + gap, end)


def find_in_multipart(text: bytes, content_type: str | None, finder: Finder) -> list[Hit]:
    hits: list[Hit] = []
    bodies: list[tuple[int, int]] = []
    for part in parts(text, content_type):
        bodies.append((part.start, part.end))
        value = text[part.start : part.end]
        named = _NAME.search(part.head)
        told = None if named is None else finder.names.parameter(named[1] or named[2] or b"")
        if told is None:
            hits += moved(finder.nested(value, 1), part.start)
        elif (whole := masked_whole(value, part.start, "field", told)) is not None:
            hits.append(whole)
    return merged(text, hits + outside(bodies, finder.text(text)))


def dropped_parts(text: bytes, content_type: str | None) -> list[Hit] | None:
    """Every value and file name, in strict mode. None: it has no parts."""
    hits: list[Hit] = []
    found_one = False
    for part in parts(text, content_type):
        found_one = True
        for name in _FILE_NAME.finditer(part.head):
            start, end = name.span(1)
            hits.append(Hit(part.head_start + start, part.head_start + end, "strict", "", b""))
        if part.start < part.end and MARK.fullmatch(text, part.start, part.end) is None:
            hits.append(Hit(part.start, part.end, "strict", "", b""))
    return hits if found_one else None
