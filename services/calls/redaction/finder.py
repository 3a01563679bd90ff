"""Finds every secret of a text that may hold others: JSON in a string in JSON, a URL in a form, and so on.

Each kind of text has its own module; this one knows how they lie in each other, and to what depth.
"""

from __future__ import annotations

import re

from services.calls.redaction.hints import ESCAPES, KEYS, shared_hints
from services.calls.redaction.json_paths import JsonPaths
from services.calls.redaction.json_texts import (
    find_by_key,
    find_by_path,
    find_by_pattern,
    is_json,
    looks_like_json,
    with_quotes,
)
from services.calls.redaction.marks import MARK, Hit, merged, moved, outside
from services.calls.redaction.names import Names
from services.calls.redaction.patterns import Patterns
from services.calls.redaction.texts import (
    find_assignments,
    find_formats,
    find_in_coded,
    find_in_parameter,
    find_in_urls,
)

MAX_NESTED = 6
"""Texts that are escaped deeper than so are masked whole: each level doubles what escapes cost."""
MIN_NESTED_BYTES = 7
"""`?pin=1` and the like are shorter; nothing that could be told from other text is."""

_FIELD = re.compile(rb"(?=[^&])([^&=]*+)=?+([^&]*+)")
_EVENT_DATA = re.compile(rb"^data:[ ]?+([{\[][^\r\n]*+)", re.MULTILINE)


class Finder:
    """Every method gives hits in order, none overlapping another."""

    __slots__ = ("_hints", "_paths", "_patterns", "names")

    def __init__(self, names: Names, paths: JsonPaths, patterns: Patterns) -> None:
        self.names = names
        self._paths = paths
        self._patterns = patterns
        self._hints = shared_hints()

    def text(self, text: bytes, depth: int = 0) -> list[Hit]:
        """In any text: plain, XML, a header's value, a URL."""
        hints = self._hints.in_text(text)
        hits = self._patterns.find_in_lines(text)
        if not hints:
            return merged(text, hits)
        hits += find_formats(text, hints)
        hits += find_in_urls(text, hints, self.names, self.nested, depth)
        hits += find_assignments(text, hints, self.names)
        if KEYS in hints and b"data:" in text:
            for found in _EVENT_DATA.finditer(text):  # server-sent events
                hits += moved(self.nested(found[1], depth + 1), found.start(1))
        return merged(text, hits)

    def json(self, text: bytes, depth: int = 0, *, truncated: bool = False) -> list[Hit]:
        """In a text that is JSON, or begins like it."""
        hints = self._hints.in_text(text)
        hits, looked_into = find_by_key(text, hints, self.names, self.nested, depth)
        if not depth and self._paths:
            find_by_path(text, self._paths, hits, looked_into)
        if self._patterns:
            hits += find_by_pattern(text, self._patterns)
        if hints:
            seen = find_formats(text, hints)
            seen += find_in_urls(text, hints, self.names, self.nested, depth)
            if looked_into:
                seen = outside(sorted(zip(looked_into[::2], looked_into[1::2], strict=True)), seen)
            hits += with_quotes(text, seen)
            if (KEYS in hints or ESCAPES in hints) and (truncated or not is_json(text)):
                hits += find_assignments(text, hints, self.names)
                if not truncated:
                    hits += self._patterns.find_in_lines(text)
        return merged(text, hits)

    def form(self, text: bytes, depth: int = 0, *, rule: str = "field") -> list[Hit]:
        """In `application/x-www-form-urlencoded`, which queries are too (WHATWG URL, 5)."""
        hits: list[Hit] = []
        coded: list[tuple[int, int]] = []
        for found in _FIELD.finditer(text):
            name, value = found.groups()
            for group, part in enumerate((name, value), 1):
                if b"%" in part or b"+" in part:
                    coded.append(found.span(group))
            hits += find_in_coded(name, found.start(1), self.nested, depth)
            if not value:
                continue
            start = found.start(2)
            hits += find_in_parameter(name, value, start, rule, self.names, self.nested, depth)
            if value[:1] in b"{[":
                hits += moved(self.nested(value, depth + 1), start)
        return merged(text, hits + outside(coded, self.text(text, depth)))

    def nested(self, text: bytes, depth: int) -> list[Hit]:
        """In a text that stood in another, so many levels deep."""
        if len(text) < MIN_NESTED_BYTES and not self._patterns:
            return []
        if depth > MAX_NESTED:
            if MARK.fullmatch(text) is not None or not text:
                return []
            return [Hit(0, len(text), "nested", "", text)]
        if looks_like_json(text):
            return self.json(text, depth)
        return self.text(text, depth)
