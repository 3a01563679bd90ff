"""What an edge hands over reaches the bus, or the spool until the bus is back, in order; what is lost is
told."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
from pathlib import Path

import pytest

from bus import codec
from bus.errors import SpoolFull, Unavailable
from bus.event import Event
from bus.message import Fact, Subscription
from bus.testing import Harness, ManualClock, turns
from bus.transport import Frame
from schemas.request_vault import BODIES, BodyChunk
from services.chassis.relay import CHUNK_BYTES, Relay
from tests.bus.memory import MemoryTransport, memory_bus

ALL = Subscription("keeper", ("#",))


class Noted(Fact, frozen=True):
    TYPE = "test.thing.noted"

    number: int
    padding: str = ""


class Lost(Fact, frozen=True):
    TYPE = "test.thing.lost"

    count: int


def lost(key: str, count: int, since: datetime) -> Fact:
    return Lost(count)


@asynccontextmanager
async def relaying(
    tmp_path: Path, *, max_spool_bytes: int = 10**9, max_waiting_bytes: int = 10**8
) -> AsyncIterator[tuple[Relay, Harness, MemoryTransport]]:
    async with memory_bus() as (bus, transport):
        await bus.declare(ALL, BODIES)
        open_relay = partial(Relay.open, max_spool_bytes=max_spool_bytes, max_waiting_bytes=max_waiting_bytes)
        async with open_relay(bus, tmp_path, lost=lost) as relay:
            yield relay, bus, transport


def arrived(transport: MemoryTransport, kind: type[Fact]) -> list[Event]:
    events = [event for _, frame in transport.published for event in codec.decode_batch(frame.body)]
    return [event for event in events if event.type == kind.TYPE]


def numbers(transport: MemoryTransport) -> list[int]:
    return [event.read(Noted).number for event in arrived(transport, Noted)]


async def until(transport: MemoryTransport, count: int, clock: ManualClock) -> None:
    """`count` things have arrived; time moves on as long as they have not."""
    async with asyncio.timeout(10):
        while len(numbers(transport)) < count:
            await clock.advance(1)
            await asyncio.sleep(0.001)


def away(transport: MemoryTransport) -> None:
    transport.refusal = lambda frame: Unavailable("the broker is gone")
    transport.current = "connecting"


def back(transport: MemoryTransport) -> None:
    transport.refusal = lambda frame: None
    transport.current = "ready"


async def test_send_returns_when_the_bus_has_it(tmp_path: Path) -> None:
    async with relaying(tmp_path) as (relay, _, transport):
        await relay.send(Noted(1), key="b")
        assert numbers(transport) == [1]
        assert relay.spooled_bytes == 0


async def test_what_is_sent_soon_is_sent_before_the_relay_ends(tmp_path: Path) -> None:
    async with relaying(tmp_path) as (relay, _, transport):
        for number in range(600):
            relay.send_soon(Noted(number), key="b")
        assert numbers(transport) == []
    assert numbers(transport) == list(range(600))


async def test_bodies_go_first_in_chunks(tmp_path: Path) -> None:
    body = bytes(range(256)) * (CHUNK_BYTES // 256) * 2 + b"rest"
    sha256 = hashlib.sha256(body).hexdigest()
    async with relaying(tmp_path) as (relay, _, transport):
        await relay.send(Noted(1), key="b", bodies=[(sha256, body)])
        kinds = [codec.decode_batch(frame.body)[0].type for _, frame in transport.published]
        assert kinds[-1] == Noted.TYPE
        chunks = [event.read(BodyChunk) for event in arrived(transport, BodyChunk)]
        assert b"".join(chunk.data for chunk in chunks) == body
        assert [(chunk.index, chunk.count, chunk.size_bytes) for chunk in chunks] == [
            (index, 3, len(body)) for index in range(3)
        ]
        first = [event.id for event in arrived(transport, BodyChunk)]
        await relay.send(Noted(2), key="b", bodies=[(sha256, body)])
        assert [event.id for event in arrived(transport, BodyChunk)][3:] == first, (
            "the same chunk, the same event"
        )


async def test_while_the_bus_is_away_the_spool_keeps_it_and_gives_it_in_order(tmp_path: Path) -> None:
    async with relaying(tmp_path) as (relay, bus, transport):
        away(transport)
        for number in range(5):
            await relay.send(Noted(number), key="b")
        assert relay.spooled_bytes > 0
        back(transport)
        await relay.send(Noted(5), key="b")  # not before the older ones
        await until(transport, 6, bus.clock)
        assert numbers(transport) == [0, 1, 2, 3, 4, 5]


async def test_what_was_spooled_survives_a_restart(tmp_path: Path) -> None:
    async with relaying(tmp_path) as (relay, _, transport):
        away(transport)
        relay.send_soon(Noted(1), key="b")
    async with relaying(tmp_path) as (relay, bus, transport):
        await until(transport, 1, bus.clock)
        assert numbers(transport) == [1]


async def test_a_full_spool_refuses_send_and_counts_send_soon(tmp_path: Path) -> None:
    async with relaying(tmp_path, max_spool_bytes=2000) as (relay, bus, transport):
        away(transport)
        await relay.send(Noted(1, "x" * 1000), key="b")
        with pytest.raises(SpoolFull):
            await relay.send(Noted(2, "x" * 1000), key="b")
        held = relay.spooled_bytes
        relay.send_soon(Noted(3, "x" * 1000), key="b")
        relay.send_soon(Noted(4, "x" * 1000), key="b")
        async with asyncio.timeout(10):
            while relay.spooled_bytes == held:  # the report of what was lost has room
                await turns(1)
        back(transport)
        await until(transport, 1, bus.clock)
        relay.send_soon(Noted(5), key="b")
        await until(transport, 2, bus.clock)
    assert numbers(transport) == [1, 5]
    assert sum(event.read(Lost).count for event in arrived(transport, Lost)) == 2


async def test_memory_is_bounded_and_what_does_not_fit_is_told(tmp_path: Path) -> None:
    async with relaying(tmp_path, max_waiting_bytes=5000) as (relay, _, transport):
        for number in range(10):
            relay.send_soon(Noted(number, "x" * 1000), key="b")
    assert numbers(transport) == [0, 1, 2, 3]
    assert [event.read(Lost).count for event in arrived(transport, Lost)] == [6]


async def test_one_that_is_too_large_takes_no_other_with_it(tmp_path: Path) -> None:
    async with relaying(tmp_path) as (relay, _, transport):
        relay.send_soon(Noted(1), key="b")
        relay.send_soon(Noted(2, "x" * codec.MAX_EVENT_BYTES), key="b")
        relay.send_soon(Noted(3), key="b")
    assert numbers(transport) == [1, 3]
    assert [event.read(Lost).count for event in arrived(transport, Lost)] == [1]


async def test_what_is_lost_while_losses_are_told_is_told_too(tmp_path: Path) -> None:
    async with relaying(tmp_path, max_waiting_bytes=1500) as (relay, _, transport):
        relay.send_soon(Noted(1, "x" * 1000), key="b")
        relay.send_soon(Noted(2, "x" * 1000), key="b")
        await _until_report_flies(transport)
        relay.send_soon(Noted(3, "x" * 1000), key="b")
        relay.send_soon(Noted(4, "x" * 1000), key="b")
        transport.hold.set()  # type: ignore[union-attr]
    assert numbers(transport) == [1, 3]
    assert sum(event.read(Lost).count for event in arrived(transport, Lost)) == 2


async def test_what_comes_while_losses_are_told_is_sent_before_the_relay_ends(tmp_path: Path) -> None:
    async with relaying(tmp_path, max_waiting_bytes=1500) as (relay, _, transport):
        relay.send_soon(Noted(1, "x" * 1000), key="b")
        relay.send_soon(Noted(2, "x" * 1000), key="b")
        await _until_report_flies(transport)
        relay.send_soon(Noted(3), key="b")
        asyncio.get_running_loop().call_soon(transport.hold.set)  # type: ignore[union-attr]
    assert numbers(transport) == [1, 3]


async def _until_report_flies(transport: MemoryTransport) -> None:
    """The report of a loss waits for its confirmation; `transport.hold` keeps it back."""
    hold = asyncio.Event()

    def hold_the_report(frame: Frame) -> None:
        if frame.topics[0].startswith(Lost.TYPE):
            transport.hold = hold

    transport.refusal = hold_the_report
    async with asyncio.timeout(10):
        while transport.hold is None:
            await turns(1)


async def test_losses_are_told_when_the_spool_is_empty_again(tmp_path: Path) -> None:
    async with relaying(tmp_path, max_spool_bytes=1500) as (relay, bus, transport):
        away(transport)
        await relay.send(Noted(1, "x" * 1300), key="b")
        relay.send_soon(Noted(2, "x" * 1000), key="b")
        await turns()
        back(transport)
        async with asyncio.timeout(10):
            while not arrived(transport, Lost):
                await bus.clock.advance(1)
                await asyncio.sleep(0.001)
        assert [event.read(Lost).count for event in arrived(transport, Lost)] == [1]
