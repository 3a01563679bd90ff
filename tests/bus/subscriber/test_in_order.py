"""Ordered and every_instance subscriptions: one after another, a failing subject held back alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

import bus
from bus import codec
from bus.message import Fact, Mode
from bus.router import Delivery, Router
from bus.subscriber.in_order import PARK_AFTER
from bus.testing import Harness, turns
from bus.transport import Frame
from tests.bus.memory import MemoryTransport, memory_bus


class OrderMoved(Fact, frozen=True):
    TYPE = "shop.order.moved"
    ORDERED = True
    number: int


class Ledger:
    def __init__(self, mode: Mode = "ordered", **options: object) -> None:
        self.handled: list[int] = []
        self.tried: list[int] = []
        self.answers: dict[int, Exception | asyncio.Event] = {}
        self.router = Router("ledger", mode=mode, **options)  # type: ignore[arg-type]
        self.router.on(OrderMoved, self.on_order_moved)

    async def on_order_moved(self, moved: OrderMoved, delivery: Delivery) -> None:
        self.tried.append(moved.number)
        answer = self.answers.get(moved.number)
        if isinstance(answer, asyncio.Event):
            await answer.wait()
        elif answer is not None:
            raise answer
        self.handled.append(moved.number)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[tuple[Harness, MemoryTransport]]:
        async with memory_bus() as (harness, transport), harness.serve(self.router):
            yield harness, transport


async def move(b: Harness, *numbers: int, subject: str = "o-1") -> None:
    for number in numbers:
        await b.publish(OrderMoved(number), subject=subject)


MODES: list[Mode] = ["ordered", "every_instance"]


@pytest.mark.parametrize("mode", MODES)
async def test_events_are_handled_one_after_another_in_order(mode: Mode) -> None:
    ledger = Ledger(mode)
    async with ledger.open() as (b, _):
        gate = ledger.answers[0] = asyncio.Event()
        await move(b, *range(100))
        await turns()
        assert ledger.tried == [0]
        gate.set()
        await b.settled()
    assert ledger.handled == list(range(100))


@pytest.mark.parametrize("mode", MODES)
async def test_a_failing_event_is_retried_in_place_and_holds_back_its_subject_only(mode: Mode) -> None:
    ledger = Ledger(mode)
    ledger.answers[1] = ValueError("not yet")
    async with ledger.open() as (b, _):
        await move(b, 0, 1, 2, 3, subject="o-1")
        await move(b, 10, 11, subject="o-2")
        await b.settled()
        assert ledger.handled == [0, 10, 11]
        await b.clock.advance(2)
        await b.settled()
        assert ledger.tried == [0, 1, 10, 11, 1]
        del ledger.answers[1]
        await b.clock.advance(6)
        await b.settled()
        assert ledger.handled == [0, 10, 11, 1, 2, 3]
        await move(b, 4)
        await b.settled()
        assert ledger.handled[-1] == 4


async def test_when_its_delays_are_used_up_it_is_parked_and_its_subject_goes_on() -> None:
    ledger = Ledger(retry_delays_s=(1, 2))
    ledger.answers[0] = ValueError("never")
    async with ledger.open() as (b, transport):
        await move(b, 0, 1)
        for _ in range(4):
            await b.clock.advance(2)
            await b.settled()
        [parked] = await b.parked()
        assert (parked.reason, parked.attempts) == ("ValueError: never", 3)
        assert ledger.tried == [0, 0, 0, 1]
        assert transport.queues["ledger"].depth == 0


async def test_rejected_is_parked_at_once_and_nothing_waits() -> None:
    ledger = Ledger()
    ledger.answers[0] = bus.Reject("no such order")
    async with ledger.open() as (b, _):
        await move(b, 0, 1)
        await b.settled()
        assert ledger.handled == [1]
        assert [parked.reason for parked in await b.parked()] == ["no such order"]


async def test_what_is_held_behind_may_fail_too() -> None:
    ledger = Ledger(retry_delays_s=(1,))
    ledger.answers = {0: ValueError("a"), 1: bus.Reject("b"), 2: ValueError("c")}
    async with ledger.open() as (b, _):
        await move(b, 0, 1, 2, 3)
        for _ in range(4):
            await b.clock.advance(2)
            await b.settled()
        assert ledger.handled == [3]
        assert [parked.reason for parked in await b.parked()] == ["ValueError: a", "b", "ValueError: c"]


async def test_an_every_instance_subscription_gives_up_without_parking() -> None:
    ledger = Ledger("every_instance", retry_delays_s=())
    ledger.answers[0] = ValueError("never")
    async with ledger.open() as (b, _):
        await move(b, 0, 1)
        await b.settled()
        assert ledger.handled == [1]
        assert await b.parked() == []


async def test_a_dependency_away_for_an_hour_makes_everything_wait_in_place() -> None:
    ledger = Ledger()
    ledger.answers[1] = bus.Unavailable("down")
    async with ledger.open() as (b, _):
        await move(b, 0, 1, 2)
        await move(b, 10, subject="o-2")
        await b.clock.advance(3600)
        assert ledger.handled == [0]
        assert len(ledger.tried) < 200
        ledger.answers.clear()
        await b.clock.advance(60)
        await b.settled()
        assert ledger.handled == [0, 1, 2, 10]
        assert await b.parked() == []


async def test_a_frame_is_acknowledged_when_all_its_events_are_settled() -> None:
    ledger = Ledger()
    ledger.answers[1] = ValueError("not yet")
    async with ledger.open() as (b, transport):
        await b.publish(*map(OrderMoved, range(3)), subject="o-1")
        await b.settled()
        assert transport.queues["ledger"].depth == 1
        del ledger.answers[1]
        await b.clock.advance(2)
        await b.settled()
        assert transport.queues["ledger"].depth == 0
    assert ledger.handled == [0, 1, 2]


async def test_a_frame_that_came_back_too_often_and_is_first_is_parked_event_by_event() -> None:
    ledger = Ledger()
    async with memory_bus() as (b, transport):
        first = [b.envelop(OrderMoved(number)) for number in range(2)]
        second = [b.envelop(OrderMoved(number)) for number in range(2, 4)]
        subscription = ledger.router.subscription()
        assert subscription is not None
        await b.declare(subscription)
        for events in (first, second):
            frame = Frame(codec.encode_batch(events), (events[0].topic,))
            transport.queues["ledger"].put(frame, returned=PARK_AFTER)
        async with b.serve(ledger.router):
            await b.settled()
        assert ledger.handled == [2, 3]  # it was not first: nothing says that it killed anybody
        assert [parked.reason for parked in await b.parked()] == [
            f"its worker died {PARK_AFTER} times with this frame first in hand"
        ] * 2


async def test_when_the_bus_is_away_giving_up_waits_in_place() -> None:
    ledger = Ledger()
    ledger.answers[0] = bus.Reject("no")
    async with ledger.open() as (b, transport):
        transport.refusal = lambda frame: (
            bus.Backpressure("full") if b"bus.event.parked" in frame.body else None
        )
        await move(b, 0, 1)
        await b.clock.advance(120)
        assert ledger.tried == [0]
        transport.refusal = lambda frame: None
        await b.clock.advance(60)
        await b.settled()
        assert ledger.handled == [1]
        assert len(await b.parked()) == 1


async def test_a_surviving_instance_goes_on_where_the_other_left() -> None:
    one, other = Ledger(), Ledger()
    async with memory_bus() as (b, _), AsyncExitStack() as first:
        await first.enter_async_context(b.serve(one.router))
        async with b.serve(other.router):
            await move(b, *range(10))
            await b.settled()
            assert (one.handled, other.handled) == (list(range(10)), [])
            await first.aclose()
            await move(b, *range(10, 20))
            await b.settled()
    assert other.handled == list(range(10, 20))


async def test_on_exit_the_event_in_hand_is_finished_and_the_rest_goes_back_in_order() -> None:
    ledger = Ledger()
    gate = ledger.answers[0] = asyncio.Event()
    async with memory_bus() as (b, transport):
        async with asyncio.TaskGroup() as tasks:
            stop = asyncio.Event()

            async def serve() -> None:
                async with b.serve(ledger.router):
                    await stop.wait()

            tasks.create_task(serve())
            await turns()
            await move(b, *range(5))
            await turns()
            stop.set()
            await turns()
            gate.set()
        assert ledger.handled == [0]
        waiting = [codec.decode_batch(frame.body)[0] for frame, _ in transport.queues["ledger"].waiting]
        assert [event.read(OrderMoved).number for event in waiting] == [1, 2, 3, 4]


async def test_on_exit_held_subjects_are_not_waited_for() -> None:
    ledger = Ledger()
    ledger.answers[0] = ValueError("not yet")
    async with memory_bus() as (b, transport):
        async with b.serve(ledger.router):
            await move(b, 0, 1)
            await b.settled()
        assert transport.queues["ledger"].depth == 2
        ledger.answers.clear()
        async with b.serve(ledger.router):
            await b.settled()
    assert ledger.handled == [0, 1]


async def test_on_exit_a_dependency_that_is_away_is_not_waited_for() -> None:
    ledger = Ledger()
    ledger.answers[1] = bus.Unavailable("down")
    async with memory_bus() as (b, _):
        async with AsyncExitStack() as serving:
            await serving.enter_async_context(b.serve(ledger.router))
            await move(b, 0, 1, 2)
            await turns()
            async with asyncio.timeout(5):
                await serving.aclose()
        assert ledger.handled == [0]
        del ledger.answers[1]
        async with b.serve(ledger.router):
            await b.settled()
    assert ledger.handled == [0, 1, 2]
