"""Requests out, responses in: the pool of kept connections and one request's way over a connection.

`Outgoing.send(request)` is an async context: entering it returns when the response's head is there, leaving
it gives the connection back to the pool, or breaks it when the response was not read to its end. A request
whose body is bytes is written at once; any other body is sent by a task while the response is already
awaited, for a target may answer before it has read all.

A kept connection may be closed by the target at the moment it is used again. A request that may be repeated
(RFC 9110 9.2.2) and whose body is bytes is then sent once more, over a new connection; others only use
connections that were in use a moment ago."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterable, AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Self

import msgspec
from aiohttp.http import RawResponseMessage

from bus.clock import Clock
from services.chassis.outgoing import trust
from services.chassis.outgoing.errors import (
    BodyFailed,
    UpstreamDisconnected,
    UpstreamMalformed,
    UpstreamTimeout,
)
from services.chassis.outgoing.guard import Policy
from services.chassis.outgoing.heads import fault
from services.chassis.outgoing.messages import RawHeaders, Request, Response, raise_translated
from services.chassis.outgoing.pipe import Pipe
from services.chassis.outgoing.wire import READ_BUFFER_BYTES, REUSED, Origin, Phases, Wire, connect

REPEATABLE = frozenset(("GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"))

Informed = Callable[[int, bytes, RawHeaders], None]


class Limits(msgspec.Struct, frozen=True):
    """connect_timeout_s: resolving, connecting and TLS together. wait_timeout_s: from the request's last byte
    to the response's head. idle_timeout_s: between two pieces of a body, either way. keep_s: how long an
    unused connection is kept. moment_s: how old such a connection may be for a request that cannot be
    repeated."""

    connect_timeout_s: float = 10.0
    wait_timeout_s: float = 60.0
    idle_timeout_s: float = 300.0
    keep_s: float = 15.0
    moment_s: float = 2.0
    kept_connections: int = 512
    max_line_bytes: int = 64 * 1024
    max_field_bytes: int = 64 * 1024
    max_headers: int = 2048
    max_head_bytes: int = 256 * 1024


class Outgoing:
    """The client. `async with` = ready; leaving it closes all connections. One per service."""

    def __init__(
        self, policy: Policy, clock: Clock, limits: Limits | None = None, *, tls: ssl.SSLContext | None = None
    ) -> None:
        self._policy = policy
        self._tls = tls
        self._idle: dict[Origin, list[Wire]] = {}
        self._kept = 0
        self.clock = clock
        self.limits = limits or Limits()
        self.tasks = asyncio.TaskGroup()

    async def __aenter__(self) -> Self:
        await self.tasks.__aenter__()
        self._sweeper = self.tasks.create_task(self._sweep())
        return self

    async def __aexit__(self, *error: object) -> None:
        self._sweeper.cancel()
        await self.tasks.__aexit__(None, None, None)
        for wires in self._idle.values():
            for wire in wires:
                wire.close()
        self._idle.clear()

    def send(self, request: Request, informed: Informed | None = None) -> Sending:
        """See the module. `informed` gets status, reason and headers of each 1xx response that comes first
        (RFC 9110 15.2). Entering raises OutgoingError."""
        return Sending(self, request, informed)

    @asynccontextmanager
    async def pipe(self, host: str, port: int) -> AsyncIterator[Pipe]:
        """A connection of its own for bytes of any protocol. Leaving it closes the connection, or breaks it
        on an error. Entering raises OutgoingError."""
        wire, connecting = await connect(
            Origin("tcp", host, port),
            policy=self._policy,
            clock=self.clock,
            timeout_s=self.limits.connect_timeout_s,
            tls=None,
            raw=True,
        )
        try:
            yield Pipe(wire, connecting)
        except BaseException:
            wire.abort()
            raise
        wire.close()

    async def take(self, origin: Origin, *, fresh: bool, idle_s: float) -> tuple[Wire, Phases]:
        """A connection: a kept one that was idle for at most `idle_s`, unless `fresh`, else a new one."""
        if not fresh:
            wires = self._idle.get(origin)
            oldest = self.clock.monotonic() - idle_s
            while wires:
                wire = wires.pop()
                self._kept -= 1
                alive = wire.is_connected() and not wire.should_close and not wire.said_more()
                if wire.idle_since >= oldest and alive:
                    return wire, REUSED
                wire.close()
        tls = self._tls_context() if origin.scheme == "https" else None
        return await connect(
            origin, policy=self._policy, clock=self.clock, timeout_s=self.limits.connect_timeout_s, tls=tls
        )

    def give_back(self, wire: Wire) -> None:
        """Keep a connection for the next request, if it may be kept."""
        if wire.should_close or not wire.is_connected() or self._kept >= self.limits.kept_connections:
            wire.close()
            return
        wire.idle_since = self.clock.monotonic()
        self._kept += 1
        self._idle.setdefault(wire.origin, []).append(wire)

    def _tls_context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = trust.verified_only()
        return self._tls

    async def _sweep(self) -> None:
        while True:
            await self.clock.sleep(self.limits.keep_s)
            oldest = self.clock.monotonic() - self.limits.keep_s
            for origin, wires in list(self._idle.items()):
                kept = [wire for wire in wires if wire.idle_since >= oldest and wire.is_connected()]
                for wire in wires:
                    if wire not in kept:
                        wire.close()
                self._kept -= len(wires) - len(kept)
                if kept:
                    self._idle[origin] = kept
                else:
                    del self._idle[origin]


class Sending:
    """One request on its way. Entered once."""

    __slots__ = ("_informed", "_outgoing", "_request", "_response", "_sent_at", "_upload", "_wire")

    def __init__(self, outgoing: Outgoing, request: Request, informed: Informed | None) -> None:
        self._outgoing = outgoing
        self._request = request
        self._informed = informed
        self._wire: Wire | None = None
        self._upload: asyncio.Task[None] | None = None
        self._sent_at: float | None = None
        self._response: Response | None = None

    async def __aenter__(self) -> Response:
        request, limits = self._request, self._outgoing.limits
        repeatable = type(request.body) is bytes and request.method in REPEATABLE
        idle_s = limits.keep_s if repeatable else limits.moment_s
        fresh = False
        while True:
            wire, connecting = await self._outgoing.take(request.origin, fresh=fresh, idle_s=idle_s)
            self._wire = wire
            try:
                return await self._converse(wire, connecting)
            except UpstreamDisconnected:
                await self._abandon()
                if fresh or not repeatable or wire.used == 0:
                    raise
                fresh = True
            except BaseException:
                await self._abandon()
                raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        wire, response = self._wire, self._response
        broken = kind is not None and response is not None and response.status == 101
        sent = self._upload is None or (self._upload.done() and self._sent_at is not None)
        if wire is not None and response is not None and response.finished and sent and not broken:
            self._wire = None
            wire.used += 1
            self._outgoing.give_back(wire)
        else:
            await self._abandon()

    async def _converse(self, wire: Wire, connecting: Phases) -> Response:
        request, limits, clock = self._request, self._outgoing.limits, self._outgoing.clock
        began = clock.monotonic()
        wire.awaits_response(limits.max_line_bytes + limits.max_head_bytes)
        wire.set_response_params(
            skip_payload=request.method == "HEAD",
            read_until_eof=True,
            auto_decompress=False,
            read_timeout=limits.wait_timeout_s,
            read_bufsize=READ_BUFFER_BYTES,
            max_line_size=limits.max_line_bytes,
            max_field_size=limits.max_field_bytes,
            max_headers=limits.max_headers,
        )
        try:
            self._write(wire, began)
            while True:
                message, payload = await wire.read()
                if (wrong := fault(message)) is not None:
                    raise UpstreamMalformed(
                        f"{wire.origin} answered with something that is no HTTP/1.x: {wrong}"
                    )
                if message.code >= 200 or (message.code == 101 and request.upgrade):
                    break
                self._inform(message)
                if self._sent_at is not None:
                    wire.start_timeout()
        except Exception as error:
            raise_translated(wire, error)
        wire.read_timeout = limits.idle_timeout_s
        headed = clock.monotonic()
        sent_at = self._sent_at
        send_s, wait_s = (
            (sent_at - began, headed - sent_at) if sent_at is not None else (None, headed - began)
        )
        self._response = Response(wire, connecting, message, payload, send_s, wait_s)
        return self._response

    def _write(self, wire: Wire, began: float) -> None:
        request = self._request
        head = [request.method.encode("ascii"), b" ", request.target, b" HTTP/1.1\r\n"]
        for name, value in request.headers:
            head += (name, b": ", value, b"\r\n")
        head.append(b"\r\n")
        body = request.body
        if isinstance(body, bytes):
            if body and request.chunked:
                head.append(b"%x\r\n%b\r\n" % (len(body), body))
            elif body:
                head.append(body)
            if request.chunked:
                head.append(b"0\r\n\r\n")
            wire.write(b"".join(head))
            self._sent_at = began
            wire.start_timeout()
        else:
            wire.write(b"".join(head))
            self._upload = self._outgoing.tasks.create_task(self._send_body(wire, body))

    async def _send_body(self, wire: Wire, body: AsyncIterable[bytes]) -> None:
        """Never raises: what goes wrong here is found out by whoever reads the response."""
        pieces = aiter(body)
        chunked = self._request.chunked
        while True:
            try:
                piece = await anext(pieces)
            except StopAsyncIteration:
                break
            except Exception as error:
                failure = BodyFailed(f"the request's body broke off: {error}")
                failure.__cause__ = error
                wire.fail(failure)
                return
            if piece and not await self._send_piece(
                wire, b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece
            ):
                return
        if not chunked or await self._send_piece(wire, b"0\r\n\r\n"):
            self._sent_at = self._outgoing.clock.monotonic()
            if self._response is None:
                wire.start_timeout()

    async def _send_piece(self, wire: Wire, data: bytes) -> bool:
        """Whether the target took it. One that is gone may have answered before: the response tells."""
        idle_s = self._outgoing.limits.idle_timeout_s
        try:
            wire.write(data)
            if wire.writing_paused:
                async with asyncio.timeout(idle_s):
                    await wire.drained()
        except ConnectionError:
            return False
        except TimeoutError:
            wire.fail(UpstreamTimeout(f"{wire.origin} stopped reading the request for {idle_s:g} s"))
            return False
        return True

    def _inform(self, message: RawResponseMessage) -> None:
        if message.code == 101:
            raise UpstreamMalformed(f"{self._request.origin} switches protocols (101) without being asked to")
        if self._informed is not None:
            self._informed(
                message.code, message.reason.encode("utf-8", "surrogateescape"), message.raw_headers
            )

    async def _abandon(self) -> None:
        """Break the connection and stop sending; what was on its way is lost."""
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.abort()
        if self._upload is not None and not self._upload.done():
            self._upload.cancel()
            await asyncio.wait((self._upload,))
