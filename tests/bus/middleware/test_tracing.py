"""What a handler publishes names its cause, and a trace goes through."""

from __future__ import annotations

from bus.event import Event
from bus.message import Fact
from bus.middleware import tracing
from bus.router import Delivery, Router
from tests.bus.memory import memory_bus

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class First(Fact, frozen=True):
    TYPE = "chain.first.happened"


class Second(Fact, frozen=True):
    TYPE = "chain.second.happened"


class Third(Fact, frozen=True):
    TYPE = "chain.third.happened"


async def test_a_chain_of_causes_keeps_its_correlation_and_its_trace() -> None:
    seen: dict[str, Event] = {}
    router = Router("chain")

    @router.on(First)
    async def on_first(first: First, delivery: Delivery) -> None:
        await delivery.publish(Second())

    @router.on(Second)
    async def on_second(second: Second, delivery: Delivery) -> None:
        await delivery.bus.publish(Third())  # the bus itself stamps too

    async def on_event(event: Event, delivery: Delivery) -> None:
        seen[event.type] = event

    watcher = Router("watcher")
    watcher.on_event("chain.#", on_event)
    async with memory_bus() as (bus, _), bus.serve(router, watcher):
        token = tracing.TRACEPARENT.set(TRACE)
        await bus.publish(First(), id="root")
        tracing.TRACEPARENT.reset(token)
        await bus.settled()
        assert tracing.causes() == (None, None, None)
    first, second, third = (seen[message.TYPE] for message in (First, Second, Third))
    assert (first.correlationid, first.causationid) == (None, None)
    assert (second.correlationid, second.causationid) == ("root", "root")
    assert (third.correlationid, third.causationid) == ("root", second.id)
    assert {event.traceparent for event in seen.values()} == {TRACE}


async def test_what_is_parked_names_no_cause_of_another() -> None:
    router = Router("chain")

    @router.on(First)
    async def on_first(first: First, delivery: Delivery) -> None:
        raise ValueError

    async with memory_bus() as (bus, _), bus.serve(router):
        await bus.publish(First())
        await bus.settled()
        assert bus.envelop(First()).causationid is None
