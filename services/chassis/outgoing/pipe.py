"""A connection whose bytes are nobody's business here: a tunnel (CONNECT), or what follows a 101. Called by
`wire`, `client`, and by the edge that pumps such bytes, for its own clients' connections.

Memory stays flat: what is not read holds the sender back, and `Pipe.write` returns when the other side has
room again. Each direction ends on its own, where the transport can say so (TLS cannot)."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

from services.chassis.outgoing.errors import UpstreamDisconnected

if TYPE_CHECKING:
    from services.chassis.outgoing.wire import Phases, Wire

HOLD_BYTES = 64 * 1024  # as much may wait to be read; then the sender is held back


class Inflow:
    """The bytes that come in on a connection. An aiohttp protocol feeds it through `set_parser`. Read by one
    reader."""

    __slots__ = ("_ended", "_lost", "_paused", "_pieces", "_transport", "_waiter", "_waiting_bytes")

    def __init__(self, transport: asyncio.Transport | None) -> None:
        self._transport = transport
        self._pieces: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._waiter: asyncio.Future[None] | None = None
        self._paused = False
        self._ended = transport is None
        self._lost: BaseException | None = None

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        if data:
            self._pieces.append(data)
            self._waiting_bytes += len(data)
            if self._waiting_bytes >= HOLD_BYTES:
                self._hold()
            self._wake()
        return False, b""

    def feed_eof(self) -> None:
        self._ended = True
        self._wake()

    def lost(self, error: BaseException | None) -> None:
        """The connection is gone; with an error when it did not end in order."""
        self._lost = self._lost or (None if self._ended else error)
        self.feed_eof()

    async def read(self) -> bytes:
        """What has come, at least one byte; empty at the end. Raises ConnectionError when the connection
        broke."""
        while not self._pieces:
            if self._lost is not None:
                raise ConnectionResetError("the connection broke") from self._lost
            if self._ended:
                return b""
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        piece = self._pieces.popleft()
        self._waiting_bytes -= len(piece)
        if self._paused and self._waiting_bytes < HOLD_BYTES:
            self._release()
        return piece

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _hold(self) -> None:
        self._paused = True
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def _release(self) -> None:
        self._paused = False
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()


class Pipe:
    """A connection to a target, both ways. address: the peer's, `ip:port`. connecting: what making it took.
    Reading and writing raise UpstreamDisconnected when it is broken."""

    __slots__ = ("_inflow", "_wire", "address", "connecting")

    def __init__(self, wire: Wire, connecting: Phases) -> None:
        self._wire = wire
        self._inflow = wire.switch()
        self.address = wire.address
        self.connecting = connecting

    async def read(self) -> bytes:
        """What has come, at least one byte; empty when the target has ended its side."""
        try:
            return await self._inflow.read()
        except ConnectionError as error:
            raise UpstreamDisconnected(f"{self._wire.origin} broke the connection") from error

    async def write(self, data: bytes) -> None:
        """Returns when the target has taken most of what was written."""
        try:
            self._wire.write(data)
            if self._wire.writing_paused:
                await self._wire.drained()
        except ConnectionError as error:
            raise UpstreamDisconnected(f"{self._wire.origin} closed the connection") from error

    def end(self) -> None:
        """Nothing more will be written."""
        half_close(self._wire.transport)


def half_close(transport: asyncio.Transport | None) -> None:
    """End what is written to a connection; all of it where it knows no halves."""
    if transport is None or transport.is_closing():
        return
    if transport.can_write_eof():
        with suppress(OSError):  # the peer is gone, and the loop has not noticed yet
            transport.write_eof()
    else:
        transport.close()
