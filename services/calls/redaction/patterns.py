"""A bucket's regular expressions, run by RE2: no expression makes a search slower than the text is long.

A search for all matches still may be, since each begins anew where the last ended. So an expression sees one
text at a time (a value, or a line of plain text), and a text that takes too many searches is masked whole.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from typing import NamedTuple

import re2

from services.calls.redaction.errors import InvalidRule
from services.calls.redaction.marks import MARK, Hit

MAX_PATTERNS = 32
MAX_PATTERN_CHARS = 500
MAX_PROGRAM = 10_000
"""RE2's instructions: what an expression with counted repetitions grows to."""
MAX_SEARCHED_BYTES = 64 * 1024 * 1024
"""Of one text by one expression, its matches times its length."""


_NOT_BY_LINES = re.compile(r"\\[AzZC]|\(\?[a-zA-Z]*-")
"""Expressions that may match in a line, and not in a text of which it is one."""


class Piece(NamedTuple):
    """A text to search by itself. offset: where it begins in what hits are wanted for. quote: it is a JSON
    number, and is masked whole."""

    text: bytes
    offset: int
    quote: bytes = b""


class _Rule(NamedTuple):
    """anywhere: finds nothing in many lines at once only if there is nothing in each; None: unknown."""

    expression: str
    pattern: re2._Regexp
    anywhere: re2._Regexp | None


class Patterns:
    """Raises InvalidRule. False when there are none."""

    __slots__ = ("_rules",)

    def __init__(self, expressions: tuple[str, ...]) -> None:
        if len(expressions) > MAX_PATTERNS:
            raise InvalidRule("patterns", f"{len(expressions)} of them; the limit is {MAX_PATTERNS}")
        self._rules = [_rule(expression) for expression in expressions]

    def __bool__(self) -> bool:
        return bool(self._rules)

    def find(self, pieces: list[Piece]) -> list[Hit]:
        hits: list[Hit] = []
        if not self._rules:
            return hits
        lines = b"\n".join([piece.text for piece in pieces])
        for rule in self._rules:
            if rule.anywhere is None or rule.anywhere.search(lines) is not None:
                for piece in pieces:
                    _find(rule, piece, hits)
        return hits

    def find_in_lines(self, text: bytes) -> list[Hit]:
        if not self._rules:
            return []
        pieces = []
        at = 0
        for line in text.split(b"\n"):
            pieces.append(Piece(line.removesuffix(b"\r"), at))
            at += len(line) + 1
        return self.find(pieces)


def _find(rule: _Rule, piece: Piece, hits: list[Hit]) -> None:
    text, offset, quote = piece
    marks = [found.span() for found in MARK.finditer(text)] if b"redacted" in text else []
    left_bytes = MAX_SEARCHED_BYTES
    for found in rule.pattern.finditer(text):
        start, end = found.span()
        left_bytes -= len(text)
        if left_bytes < 0:
            end = len(text)
        if start == end or _inside(marks, start, end):
            continue
        if quote:
            start, end = 0, len(text)
        secret = text[start:end]
        hits.append(Hit(offset + start, offset + end, "bucket-pattern", rule.expression, secret, quote))
        if end == len(text):
            break


def _inside(marks: list[tuple[int, int]], start: int, end: int) -> bool:
    """Whether a mark is there already: masking twice is masking once."""
    nearest = bisect_right(marks, (start, end)) - 1
    return any(first <= start and end <= last for first, last in marks[max(0, nearest) : nearest + 2])


def _rule(expression: str) -> _Rule:
    shown = f"pattern {expression[:80]!r}"
    if not 0 < len(expression) <= MAX_PATTERN_CHARS:
        raise InvalidRule(shown, f"{len(expression)} characters; it has 1 to {MAX_PATTERN_CHARS}")
    options = re2.Options()
    options.log_errors = False
    options.never_capture = True
    try:
        pattern = re2.compile(expression, options)
        anywhere = (
            re2.compile(f"(?m:{expression})", options) if not _NOT_BY_LINES.search(expression) else None
        )
    except re2.error as error:
        reason = error.args[0]
        raise InvalidRule(shown, reason.decode() if isinstance(reason, bytes) else str(reason)) from None
    except UnicodeEncodeError:
        raise InvalidRule(shown, "half a character stands in it") from None
    if pattern.programsize > MAX_PROGRAM:
        raise InvalidRule(shown, f"it grows to {pattern.programsize} steps; the limit is {MAX_PROGRAM}")
    if pattern.search(b"") is not None:
        raise InvalidRule(shown, "it matches the empty text, so it would match everywhere")
    return _Rule(expression, pattern, anywhere)
