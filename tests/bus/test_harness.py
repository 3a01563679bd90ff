"""The harness that users test their handlers with: the design's own example, delays included."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

import bus
from bus import testing
from bus.embedded.delays import Delays
from bus.message import Fact, Subscription


class OrderPlaced(Fact, frozen=True):
    TYPE = "shop.order.placed"
    id: str
    total_cents: int


class OrderInvoiced(Fact, frozen=True):
    TYPE = "shop.order.invoiced"
    id: str


class Shop:
    def __init__(self, **options: object) -> None:
        self.placed: list[str] = []
        self.invoiced: list[str] = []
        self.down = False
        self.router = bus.Router("billing", **options)  # type: ignore[arg-type]
        self.router.on(OrderPlaced, self.on_order_placed)
        self.router.on(OrderInvoiced, self.on_order_invoiced)

    async def on_order_placed(self, order: OrderPlaced, delivery: bus.Delivery) -> None:
        self.placed.append(order.id)
        if order.total_cents < 0:
            raise bus.Reject(f"order {order.id}: negative total")
        if self.down:
            raise ConnectionError("no database")
        await delivery.publish(OrderInvoiced(order.id))

    async def on_order_invoiced(self, invoiced: OrderInvoiced, delivery: bus.Delivery) -> None:
        self.invoiced.append(invoiced.id)


async def test_a_negative_order_is_parked() -> None:
    async with testing.harness(Shop().router) as b:
        await b.publish(OrderPlaced("o-2", -1), key="eu")
        await b.settled()
        assert [parked.reason for parked in await b.parked()] == ["order o-2: negative total"]


async def test_settled_waits_for_what_was_caused_too() -> None:
    shop = Shop()
    async with testing.harness(shop.router) as b:
        for number in range(100):
            await b.publish(OrderPlaced(f"o-{number}", 1))
        await b.settled()
        assert sorted(shop.invoiced) == sorted(f"o-{number}" for number in range(100))


@pytest.mark.parametrize("mode", ["shared", "ordered"])
async def test_what_waits_for_a_delay_is_settled_until_time_is_moved(mode: str) -> None:
    shop = Shop(mode=mode)
    shop.down = True
    async with testing.harness(shop.router) as b:
        await b.publish(OrderPlaced("o-1", 1), subject="o-1")
        await b.settled()
        assert shop.placed == ["o-1"]
        for delay_s in (1, 5, 30):
            await b.clock.advance(1.2 * delay_s)
            await b.settled()
        assert shop.placed == ["o-1"] * 4
        shop.down = False
        await b.clock.advance(150)
        await b.settled()
        assert shop.invoiced == ["o-1"]
        assert await b.parked() == []


async def test_subscriptions_without_routers_may_be_declared() -> None:
    vault = Subscription("vault", ("#",))
    async with testing.harness(subscriptions=(vault,)) as b:
        await b.publish(OrderPlaced("o-1", 1))
        assert await b.transport.queue_depths([vault]) == {"vault": 1}


async def test_two_harnesses_share_nothing() -> None:
    one, other = Shop(), Shop()
    async with testing.harness(one.router) as first, testing.harness(other.router) as second:
        await first.publish(OrderPlaced("o-1", 1))
        await first.settled()
        await second.settled()
    assert (one.placed, other.placed) == (["o-1"], [])


async def test_settled_waits_for_what_is_due_however_slow_the_journal_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shop = Shop()
    look = Delays._look

    def later(delays: Delays) -> None:
        asyncio.get_running_loop().call_later(0.05, look, delays)

    monkeypatch.setattr(Delays, "_look", later)
    async with testing.harness(shop.router) as b:
        await b.publish(OrderPlaced("o-1", 1), at=b.clock.now() + timedelta(hours=2))
        await b.clock.advance(2 * 3600)
        await b.settled()
        assert shop.placed == ["o-1"]
