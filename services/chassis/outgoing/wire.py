"""One connection to a target: making it, with the time that each phase took, and its protocol. Called by
`client`."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Sequence
from typing import NamedTuple

import msgspec
from aiohttp import ClientPayloadError
from aiohttp.client_proto import ResponseHandler
from aiohttp.streams import EMPTY_PAYLOAD

from bus.clock import Clock
from services.chassis.outgoing.errors import (
    ConnectRefused,
    ConnectTimeout,
    DnsFailed,
    OutgoingError,
    TlsFailed,
    UpstreamMalformed,
)
from services.chassis.outgoing.guard import Policy, Resolved, permitted, resolve
from services.chassis.outgoing.pipe import Inflow

READ_BUFFER_BYTES = 64 * 1024  # twice as much may wait to be read; then the target is held back


class Origin(NamedTuple):
    """host: a name or an address, an IPv6 one without brackets."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


class Phases(msgspec.Struct, frozen=True):
    """Seconds that each phase of connecting took; None when it did not happen (a kept connection, no TLS)."""

    dns_s: float | None = None
    connect_s: float | None = None
    tls_s: float | None = None


REUSED = Phases()


class Wire(ResponseHandler):
    """A connection. address: the peer's, `ip:port`. used: how many responses were read from it. raw: it
    carries no HTTP from the beginning."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, origin: Origin, address: str, raw: bool = False
    ) -> None:
        super().__init__(loop)
        self._raw = raw
        self._inflow: Inflow | None = None
        self._body_bytes = 0
        self._other_bytes = 0
        self._max_other_bytes = 0
        self.origin = origin
        self.address = address
        self.idle_since = 0.0
        self.used = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if self._raw:
            self.switch()

    def switch(self) -> Inflow:
        """What comes from now on is bytes of another protocol."""
        if self._inflow is None:
            self.read_timeout = None
            self._inflow = Inflow(self.transport)
            self.set_parser(self._inflow, None)
        return self._inflow

    def awaits_response(self, max_other_bytes: int) -> None:
        """max_other_bytes: how much may come in a row that is no response's body (heads of 1xx responses, a
        head that is not whole, trailers, extensions of chunks)."""
        self._other_bytes = 0
        self._max_other_bytes = max_other_bytes

    def data_received(self, data: bytes) -> None:
        before = self._payload
        super().data_received(data)
        payload = self._payload
        body_bytes = 0 if payload is None else payload.total_bytes
        if body_bytes != self._body_bytes or (payload is not before and payload is not EMPTY_PAYLOAD):
            self._body_bytes, self._other_bytes = body_bytes, 0
            return
        self._other_bytes += len(data)
        if self._other_bytes > self._max_other_bytes and self._inflow is None:
            self.fail(UpstreamMalformed(f"{self.origin} sent {self._other_bytes} bytes in a row of no body"))
            if self.transport is not None:
                self.transport.abort()

    def eof_received(self) -> bool:  # type: ignore[override]  # asyncio takes a bool: stay open for writing
        super().eof_received()
        if self._inflow is None or self.transport is None:
            return False
        self._inflow.feed_eof()
        return self.transport.can_write_eof()

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._inflow is not None:
            self._inflow.lost(exc)
        payload = self._payload
        # A body that ends with the connection is whole only if the connection ended well: the parser cannot
        # know, and would take a reset for the end.
        if exc is not None and payload is not None and not payload.is_eof():
            payload.set_exception(ClientPayloadError(f"connection lost: {exc}"))
        super().connection_lost(exc)
        # The parser forgets a body in which it met something malformed; its reader would wait for ever.
        if payload is not None and not payload.is_eof() and payload.exception() is None:
            payload.set_exception(ClientPayloadError("connection lost"))

    def said_more(self) -> bool:
        """Whether bytes came behind the last response. What they begin would be taken for the answer to
        another request. To be asked between two requests only."""
        if self._parser is None:
            return False
        try:
            return self._parser.feed_eof() is not None  # the head of a message that has begun
        except Exception:  # it cannot be read as a head
            return True

    def write(self, data: bytes) -> None:
        """Raises ConnectionResetError when the connection is gone."""
        transport = self.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the target closed the connection")
        transport.write(data)

    async def drained(self) -> None:
        """Returns when the target has taken most of what was written. Raises ConnectionError when it is
        gone."""
        await self._drain_helper()

    def fail(self, error: Exception) -> None:
        """Whoever reads the response, now or next, gets `error`."""
        if self._payload is not None:
            self._payload.set_exception(error)
        self.set_exception(error)


async def connect(
    origin: Origin,
    *,
    policy: Policy,
    clock: Clock,
    timeout_s: float,
    tls: ssl.SSLContext | None,
    raw: bool = False,
) -> tuple[Wire, Phases]:
    """A new connection to an address that the policy permits. `timeout_s` bounds resolving, connecting and
    TLS together. `tls` is given for https. `raw`: for bytes that are no HTTP. Raises OutgoingError."""
    phase = "dns"
    try:
        async with asyncio.timeout(timeout_s):
            began = clock.monotonic()
            addresses = permitted(origin.host, await resolve(origin.host, origin.port), policy)
            resolved = clock.monotonic()
            phase = "connect"
            sock, address = await _connect_first(origin, addresses, timeout_s)
            connected = clock.monotonic()
            phase = "tls"
            wire = await _start(origin, sock, address, tls, raw)
            ready = clock.monotonic()
    except TimeoutError as error:
        what = f"within {timeout_s:g} s"
        if phase == "dns":
            raise DnsFailed(f"{origin.host} was not resolved {what}") from error
        if phase == "tls":
            raise TlsFailed(f"{origin} did not finish the TLS handshake {what}") from error
        raise ConnectTimeout(f"{origin} took no connection {what}") from error
    return wire, Phases(
        resolved - began, connected - resolved, ready - connected if tls is not None else None
    )


async def _connect_first(
    origin: Origin, addresses: Sequence[Resolved], timeout_s: float
) -> tuple[socket.socket, str]:
    """The first address that takes a connection; each of several gets an equal share of the time."""
    share_s = timeout_s / len(addresses)
    failure: OutgoingError | None = None
    for address in addresses:
        host, port = address.sockaddr[:2]
        text = f"[{host}]:{port}" if address.ip.version == 6 else f"{host}:{port}"
        sock = socket.socket(address.family, socket.SOCK_STREAM)
        sock.setblocking(False)
        try:
            async with asyncio.timeout(share_s if len(addresses) > 1 else None):
                await asyncio.get_running_loop().sock_connect(sock, address.sockaddr)
        except TimeoutError:
            sock.close()
            failure = ConnectTimeout(f"{origin}: {text} took no connection within {share_s:g} s")
        except OSError as error:
            sock.close()
            failure = ConnectRefused(f"{origin}: {text} takes no connection: {_reason(error)}")
        except BaseException:
            sock.close()
            raise
        else:
            return sock, text
    assert failure is not None
    raise failure


async def _start(
    origin: Origin, sock: socket.socket, address: str, tls: ssl.SSLContext | None, raw: bool
) -> Wire:
    loop = asyncio.get_running_loop()
    try:
        _, wire = await loop.create_connection(
            lambda: Wire(loop, origin, address, raw),
            sock=sock,
            ssl=tls,
            server_hostname=origin.host.removesuffix(".") if tls is not None else None,
        )
    except (ssl.SSLError, ssl.CertificateError) as error:
        reason = getattr(error, "verify_message", "") or getattr(error, "reason", "") or str(error)
        raise TlsFailed(f"{origin}: {reason}") from error
    except OSError as error:
        if tls is not None:
            raise TlsFailed(f"{origin} closed during the TLS handshake: {_reason(error)}") from error
        raise ConnectRefused(f"{origin}: {address} took no connection: {_reason(error)}") from error
    return wire


def _reason(error: OSError) -> str:
    """The system's words; loops put their own into `strerror`."""
    return os.strerror(error.errno).lower() if error.errno else str(error)
