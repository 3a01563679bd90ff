"""A bucket's JSON paths (RFC 9535), matched while a document is walked: also where it is cut, or nobody could
parse it.

What needs a whole document is refused: filters, and places counted from an array's end. So each token costs a
step for each path, whatever the paths are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from jsonpath_rfc9535 import JSONPathEnvironment, JSONPathError
from jsonpath_rfc9535.segments import JSONPathRecursiveDescentSegment
from jsonpath_rfc9535.selectors import (
    IndexSelector,
    JSONPathSelector,
    NameSelector,
    SliceSelector,
    WildcardSelector,
)

from services.calls.redaction.errors import InvalidRule
from services.calls.redaction.escapes import unescaped_json
from services.calls.redaction.json_tokens import CLOSING, COMMA, KEY, OPENING, TOKEN, end_of

MAX_PATHS = 32
MAX_PATH_CHARS = 500
MAX_SEGMENTS = 20
MAX_SELECTORS = 32
MAX_DEPTH = 256
"""What lies deeper, where a path with `..` still could match, is masked."""

Matched = Callable[[int, str], int]
"""Takes where a matched value begins and by which path, gives where it ends."""


class _Segment(NamedTuple):
    """One step of a path. path: its whole text. descends: `..`. last: what it selects is to be masked."""

    path: str
    descends: bool
    last: bool
    selectors: tuple[JSONPathSelector, ...]

    def selects(self, place: str | int) -> bool:
        for selector in self.selectors:
            match selector:
                case WildcardSelector():
                    return True
                case NameSelector() if selector.name == place:
                    return True
                case IndexSelector() if selector.index == place:
                    return True
                case SliceSelector() if isinstance(place, int):
                    start, stop, step = (
                        selector.slice.start or 0,
                        selector.slice.stop,
                        selector.slice.step or 1,
                    )
                    if place >= start and (stop is None or place < stop) and not (place - start) % step:
                        return True
        return False


class _Container:
    """One that the walk is in. states: the segments that its members are tried on, a bit each."""

    __slots__ = ("index", "is_array", "key", "states")

    def __init__(self, is_array: bool, states: int) -> None:
        self.is_array = is_array
        self.states = states
        self.index = 0
        self.key = ""


class JsonPaths:
    """Raises InvalidRule. False when there are none."""

    __slots__ = ("_begin", "_root", "_segments")

    def __init__(self, paths: tuple[str, ...]) -> None:
        if len(paths) > MAX_PATHS:
            raise InvalidRule("paths", f"{len(paths)} of them; the limit is {MAX_PATHS}")
        self._segments: list[_Segment] = []
        self._begin = 0
        self._root = ""
        for path in paths:
            segments = _segments(path)
            if segments:
                self._begin |= 1 << len(self._segments)
            else:
                self._root = path
            self._segments += segments

    def __bool__(self) -> bool:
        return bool(self._segments or self._root)

    def walk(self, text: bytes, matched: Matched) -> None:
        stack: list[_Container] = []
        at = 0
        while (found := TOKEN.search(text, at)) is not None:
            at = found.end()
            which = found.lastindex
            inside = stack[-1] if stack else None
            if which == CLOSING:
                if stack:
                    stack.pop()
            elif which == COMMA:
                if inside is not None:
                    inside.index += 1
            elif which == KEY and inside is not None and not inside.is_array:
                key = found[1]
                plain = unescaped_json(key).text if b"\\" in key else key
                inside.key = plain.decode("utf-8", "surrogateescape")
            elif which != KEY and which is not None:
                path, states = self._step(inside)
                if path:
                    at = matched(found.start(), path)
                elif which == OPENING:
                    if states and len(stack) >= MAX_DEPTH:
                        at = matched(found.start(), self._deep(states))
                    elif states:
                        stack.append(_Container(found[3] == b"[", states))
                    else:
                        at = end_of(text, found.start())

    def _step(self, inside: _Container | None) -> tuple[str, int]:
        """The path that selects what comes now, or what to try on its members."""
        if inside is None:
            return self._root, self._begin
        place: str | int = inside.index if inside.is_array else inside.key
        states = 0
        left = inside.states
        while left:
            bit = left & -left
            left ^= bit
            segment = self._segments[bit.bit_length() - 1]
            if segment.descends:
                states |= bit
            if segment.selects(place):
                if segment.last:
                    return segment.path, 0
                states |= bit << 1
        return "", states

    def _deep(self, states: int) -> str:
        return self._segments[states.bit_length() - 1].path


def _segments(path: str) -> list[_Segment]:
    shown = f"path {path[:80]!r}"
    if len(path) > MAX_PATH_CHARS:
        raise InvalidRule(shown, f"{len(path)} characters; the limit is {MAX_PATH_CHARS}")
    try:
        query = JSONPathEnvironment().compile(path)
    except JSONPathError as error:
        raise InvalidRule(shown, f"no JSON path: {error}") from None
    except (RecursionError, ValueError):
        raise InvalidRule(shown, "no JSON path") from None
    if len(query.segments) > MAX_SEGMENTS:
        raise InvalidRule(shown, f"{len(query.segments)} segments; the limit is {MAX_SEGMENTS}")
    last = len(query.segments) - 1
    segments = []
    for at, segment in enumerate(query.segments):
        selectors = tuple(segment.selectors)
        if len(selectors) > MAX_SELECTORS:
            raise InvalidRule(
                shown, f"{len(selectors)} selectors in one segment; the limit is {MAX_SELECTORS}"
            )
        for selector in selectors:
            _check(shown, selector)
        descends = isinstance(segment, JSONPathRecursiveDescentSegment)
        segments.append(_Segment(path, descends, at == last, selectors))
    return segments


def _check(shown: str, selector: JSONPathSelector) -> None:
    match selector:
        case NameSelector() | WildcardSelector():
            return
        case IndexSelector() if selector.index >= 0:
            return
        case SliceSelector():
            bounds = selector.slice
            if (
                (bounds.start or 0) >= 0
                and (bounds.stop or 0) >= 0
                and (bounds.step is None or bounds.step > 0)
            ):
                return
        case IndexSelector():
            pass
        case _:
            raise InvalidRule(shown, "filters are not taken; name the members, or take all with [*]")
    raise InvalidRule(shown, "a place counted from the end is not taken: the end of a cut body is not known")
