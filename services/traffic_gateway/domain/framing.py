"""How a response's body is framed towards the client, and what of it is held back in strict capture. Pure.

A response keeps its Content-Length. One without (chunked, or ending with the connection) is sent chunked to
an HTTP/1.1 client and until the connection closes to an older one. The *ending* is what makes a response
whole for the client: the last byte of a known length, the last chunk, or the close. Strict capture sends it
last of all.
"""

from __future__ import annotations

from services.traffic_gateway.domain.headers import RawHeader, ResponseHeaders

BODILESS = frozenset((204, 304))  # RFC 9112 6.3
LAST_CHUNK = b"0\r\n\r\n"


class Framing:
    """One response's. self_delimiting: the client sees by itself when it was cut short."""

    __slots__ = ("_chunked", "_headers", "_held", "_left", "self_delimiting")

    def __init__(self, headers: ResponseHeaders, *, bodiless: bool, http11: bool, hold: bool) -> None:
        """bodiless: an answer to HEAD, a 204 or a 304. hold: keep the last byte for `ending`."""
        self._headers = headers
        unknown = not bodiless and headers.length is None
        self._chunked = unknown and http11
        self._held = b""
        self._left = headers.length if hold and not bodiless else None
        self.self_delimiting = not unknown or http11

    def headers(self) -> list[RawHeader]:
        """As the target sent them, in their order and case; with the coding that is used towards the
        client."""
        if not self._chunked:
            return self._headers.uncoded()
        headers = self._headers.headers
        return headers if self._headers.coded else [*headers, (b"Transfer-Encoding", b"chunked")]

    def piece(self, data: bytes) -> bytes:
        """A piece of the body as it goes on the wire; less its last byte when that is the body's last, and
        held."""
        if not data:
            return b""
        if self._chunked:
            return b"%x\r\n%b\r\n" % (len(data), data)
        if self._left is not None:
            self._left -= len(data)
            if self._left <= 0:
                self._held = data[-1:]
                return data[:-1]
        return data

    def ending(self) -> bytes:
        return LAST_CHUNK if self._chunked else self._held
