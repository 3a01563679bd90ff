"""A router is one subscription: its patterns follow from its handlers, unless the contract gave them."""

from __future__ import annotations

import pytest

from bus.errors import TopicInvalid
from bus.event import Event
from bus.message import Ask, Fact, Signal, Subscription
from bus.router import RETRY_DELAYS_S, Batches, Delivery, Router
from tests.bus.memory import memory_bus


class OrderPlaced(Fact, frozen=True):
    TYPE = "shop.order.placed"
    id: str = ""


class OrderSent(Fact, frozen=True):
    TYPE = "shop.order.sent"


class ChunkSent(Fact, frozen=True):
    TYPE = "shop.chunk.sent"
    EXCHANGE = "bodies"


class Beat(Signal, frozen=True):
    TYPE = "shop.heart.beat"


class StockOf(Ask[int], frozen=True):
    TYPE = "shop.stock.of"


async def on_anything(message: object, delivery: Delivery) -> None: ...


async def on_events(events: list[Event]) -> None: ...


async def answer_stock_of(ask: StockOf, delivery: Delivery) -> int:
    return 7


def test_patterns_follow_from_the_handlers() -> None:
    router = Router("billing")
    router.on(OrderPlaced, on_anything)
    router.on(OrderSent, on_anything, key="eu")
    router.on_event("traffic.#", on_anything)
    router.on(OrderPlaced, on_anything)
    assert router.subscription() == Subscription(
        "billing", ("shop.order.placed.*", "shop.order.sent.eu", "traffic.#")
    )
    assert router.retry_delays_s == RETRY_DELAYS_S == (1, 5, 30, 120, 600)


def test_a_decorator_registers_and_gives_the_handler_back() -> None:
    router = Router("billing")

    @router.on(OrderPlaced)
    async def on_order_placed(order: OrderPlaced, delivery: Delivery) -> None: ...

    @router.answers(StockOf, key="eu")
    async def answer_stock(ask: StockOf, delivery: Delivery) -> int:
        return 1

    assert [route.handler for route in router.routes] == [on_order_placed]
    assert [(route.handler, route.pattern) for route in router.asks] == [(answer_stock, "shop.stock.of.eu")]


def test_a_subscription_of_the_contract_decides() -> None:
    declared = Subscription("vault", ("#",), mode="ordered", max_bytes=10, pushes_back=True)
    router = Router(declared, concurrency=8)
    assert router.subscription() is None  # it handles nothing yet
    router.on(OrderPlaced, on_anything)
    assert router.subscription() is declared
    assert (router.name, router.mode, router.concurrency) == ("vault", "ordered", 1)


def test_signals_and_asks_alone_need_no_queue() -> None:
    router = Router("ears")
    router.on(Beat, on_anything)
    router.answers(StockOf, answer_stock_of)
    assert router.subscription() is None
    assert [route.pattern for route in router.signals] == ["shop.heart.beat.*"]


def test_the_exchange_follows_from_the_facts_and_is_one() -> None:
    router = Router("chunks")
    router.on(ChunkSent, on_anything)
    assert router.subscription() == Subscription("chunks", ("shop.chunk.sent.*",), exchange="bodies")
    router.on(OrderPlaced, on_anything)
    with pytest.raises(ValueError, match=r"'chunks' spans the exchanges \['bodies', 'events'\]"):
        router.subscription()


def test_a_router_that_takes_batches_needs_patterns() -> None:
    router = Router("vault")
    assert router.on_batch(on_events) is on_events
    with pytest.raises(ValueError, match="no patterns: make it from a Subscription"):
        router.subscription()
    declared = Subscription("vault", ("#",))
    contracted = Router(declared)
    contracted.on_batch(on_events, max_events=10, beside=2)
    assert contracted.subscription() is declared
    assert contracted.batch == Batches(on_events, 10, 2)


@pytest.mark.parametrize("mode", ["ordered", "every_instance"])
async def test_only_shared_subscriptions_take_batches(mode: str) -> None:
    router = Router(Subscription("vault", ("#",), mode=mode))  # type: ignore[arg-type]
    router.on_batch(on_events)
    async with memory_bus() as (bus, _):
        with pytest.raises(ValueError, match="only shared subscriptions take batches"):
            async with bus.serve(router):
                pass


@pytest.mark.parametrize("pattern", ["", "a..b", "a.b*", "a b"])
def test_a_pattern_that_is_no_pattern_is_refused_when_it_is_written(pattern: str) -> None:
    with pytest.raises(TopicInvalid):
        Router("billing").on_event(pattern, on_anything)
    with pytest.raises(TopicInvalid):
        Router("billing").on(OrderPlaced, on_anything, key=pattern or "a b")


def test_a_message_without_a_type_is_refused_when_it_is_written() -> None:
    class Nameless(Fact, frozen=True): ...

    with pytest.raises(TopicInvalid):
        Router("billing").on(Nameless, on_anything)


async def test_a_delivery_carries_key_and_cause_on() -> None:
    router, seen = Router("billing"), list[Event]()

    @router.on(OrderPlaced)
    async def on_order_placed(order: OrderPlaced, delivery: Delivery) -> None:
        await delivery.publish(OrderSent(), subject="o-1")
        await delivery.publish(OrderSent(), key="us", id="derived")
        assert (delivery.attempt, delivery.subscription) == (0, "billing")

    async def on_event(event: Event, delivery: Delivery) -> None:
        seen.append(event)

    follower = Router("follower")
    follower.on_event("shop.order.sent.*", on_event)
    async with memory_bus("shop") as (bus, _), bus.serve(router, follower):
        await bus.publish(OrderPlaced(), key="eu", id="cause")
        await bus.settled()
    assert [(event.key, event.subject, event.causationid) for event in seen] == [
        ("eu", "o-1", "cause"),
        ("us", None, "cause"),
    ]
    assert seen[1].id == "derived"
