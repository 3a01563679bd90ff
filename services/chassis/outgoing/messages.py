"""What goes out and what comes back: a request as it is written, a response as it is read, and what an error
of the connection between them is called. Used by `client`."""

from __future__ import annotations

from collections.abc import AsyncIterable, Sequence
from typing import NoReturn

import msgspec
from aiohttp import ClientConnectionError, ClientPayloadError, SocketTimeoutError
from aiohttp.http import RawResponseMessage
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.streams import StreamReader

from services.chassis.outgoing.errors import (
    OutgoingError,
    UpstreamDisconnected,
    UpstreamMalformed,
    UpstreamTimeout,
)
from services.chassis.outgoing.pipe import Pipe
from services.chassis.outgoing.wire import Origin, Phases, Wire

RawHeaders = Sequence[tuple[bytes, bytes]]


class Request(msgspec.Struct, frozen=True):
    """What goes on the wire, byte for byte. target: path and query (origin-form). headers: all of them, Host
    and the body's framing included. chunked: the body is written in chunked transfer coding, which `headers`
    must say. upgrade: the headers ask for another protocol, and a 101 is an answer."""

    origin: Origin
    method: str
    target: bytes
    headers: RawHeaders
    body: bytes | AsyncIterable[bytes] = b""
    chunked: bool = False
    upgrade: bool = False


class Response:
    """The head of a response, and its body to be read. address: the peer's, `ip:port`. send_s is None when
    the answer came before the request's body was sent."""

    __slots__ = (
        "_message",
        "_payload",
        "_wire",
        "address",
        "chunked",
        "connecting",
        "headers",
        "reason",
        "send_s",
        "status",
        "wait_s",
    )

    def __init__(
        self,
        wire: Wire,
        connecting: Phases,
        message: RawResponseMessage,
        payload: StreamReader,
        send_s: float | None,
        wait_s: float,
    ) -> None:
        self._wire = wire
        self._message = message
        self._payload = payload
        self.address = wire.address
        self.connecting = connecting
        self.status = message.code
        self.reason: str = message.reason
        self.headers: RawHeaders = message.raw_headers
        self.chunked = bool(message.chunked)
        self.send_s = send_s
        self.wait_s = wait_s

    @property
    def http_version(self) -> str:
        return f"{self._message.version.major}.{self._message.version.minor}"

    @property
    def arrived(self) -> bool:
        """The body's end is here: `read` gives the rest without waiting."""
        return self._payload.is_eof()

    @property
    def finished(self) -> bool:
        """Everything was read."""
        return self._payload.at_eof()

    def pipe(self) -> Pipe:
        """The connection's bytes after a 101 to a request with `upgrade`."""
        return Pipe(self._wire, self.connecting)

    async def read(self) -> bytes:
        """What has arrived of the body, at least one byte, at most about twice READ_BUFFER_BYTES; empty at
        its end. Raises OutgoingError when it ends too early."""
        try:
            return await self._payload.readany()
        except Exception as error:
            raise_translated(self._wire, error)


def raise_translated(wire: Wire, error: Exception) -> NoReturn:
    """Raise what an error of the connection's is in this package's words."""
    known = wire.exception()
    if isinstance(known, OutgoingError | HttpProcessingError | SocketTimeoutError):
        error = known  # what it began with; the others are its consequences
    if isinstance(error, OutgoingError):
        raise error
    if isinstance(error, SocketTimeoutError):
        raise UpstreamTimeout(f"{wire.origin} sent nothing for {wire.read_timeout:g} s") from error
    if isinstance(error, HttpProcessingError):
        reason = " ".join(error.message.split())[:200]
        raise UpstreamMalformed(
            f"{wire.origin} answered with something that is no HTTP/1.x: {reason}"
        ) from error
    if isinstance(error, ClientPayloadError):
        raise UpstreamDisconnected(f"{wire.origin} closed before the whole response had come") from error
    if isinstance(error, OSError | ClientConnectionError):
        raise UpstreamDisconnected(f"{wire.origin} closed the connection without a whole response") from error
    raise error
