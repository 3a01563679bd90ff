"""Writing to the client, byte for byte, past aiohttp's own response: that one adds Date, Server and
Content-Type and folds case and order. Called by `relaying` and `bin`; one `Answer` per request.

aiohttp's connection still drives the requests. What the handler returns to it is KEEP or CLOSE: the answer is
written, go on with the connection or not.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterable

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from services.traffic_gateway.domain.framing import Framing
from services.traffic_gateway.domain.headers import CALL_ID, RawHeader, ResponseHeaders, serialized

HTTP11 = (1, 1)
_RESET = struct.pack("ii", 1, 0)  # linger on, 0 s: close() sends RST


class Written(web.StreamResponse):
    """Tells aiohttp that the answer is on its way already, and whether the connection stays."""

    def __init__(self, *, keep_alive: bool) -> None:
        super().__init__()
        self._keep_alive = keep_alive

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        return None


class Answer:
    """What one client is answered. call_id: named in the answer, None when the call is not captured.
    relocate: what becomes of the headers where redirects are to lead to the gateway again.
    keep_alive: the connection stays. started: the first byte was written."""

    __slots__ = (
        "_request",
        "_self_delimiting",
        "_writer",
        "call_id",
        "http11",
        "keep_alive",
        "relocate",
        "started",
    )

    def __init__(self, request: web.BaseRequest, call_id: str | None) -> None:
        self._request = request
        self._writer = request.writer
        self.http11 = request.version >= HTTP11
        self.keep_alive = request.keep_alive
        self.call_id = call_id
        self.started = False
        self.relocate: Callable[[Iterable[RawHeader]], list[RawHeader]] | None = None
        self._self_delimiting = True

    def head(self, framing: Framing, status: int, reason: bytes) -> bytes:
        """Status line and headers."""
        self._self_delimiting = framing.self_delimiting
        self.keep_alive = self.keep_alive and framing.self_delimiting
        if self.keep_alive:
            extra = b"" if self.http11 else b"Connection: keep-alive\r\n"
        else:
            extra = b"Connection: close\r\n"
        if self.call_id is not None:
            extra += b"%b: %b\r\n" % (CALL_ID, self.call_id.encode("ascii"))
        headers = framing.headers()
        if self.relocate is not None:
            headers = self.relocate(headers)
        return b"HTTP/1.1 %d %b\r\n%b%b\r\n" % (status, reason, serialized(headers), extra)

    def switching(self, status: int, reason: bytes, headers: Iterable[RawHeader]) -> bytes:
        """Status line and headers after which the connection carries another protocol, and ends with it."""
        self.keep_alive = self._self_delimiting = False
        named = b"" if self.call_id is None else b"%b: %b\r\n" % (CALL_ID, self.call_id.encode("ascii"))
        return b"HTTP/1.1 %d %b\r\n%b%b\r\n" % (status, reason, serialized(headers), named)

    async def write(self, data: bytes) -> None:
        """Returns when the client's side has room again. Raises ConnectionError when the client is gone."""
        if data:
            self.started = True
            await self._writer.write(data)

    def inform(self, status: int, reason: bytes, headers: Iterable[RawHeader]) -> None:
        """Pass a 1xx response on (RFC 9110 15.2); HTTP/1.0 knows none."""
        transport = self._request.transport
        if self.http11 and not self.started and transport is not None:
            passing = serialized(ResponseHeaders(headers).headers)
            transport.write(b"HTTP/1.1 %d %b\r\n%b\r\n" % (status, reason, passing))

    @property
    def client_gone(self) -> bool:
        transport = self._request.transport
        return transport is None or transport.is_closing()

    def break_off(self) -> None:
        """End the connection so that the client does not take what it has for a whole answer. A body that
        ends with the connection looks whole unless the connection is reset."""
        transport = self._request.transport
        if transport is None:
            return
        if not self._self_delimiting:
            sock = transport.get_extra_info("socket")
            if sock is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            transport.abort()
        self._request.protocol.force_close()
