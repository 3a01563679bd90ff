"""One pass of one combined expression over a text says which rules can match in it at all.

RE2 makes one automaton of all hints: a kibibyte costs some microseconds, however many formats there are, and
most texts need nothing more.
"""

from __future__ import annotations

from functools import lru_cache

import re2

from services.calls.redaction.rules import FORMATS, KEY_HINT

KEYS = len(FORMATS)
ESCAPES = KEYS + 1
PARAMETERS = KEYS + 2
USERINFO = KEYS + 3
ASSIGNMENTS = KEYS + 4

_HINTS = (
    *(format.hint for format in FORMATS),
    KEY_HINT,
    r"\\",
    r"[?&#;] ?[^\s=?&#;\"'<>]+=",
    r"://[^\s/?#\"'<>]*@",
    r"[:=]\s*\\*[\"']",
)

_NONE: frozenset[int] = frozenset()


class Hints:
    """`in_text` gives the places in FORMATS of those that may be there, and the numbers above."""

    __slots__ = ("_set",)

    def __init__(self) -> None:
        options = re2.Options()
        options.log_errors = False
        options.encoding = re2.Options.Encoding.LATIN1  # any bytes
        self._set = re2.Set.SearchSet(options)
        for hint in _HINTS:
            self._set.Add(hint)
        self._set.Compile()

    def in_text(self, text: bytes) -> frozenset[int]:
        found = self._set.Match(text)
        return frozenset(found) if found else _NONE

    def formats(self, text: bytes) -> bool:
        """Whether a value of any format may be there."""
        return any(place < KEYS for place in self.in_text(text))


@lru_cache(maxsize=1)
def shared_hints() -> Hints:
    """The same for every bucket: its automaton holds memory. Made when the first is asked for."""
    return Hints()
