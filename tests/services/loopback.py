"""Raw sockets on loopback, for tests in which every byte counts: a target that says what it is told and keeps
what it heard, and a client that speaks and listens byte by byte."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

Talk = Callable[["Peer"], Awaitable[None]]


@dataclass
class Peer:
    """One connection, from either side."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def head(self) -> bytes:
        """A message's head, its blank line included."""
        return await self.reader.readuntil(b"\r\n\r\n")

    async def request(self) -> bytes:
        """A whole request as it is on the wire."""
        head = await self.head()
        return head + await self._body(head, to_the_end=False)

    async def response(self, *, bodiless: bool = False) -> tuple[bytes, bytes]:
        """Head and body of a response as they are on the wire; the body's transfer coding is left in."""
        head = await self.head()
        if bodiless or re.match(rb"HTTP/1.1 (1..|204|304)", head):
            return head, b""
        return head, await self.response_body(head)

    async def response_body(self, head: bytes) -> bytes:
        """What belongs to a response's head that was read."""
        return await self._body(head, to_the_end=True)

    async def say(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def rest(self) -> bytes:
        """Everything up to the other side's close. Raises ConnectionResetError when it is no orderly one."""
        return await self.reader.read()

    async def hung_up(self) -> None:
        """Wait until the other side is gone, however it went."""
        with suppress(ConnectionError):
            while await self.reader.read(65536):
                pass

    def reset(self) -> None:
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.writer.transport.abort()

    async def close(self) -> None:
        self.writer.close()
        with suppress(ConnectionError, OSError):
            await self.writer.wait_closed()

    async def _body(self, head: bytes, *, to_the_end: bool) -> bytes:
        lower = head.lower()
        if b"\r\ntransfer-encoding: chunked\r\n" in lower:
            return await self._chunks()
        length = re.search(rb"\r\ncontent-length: (\d+)\r\n", lower)
        if length is not None:
            return await self.reader.readexactly(int(length.group(1)))
        return await self.reader.read() if to_the_end else b""

    async def _chunks(self) -> bytes:
        parts = []
        while True:
            line = await self.reader.readuntil(b"\r\n")
            size = int(line, 16)
            parts += [line, await self.reader.readexactly(size + 2)]
            if not size:
                return b"".join(parts)


@dataclass
class Target:
    """A server. heard: every request, by bytes, that `answering` read. connections: how many were taken."""

    port: int = 0
    heard: list[bytes] = field(default_factory=list)
    connections: int = 0

    @property
    def authority(self) -> str:
        return f"127.0.0.1:{self.port}"


@asynccontextmanager
async def target(talk: Talk | bytes, **how: Any) -> AsyncIterator[Target]:
    """A target that talks like `talk` on each connection; bytes are its answer to every request."""
    made = Target()
    tasks: set[asyncio.Task[Any]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        made.connections += 1
        peer = Peer(reader, writer)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                if isinstance(talk, bytes):
                    while True:
                        made.heard.append(await peer.request())
                        await peer.say(talk)
                else:
                    await talk(peer)
        finally:
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0, **how)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)


@asynccontextmanager
async def dial(port: int) -> AsyncIterator[Peer]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**20)
    peer = Peer(reader, writer)
    try:
        yield peer
    finally:
        await peer.close()


def free_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def dechunked(body: bytes) -> bytes:
    parts: list[bytes] = []
    at = 0
    while True:
        end = body.index(b"\r\n", at)
        size = int(body[at:end], 16)
        at = end + 2
        if not size:
            return b"".join(parts)
        parts.append(body[at : at + size])
        at += size + 2
