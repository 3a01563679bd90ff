"""The tokens of JSON as the walks see them, in any text: what is no JSON gives tokens too, and none is looked
at twice."""

from __future__ import annotations

import re

STRING = rb'"([^"\\]*+(?:\\.[^"\\]*+)*+\\?+)"?+'
"""Its inside is a group. The end of the text ends it too."""

TOKEN = re.compile(
    # A mark outside of strings is no array: masking twice is masking once.
    STRING + rb"([ \t\r\n]*+:)?+|\[redacted(?::[a-z0-9-]{1,40}:[0-9a-f]{8})?\]|([\[{])|([\]}])|(,)"
    rb'|([^\s",\[\]{}:]++)',
    re.DOTALL,
)
# `lastindex` of what was found; None: a mark.
VALUE = 1
KEY = 2
OPENING = 3
CLOSING = 4
COMMA = 5
BARE = 6


def end_of(text: bytes, start: int) -> int:
    """Where the array or object that begins at `start` ends."""
    depth = 0
    for found in TOKEN.finditer(text, start):
        if found.lastindex == OPENING:
            depth += 1
        elif found.lastindex == CLOSING:
            depth -= 1
            if not depth:
                return found.end()
    return len(text)
