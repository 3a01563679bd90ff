"""Where a URL's query and fragment are (RFC 3986, appendix B), and how the values of both are dropped."""

from __future__ import annotations

import re

from services.calls.redaction.marks import MARK, Hit

Span = tuple[int, int]

_FIELD = re.compile(rb"(?=[^&])(?:([^&=]*+)=)?+([^&]*+)")


def parts_of(url: bytes) -> tuple[int, Span, Span]:
    """Where the path ends, and the places of the query and of the fragment, without `?` and `#`."""
    end = len(url)
    sharp = url.find(b"#")
    fragment = (end, end) if sharp < 0 else (sharp + 1, end)
    query_end = end if sharp < 0 else sharp
    mark = url.find(b"?", 0, query_end)
    if mark < 0:
        return query_end, (query_end, query_end), fragment
    return mark, (mark + 1, query_end), fragment


def dropped_fields(text: bytes) -> list[Hit]:
    """Every value of a form; what has no name is a value."""
    hits = []
    for found in _FIELD.finditer(text):
        if found[2] and MARK.fullmatch(found[2]) is None:
            hits.append(Hit(*found.span(2), "strict", "", b""))
    return hits
