"""Bodies of any length, either way: relayed as they come, at the pace of the slower side, in flat memory."""

from __future__ import annotations

import asyncio
import hashlib
import tracemalloc

import pytest

from tests.services.loopback import Peer, dial, target
from tests.services.traffic_gateway.running import gateway

pytestmark = pytest.mark.uvloop

PIECE = bytes(range(256)) * 256  # 64 KiB
PIECES = 800
TOTAL = len(PIECE) * PIECES  # 50 MiB
FLAT_BYTES = 4 * 1024 * 1024
STALLED_BYTES = 40 * 1024 * 1024  # what two connections' kernel buffers can hold, and to spare


async def drink(peer: Peer, length: int) -> str:
    """SHA-256 of so many bytes, read piece by piece."""
    digest = hashlib.sha256()
    while length:
        piece = await peer.reader.read(min(length, 65536))
        if not piece:
            raise ConnectionError(f"{length} bytes are missing")
        digest.update(piece)
        length -= len(piece)
    return digest.hexdigest()


async def pour(peer: Peer, pieces: int = PIECES) -> None:
    for _ in range(pieces):
        await peer.say(PIECE)


def digest(pieces: int = PIECES) -> str:
    whole = hashlib.sha256()
    for _ in range(pieces):
        whole.update(PIECE)
    return whole.hexdigest()


async def test_fifty_mebibytes_down_and_up_in_flat_memory() -> None:
    async def talk(peer: Peer) -> None:
        await peer.head()
        got = await drink(peer, TOTAL)
        await peer.say(b"HTTP/1.1 200 OK\r\nX-Got: %b\r\nContent-Length: %d\r\n\r\n" % (got.encode(), TOTAL))
        await pour(peer)

    async with target(talk) as api, gateway(body_cap_bytes=64 * 1024) as at, dial(at.port) as client:
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            await client.say(
                b"POST " + at.path(api) + b" HTTP/1.1\r\nHost: gw\r\nContent-Length: %d\r\n\r\n" % TOTAL
            )
            await pour(client)
            head = await client.head()
            assert digest().encode() in head
            assert await drink(client, TOTAL) == digest()
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak - before < FLAT_BYTES
        call = await at.relay.call()
        assert call.response is not None
        assert (call.request.body.size_bytes, call.response.body.size_bytes) == (TOTAL, TOTAL)
        assert call.request.body.truncated
        assert call.error is None


async def stalled(peer: Peer, pieces: int) -> int:
    """How many of the pieces could be said before the other side took no more."""
    for said in range(pieces):
        try:
            async with asyncio.timeout(0.3):
                await peer.say(PIECE)
        except TimeoutError:
            return said + 1
    return pieces


async def test_a_client_that_does_not_read_holds_the_target_back() -> None:
    said: asyncio.Queue[int] = asyncio.Queue()

    async def talk(peer: Peer) -> None:
        await peer.head()
        await peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (2 * TOTAL))
        count = await stalled(peer, 2 * PIECES)
        said.put_nowait(count)
        await pour(peer, 2 * PIECES - count)

    async with target(talk) as api, gateway() as at, dial(at.port) as client:
        await client.say(b"GET " + at.path(api) + b" HTTP/1.1\r\nHost: gw\r\n\r\n")
        assert await said.get() * len(PIECE) < STALLED_BYTES
        await client.head()
        assert await drink(client, 2 * TOTAL) == digest(2 * PIECES)


async def test_a_target_that_does_not_read_holds_the_client_back() -> None:
    go_on = asyncio.Event()
    got: asyncio.Queue[str] = asyncio.Queue()

    async def talk(peer: Peer) -> None:
        await peer.head()
        await go_on.wait()
        got.put_nowait(await drink(peer, 2 * TOTAL))
        await peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async with target(talk, limit=65536) as api, gateway() as at, dial(at.port) as client:
        await client.say(
            b"PUT " + at.path(api) + b" HTTP/1.1\r\nHost: gw\r\nContent-Length: %d\r\n\r\n" % (2 * TOTAL)
        )
        count = await stalled(client, 2 * PIECES)
        assert count * len(PIECE) < STALLED_BYTES
        go_on.set()
        await pour(client, 2 * PIECES - count)
        assert await got.get() == digest(2 * PIECES)
        await client.response()


@pytest.mark.parametrize("capture", ["relaxed", "strict"])
async def test_events_pass_as_they_come(capture: str) -> None:
    """Server-sent events: each reaches the client before the next one exists."""
    seen: asyncio.Queue[int] = asyncio.Queue()

    async def talk(peer: Peer) -> None:
        await peer.head()
        await peer.say(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        for i in range(5):
            await peer.say(b"9\r\ndata: %d\n\n\r\n" % i)
            assert await seen.get() == i
        await peer.say(b"0\r\n\r\n")
        await peer.hung_up()

    async with target(talk) as api, gateway(capture=capture) as at, dial(at.port) as client:  # type: ignore[arg-type]
        await client.say(b"GET " + at.path(api) + b" HTTP/1.1\r\nHost: gw\r\n\r\n")
        await client.head()
        for i in range(5):
            assert await client.reader.readuntil(b"\n\n\r\n") == b"9\r\ndata: %d\n\n\r\n" % i
            seen.put_nowait(i)
        assert await client.reader.readexactly(5) == b"0\r\n\r\n"
        call = await at.relay.call()
        assert call.response is not None
        assert call.response.body.inline == b"".join(b"data: %d\n\n" % i for i in range(5))


async def test_request_and_response_may_stream_at_once() -> None:
    async def talk(peer: Peer) -> None:
        await peer.head()
        await peer.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            line = await peer.reader.readuntil(b"\r\n")
            size = int(line, 16)
            data = await peer.reader.readexactly(size + 2)
            await peer.say(line + data.upper())
            if not size:
                return

    async with target(talk) as api, gateway() as at, dial(at.port) as client:
        await client.say(
            b"POST " + at.path(api) + b" HTTP/1.1\r\nHost: gw\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        await client.head()
        for word in (b"ping", b"pong", b"done"):
            await client.say(b"4\r\n" + word + b"\r\n")
            assert await client.reader.readexactly(9) == b"4\r\n" + word.upper() + b"\r\n"
        await client.say(b"0\r\n\r\n")
        assert await client.reader.readexactly(5) == b"0\r\n\r\n"
        call = await at.relay.call()
        assert call.response is not None
        assert (call.request.body.inline, call.response.body.inline) == (b"pingpongdone", b"PINGPONGDONE")
