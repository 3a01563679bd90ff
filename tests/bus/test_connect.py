"""connect(): the URL chooses the transport; a bus under another name shares it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

import bus
from bus.message import Fact, Signal, Subscription
from bus.router import Delivery, Router
from bus.testing import turns
from tests.bus.memory import memory_bus


class OrderPlaced(Fact, frozen=True):
    TYPE = "shop.order.placed"
    number: int


class Beat(Signal, frozen=True):
    TYPE = "shop.heart.beat"
    number: int


SHOP = Subscription("shop", ("shop.order.placed.*",))


@pytest.mark.parametrize("url", ["", "embedded", "kafka://x", "shop.db", "AMQP//x"])
async def test_a_url_of_no_known_scheme_is_refused(url: str) -> None:
    with pytest.raises(bus.CannotOpen, match="none of embedded:, amqp://, amqps://"):
        async with bus.connect(url, source="shop"):
            pass


async def test_a_journal_keeps_what_was_published(tmp_path: Path) -> None:
    url = f"embedded:{tmp_path}/with%20space/shop.db"
    (tmp_path / "with space").mkdir()
    async with bus.connect(url, source="shop", subscriptions=[SHOP]) as b:
        await b.publish(OrderPlaced(1))
    handled: asyncio.Queue[int] = asyncio.Queue()
    router = Router(SHOP)

    @router.on(OrderPlaced)
    async def on_order_placed(order: OrderPlaced, delivery: Delivery) -> None:
        handled.put_nowait(order.number)

    async with bus.connect(url, source="shop") as b, b.serve(router):
        assert await handled.get() == 1


async def test_another_name_shares_transport_publisher_and_subscribers() -> None:
    async with memory_bus("shop") as (b, transport):
        other = b.as_source("billing")
        await b.declare(SHOP)
        await other.publish(OrderPlaced(1))
        assert other.transport is b.transport
        assert other.envelop(OrderPlaced(1)).source == "billing"
        router = Router(SHOP)

        @router.on(OrderPlaced)
        async def on_order_placed(order: OrderPlaced, delivery: Delivery) -> None: ...

        async with other.serve(router):
            assert len(b.subscribers) == 1
        assert b.subscribers == []
        assert len(transport.published) == 1


async def test_an_error_while_opening_comes_out_as_it_is(tmp_path: Path) -> None:
    damaged = tmp_path / "bus.db"
    damaged.write_bytes(b"this is no journal" * 1000)
    with pytest.raises(bus.CannotOpen):
        async with bus.connect(f"embedded:{damaged}", source="shop"):
            pass


async def test_signals_are_handled_one_after_another_and_a_failing_one_stops_nothing() -> None:
    heard: list[int] = []
    ears = Router("ears", deadline_s=0.01)

    @ears.on(Beat)
    async def on_beat(beat: Beat, delivery: Delivery) -> None:
        if beat.number == 1:
            raise ValueError("deaf")
        if beat.number == 2:
            await asyncio.Event().wait()  # stopped at the deadline
        heard.append(beat.number)
        if beat.number == 3:
            done.set()

    done = asyncio.Event()
    async with memory_bus() as (b, _):
        await b.signal(Beat(-1))  # nobody listens: no error
        async with b.serve(ears):
            for number in range(4):
                await b.signal(Beat(number))
            await done.wait()
        await b.signal(Beat(9))
    assert heard == [0, 3]


async def test_a_flood_of_signals_is_bounded() -> None:
    heard: list[int] = []
    gate = asyncio.Event()
    ears = Router("ears")

    @ears.on(Beat)
    async def on_beat(beat: Beat, delivery: Delivery) -> None:
        await gate.wait()
        heard.append(beat.number)

    async with memory_bus() as (b, _), b.serve(ears):
        for number in range(5000):
            await b.signal(Beat(number))
        await turns()
        gate.set()
        await turns(3000)
    assert heard == list(range(len(heard)))
    assert 1000 < len(heard) < 1100


async def test_one_router_may_hold_facts_signals_and_asks_and_all_stop_with_it() -> None:
    class Count(bus.Ask[int], frozen=True):
        TYPE = "shop.orders.count"

    seen: list[object] = []
    router = Router("shop")

    async def on_anything(message: object, delivery: Delivery) -> None:
        seen.append(message)

    router.on(OrderPlaced, on_anything)
    router.on(Beat, on_anything)

    @router.answers(Count)
    async def answer_count(ask: Count, delivery: Delivery) -> int:
        return len(seen)

    async with memory_bus() as (b, transport):
        async with b.serve(router):
            await b.publish(OrderPlaced(1))
            await b.signal(Beat(2))
            await b.settled()
            await turns()
            assert await b.ask(Count()) == 2
        assert not transport._answers
        assert not transport._listeners
        assert transport.queues["shop"].consumers == []
