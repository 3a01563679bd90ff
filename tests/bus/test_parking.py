"""What failed for good is kept with its reason until it is redriven or discarded."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

import bus
from bus import codec
from bus.message import Fact
from bus.parking import EventParked
from bus.router import Delivery, Router
from bus.testing import Harness
from bus.transport import Frame
from tests.bus.memory import MemoryTransport, memory_bus


class OrderPlaced(Fact, frozen=True):
    TYPE = "shop.order.placed"
    number: int


class Shop:
    def __init__(self) -> None:
        self.broken = True
        self.handled: list[tuple[int, int]] = []
        self.router = Router("shop")
        self.router.on(OrderPlaced, self.on_order_placed)

    async def on_order_placed(self, order: OrderPlaced, delivery: Delivery) -> None:
        if self.broken:
            raise bus.Reject(f"order {order.number} is broken")
        self.handled.append((order.number, delivery.attempt))

    @asynccontextmanager
    async def open(self, *numbers: int) -> AsyncIterator[tuple[Harness, MemoryTransport]]:
        async with memory_bus() as (harness, transport), harness.serve(self.router):
            for number in numbers:
                await harness.publish(OrderPlaced(number), key="eu", id=f"e-{number}")
            await harness.settled()
            yield harness, transport


async def test_parked_are_listed_oldest_first_with_all_that_is_known() -> None:
    async with Shop().open(1, 2) as (b, _):
        first, second = await b.parked()
        assert [first.reason, second.reason] == ["order 1 is broken", "order 2 is broken"]
        assert (first.subscription, first.attempts, first.parked_at) == ("shop", 1, b.clock.now())
        assert (first.fact.event_id, first.fact.event_type) == ("e-1", "shop.order.placed")
        assert first.fact.topics == ("shop.order.placed.eu",)
        assert first.fact.content_type == codec.CONTENT_TYPE
        assert [event.id for event in first.events()] == ["e-1"]


async def test_redriven_is_delivered_again_as_fresh_and_no_longer_parked() -> None:
    shop = Shop()
    async with shop.open(1, 2) as (b, _):
        shop.broken = False
        first, second = await b.parked()
        await b.redrive(first.id)
        await b.settled()
        assert shop.handled == [(1, 0)]
        assert [parked.id for parked in await b.parked()] == [second.id]
        with pytest.raises(bus.NotParked):
            await b.redrive(first.id)


async def test_redriven_in_vain_is_parked_again() -> None:
    async with Shop().open(1) as (b, _):
        [before] = await b.parked()
        await b.redrive(before.id)
        await b.settled()
        [after] = await b.parked()
        assert after.id != before.id
        assert after.reason == before.reason


async def test_discarded_is_gone_and_nothing_is_delivered() -> None:
    shop = Shop()
    async with shop.open(1, 2) as (b, _):
        shop.broken = False
        first, second = await b.parked()
        await b.discard(first.id, "seen by hand")
        await b.settled()
        assert shop.handled == []
        assert [parked.id for parked in await b.parked()] == [second.id]
        with pytest.raises(bus.NotParked, match=first.id):
            await b.discard(first.id, "again")


async def test_what_is_not_parked_is_named() -> None:
    async with Shop().open() as (b, _):
        with pytest.raises(bus.NotParked, match="'nothing-like-it'"):
            await b.redrive("nothing-like-it")


async def test_a_kept_frame_that_cannot_be_read_hides_no_other() -> None:
    async with Shop().open(1) as (b, transport):
        transport.keep(Frame(b"?", ("bus.event.parked._",)))
        later = bus.Event("later", "s", EventParked.TYPE, 9, "_", None, b.clock.now())
        odd = bus.Event("odd", "s", EventParked.TYPE, 1, "_", None, b.clock.now())
        transport.keep(Frame(codec.encode_batch([later, odd]), ("bus.event.parked._",)))
        await b.publish(OrderPlaced(2), key="eu")
        await b.settled()
        assert [parked.reason for parked in await b.parked()] == ["order 1 is broken", "order 2 is broken"]


async def test_parking_is_an_event_that_anybody_may_follow() -> None:
    seen: list[EventParked] = []
    follower = Router("mission_control")

    @follower.on(EventParked)
    async def on_event_parked(parked: EventParked, delivery: Delivery) -> None:
        assert delivery.event.subject == "shop"
        seen.append(parked)

    shop = Shop()
    async with memory_bus() as (b, _), b.serve(shop.router, follower):
        await b.publish(OrderPlaced(1))
        await b.settled()
    assert [parked.reason for parked in seen] == ["order 1 is broken"]
