"""Text that stands escaped inside another text: undone, to look into it, with the way back for what is found.

Bytes in, bytes out: the escapes of JSON give UTF-8, so that a secret has the same mark however it was
written.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable
from urllib.parse import unquote_to_bytes

import msgspec

from services.calls.redaction.marks import Hit

_JSON_ESCAPE = re.compile(
    rb"\\(?:u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|(.))", re.DOTALL
)
_PERCENT_ESCAPE = re.compile(rb"%[0-9a-fA-F]{2}")
_SHORT = {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t"}


class Unescaped:
    """text: with the escapes undone. `outside` gives a hit in it as a hit in the escaped text."""

    __slots__ = ("_escape", "_escaped", "_inside", "_outside", "_quoted", "_undone", "text")

    def __init__(
        self,
        escaped: bytes,
        text: bytes,
        escape: re.Pattern[bytes],
        undone: Callable[[re.Match[bytes]], bytes],
        quoted: Callable[[bytes], bytes],
    ) -> None:
        self.text = text
        self._escaped = escaped
        self._escape = escape
        self._undone = undone
        self._quoted = quoted
        # Where each escape begins and ends, in both texts: made when something is found, which is seldom.
        self._inside: list[int] | None = None
        self._outside: list[int] = []

    def outside(self, hit: Hit, offset: int) -> Hit:
        """offset: where the escaped text begins in what the hit is wanted for."""
        start = offset + self._place(hit.start, end=False)
        end = offset + self._place(hit.end, end=True)
        return hit._replace(start=start, end=end, quote=self._quoted(hit.quote) if hit.quote else b"")

    def _place(self, at: int, *, end: bool) -> int:
        if self._inside is None:
            self._map()
        assert self._inside is not None
        nearest = bisect_right(self._inside, at) - 1
        if nearest < 0:
            return at
        inside, outside = self._inside[nearest], self._outside[nearest]
        if nearest % 2 or at == inside:
            # Behind an escape, or at the very beginning of one.
            return outside + at - inside
        return self._outside[nearest + 1] if end else outside  # in the middle of one character

    def _map(self) -> None:
        self._inside = []
        shift = 0
        for found in self._escape.finditer(self._escaped):
            start, end = found.span()
            width = len(self._undone(found))
            self._inside += (start - shift, start - shift + width)
            self._outside += (start, end)
            shift += end - start - width


def unescaped_json(escaped: bytes) -> Unescaped:
    """The inside of a JSON string (RFC 8259, 7), also of one that is cut or wrong."""
    try:
        text = msgspec.json.decode(b'"' + escaped + b'"', type=str).encode()
    except (ValueError, RecursionError):
        text = _JSON_ESCAPE.sub(_json_undone, escaped)
    return Unescaped(escaped, text, _JSON_ESCAPE, _json_undone, _json_quoted)


def unescaped_percent(escaped: bytes) -> Unescaped:
    """A part of a URL or form (RFC 3986, 2.1), `+` a blank."""
    text = unquote_to_bytes(escaped.replace(b"+", b" "))
    return Unescaped(escaped, text, _PERCENT_ESCAPE, lambda found: b"x", _percent_quoted)


def _json_undone(found: re.Match[bytes]) -> bytes:
    high, low, unit, short = found.groups()
    if short is not None:
        return _SHORT.get(short, bytes(short))
    if unit is not None:
        return chr(int(unit, 16)).encode("utf-8", "surrogatepass")
    return chr(0x10000 + ((int(high, 16) & 0x3FF) << 10) + (int(low, 16) & 0x3FF)).encode()


def _json_quoted(quote: bytes) -> bytes:
    return quote.replace(b"\\", b"\\\\").replace(b'"', b'\\"')


def _percent_quoted(quote: bytes) -> bytes:
    return quote.replace(b"\\", b"%5C").replace(b'"', b"%22")
