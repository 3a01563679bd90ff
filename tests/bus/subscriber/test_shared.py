"""How a shared subscription settles each event, by how its handler ended."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import msgspec
import pytest

import bus
from bus import codec
from bus.message import Fact, Subscription
from bus.router import RETRY_DELAYS_S, Delivery, Router
from bus.subscriber.settling import SUSPECT_RETURNS
from bus.testing import Harness, turns
from bus.transport import Frame
from tests.bus.memory import MemoryConsumer, MemoryTransport, memory_bus


class OrderPlaced(Fact, frozen=True):
    TYPE = "shop.order.placed"
    number: int


class Shop:
    """A subscription whose handler does what the test put into `answers` for a number."""

    def __init__(self, **options: object) -> None:
        self.tried: list[int] = []
        self.attempts: list[int] = []
        self.answers: dict[int, Exception | asyncio.Event] = {}
        self.running = self.most_running = 0
        self.router = Router("shop", **options)  # type: ignore[arg-type]
        self.router.on(OrderPlaced, self.on_order_placed)

    async def on_order_placed(self, order: OrderPlaced, delivery: Delivery) -> None:
        self.tried.append(order.number)
        self.attempts.append(delivery.attempt)
        self.running += 1
        self.most_running = max(self.running, self.most_running)
        try:
            answer = self.answers.get(order.number)
            if isinstance(answer, asyncio.Event):
                await answer.wait()
            elif answer is not None:
                raise answer
        finally:
            self.running -= 1

    @asynccontextmanager
    async def open(self) -> AsyncIterator[tuple[Harness, MemoryTransport]]:
        async with memory_bus() as (harness, transport), harness.serve(self.router):
            yield harness, transport


async def place(harness: Harness, *numbers: int) -> None:
    await harness.publish(*map(OrderPlaced, numbers))


async def test_what_is_handled_is_done() -> None:
    shop = Shop()
    async with shop.open() as (b, transport):
        await place(b, *range(300))
        await b.settled()
        assert sorted(shop.tried) == list(range(300))
        assert transport.queues["shop"].depth == 0
        [subscriber] = b.subscribers
        assert (subscriber.metrics.handled, subscriber.metrics.failed) == (300, 0)


async def test_a_failed_event_of_a_batch_is_settled_alone_and_comes_back_with_growing_delays() -> None:
    shop = Shop()
    shop.answers[1] = ZeroDivisionError("by zero")
    async with shop.open() as (b, transport):
        await place(b, 0, 1, 2)
        await b.settled()
        assert shop.tried == [0, 1, 2]
        for number, delay_s in enumerate(RETRY_DELAYS_S):
            _, frame, due = transport.sent_later[-1]
            assert due is not None
            assert 0.8 * delay_s <= (due - b.clock.now()).total_seconds() <= 1.2 * delay_s
            assert (frame.attempt, len(codec.decode_batch(frame.body))) == (number + 1, 1)
            assert frame.last_error == "ZeroDivisionError: by zero"
            await b.clock.advance((due - b.clock.now()).total_seconds())
            await b.settled()
        assert shop.tried == [0, 1, 2, 1, 1, 1, 1, 1]
        assert shop.attempts == [0, 0, 0, 1, 2, 3, 4, 5]
        [parked] = await b.parked()
        assert (parked.reason, parked.attempts) == ("ZeroDivisionError: by zero", 6)
        assert [event.read(OrderPlaced).number for event in parked.events()] == [1]


async def test_first_failure_is_remembered_over_retries() -> None:
    shop = Shop(retry_delays_s=(10,))
    shop.answers[1] = ValueError("no")
    async with shop.open() as (b, _):
        failed_at = b.clock.now()
        await place(b, 1)
        await b.settled()
        await b.clock.advance(12)
        await b.settled()
        [parked] = await b.parked()
        assert parked.fact.first_failed_at == failed_at
        assert parked.parked_at > failed_at


async def test_a_retry_does_not_block_those_behind_it() -> None:
    shop = Shop(concurrency=1)
    shop.answers[0] = bus.Retry("later", after_s=3600)
    async with shop.open() as (b, _):
        await place(b, 0)
        await place(b, *range(1, 50))
        await b.settled()
        assert shop.tried == list(range(50))


async def test_a_handler_may_name_the_delay() -> None:
    shop = Shop()
    shop.answers[0] = bus.Retry("later", after_s=36_000)
    async with shop.open() as (b, transport):
        await place(b, 0)
        await b.settled()
        assert transport.sent_later[-1][2] == b.clock.now() + timedelta(hours=10)
        del shop.answers[0]
        await b.clock.advance(35_999)
        assert shop.tried == [0]
        await b.clock.advance(1)
        await b.settled()
        assert shop.tried == [0, 0]


async def test_rejected_is_parked_at_once_with_its_reason() -> None:
    shop = Shop()
    shop.answers[3] = bus.Reject("order 3: negative total")
    async with shop.open() as (b, transport):
        await place(b, 1, 2, 3, 4)
        await b.settled()
        [parked] = await b.parked()
        assert (parked.reason, parked.attempts, parked.subscription) == ("order 3: negative total", 1, "shop")
        assert shop.tried == [1, 2, 3, 4]
        assert transport.sent_later == []


async def test_data_that_do_not_fit_and_types_without_handler_are_parked() -> None:
    shop = Shop()
    async with shop.open() as (b, transport):
        envelope = b.envelop(OrderPlaced(1))
        bad = codec.encode_batch([bus.Event(envelope.id, "s", envelope.type, 9, "_", None, envelope.time)])
        transport.queues["shop"].put(Frame(bad, (envelope.topic,)))
        unknown = codec.encode_batch([bus.Event("u", "s", "shop.order.lost", 1, "_", None, envelope.time)])
        transport.queues["shop"].put(Frame(unknown, ("shop.order.lost._",), attempt=1))
        await b.settled()
        reasons = sorted(parked.reason for parked in await b.parked())
        assert "version 9" in reasons[0]
        assert reasons[1] == "subscription shop has no handler for shop.order.lost._"


async def test_only_the_events_that_its_patterns_mean_are_handled() -> None:
    shop = Shop()
    async with shop.open() as (b, transport):
        foreign = bus.Event("f", "s", "shop.order.lost", 1, "_", None, b.clock.now())
        mine = b.envelop(OrderPlaced(1))
        transport.queues["shop"].put(Frame(codec.encode_batch([foreign, mine]), (foreign.topic, mine.topic)))
        await b.settled()
        assert shop.tried == [1]
        assert await b.parked() == []


async def test_frames_that_cannot_be_read_are_parked_whole_or_in_part() -> None:
    shop = Shop()
    async with shop.open() as (b, transport):
        queue = transport.queues["shop"]
        queue.put(Frame(b"no msgpack", ("shop.order.placed._",), "text/plain", {"x": "y"}))
        good, bad = b.envelop(OrderPlaced(1)), b.envelop(OrderPlaced(2), id="x")
        nameless = codec.encode_event(bad).replace(b"\xa1x", b"\xa0", 1)
        queue.put(Frame(codec.join_batch([codec.encode_event(good), nameless]), (good.topic,)))
        await b.settled()
        whole, part = await b.parked()
        assert shop.tried == [1]
        assert whole.fact.frame == b"no msgpack"
        assert (whole.fact.content_type, whole.fact.headers) == ("text/plain", {"x": "y"})
        assert "has no id" in part.reason
        assert part.fact.frame == codec.join_batch([nameless])
        assert whole.events() == part.events() == []


async def test_a_foreign_frame_too_large_to_keep_is_cut_and_says_so() -> None:
    shop = Shop()
    async with shop.open() as (b, transport):
        transport.queues["shop"].put(Frame(b"\xc1" * (64 * 1024 * 1024), ("shop.order.placed._",)))
        await b.settled()
        [parked] = await b.parked()
        assert "cut to 524288 of 67108864 bytes with SHA-256 " in parked.reason
        assert len(parked.fact.frame) == 524_288


async def test_the_largest_event_and_the_longest_reason_can_be_parked() -> None:
    class Large(Fact, frozen=True):
        TYPE = "shop.large.sent"
        data: bytes

    async def on_large(large: Large, delivery: Delivery) -> None:
        raise bus.Reject("é" * 1_000_000)

    router = Router("large")
    router.on(Large, on_large)
    async with memory_bus() as (b, _), b.serve(router):
        await b.publish(Large(b"x" * (codec.MAX_EVENT_BYTES - 200)))
        await b.settled()
        [parked] = await b.parked()
        assert len(parked.reason) == 1000
        assert len(parked.events()) == 1


async def test_workers_run_beside_each_other_up_to_the_concurrency() -> None:
    shop = Shop(concurrency=3)
    gate = asyncio.Event()
    shop.answers = dict.fromkeys(range(5), gate)
    async with shop.open() as (b, _):
        for number in range(5):
            await place(b, number)
        await turns()
        assert shop.running == 3
        gate.set()
        await b.settled()
        assert shop.most_running == 3
        assert sorted(shop.tried) == list(range(5))


async def test_a_dependency_away_for_an_hour_counts_no_attempt_and_parks_nothing() -> None:
    shop = Shop(concurrency=2)
    down = bus.Unavailable("the database is down")
    shop.answers = dict.fromkeys(range(40), down)
    async with shop.open() as (b, transport):
        for number in range(40):
            await place(b, number)
        await b.clock.advance(3600)
        [subscriber] = b.subscribers
        assert subscriber.metrics.paused >= 1
        assert len(shop.tried) < 40 + 3600 / 20  # it probes with back-off, it does not spin
        assert transport.queues["shop"].depth == 40
        shop.answers.clear()
        await b.clock.advance(60)
        await b.settled()
        assert set(shop.tried) == set(range(40))
        assert set(shop.attempts) == {0}
        assert await b.parked() == []
        assert max(Counter(shop.tried[-40:]).values()) <= 2


async def test_while_paused_only_the_probe_is_handled() -> None:
    shop = Shop(concurrency=4)
    shop.answers[0] = bus.Unavailable("down")
    async with shop.open() as (b, _):
        await place(b, 0)
        await turns()
        await place(b, 1)
        await place(b, 2)
        await b.clock.advance(5)
        assert set(shop.tried) == {0}
        shop.answers.clear()
        await b.clock.advance(40)
        await b.settled()
        assert sorted(shop.tried[-2:]) == [1, 2]


async def test_what_fails_of_its_own_after_the_pause_is_retried() -> None:
    shop = Shop()
    shop.answers[0] = bus.Unavailable("down")
    async with shop.open() as (b, _):
        await place(b, 0, 1)
        await turns()
        shop.answers[0] = bus.Reject("bad after all")
        await b.clock.advance(2)
        await b.settled()
        assert [parked.reason for parked in await b.parked()] == ["bad after all"]
        assert 1 in shop.tried


async def test_when_the_bus_is_away_settling_waits_in_place() -> None:
    shop = Shop()
    shop.answers[0] = ValueError("no")
    async with shop.open() as (b, transport):
        transport.refusal = lambda frame: bus.Unavailable("blocked") if frame.attempt else None
        await place(b, 0)
        await turns()
        assert transport.sent_later == []
        await b.clock.advance(120)
        assert shop.tried == [0]  # not handled again for that
        transport.refusal = lambda frame: None
        del shop.answers[0]
        await b.clock.advance(40)
        await b.settled()
        assert [frame.attempt for _, frame, _ in transport.sent_later] == [1]
        assert shop.tried == [0, 0]


async def test_a_frame_that_came_back_twice_is_taken_apart_and_its_poison_parked() -> None:
    shop = Shop()
    async with shop.open() as (b, transport):
        events = [b.envelop(OrderPlaced(number)) for number in range(20)]
        frame = Frame(codec.encode_batch(events), (events[0].topic,))
        poison = Frame(codec.encode_batch(events[:1]), (events[0].topic,), suspect=True)
        queue = transport.queues["shop"]
        queue.put(frame, returned=2)
        await b.settled()
        assert sorted(shop.tried) == list(range(20))
        assert shop.most_running == 1
        assert all(sent.suspect for _, sent, _ in transport.sent_later)
        queue.put(poison, returned=SUSPECT_RETURNS)
        await b.settled()
        [parked] = await b.parked()
        assert parked.reason == "its worker died 3 times while handling it alone"
        assert [event.id for event in parked.events()] == [events[0].id]


async def test_a_suspect_is_handled_alone_even_under_load() -> None:
    shop = Shop(concurrency=4)
    gates = {number: asyncio.Event() for number in range(4)}
    shop.answers = dict(gates)
    async with shop.open() as (b, transport):
        for number in range(3):
            await place(b, number)
        await turns()
        suspect = b.envelop(OrderPlaced(3))
        transport.queues["shop"].put(Frame(codec.encode_batch([suspect]), (suspect.topic,), suspect=True))
        await place(b, 4)
        await turns()
        assert shop.tried == [0, 1, 2]  # the suspect waits for those in hand, and 4 behind it
        for number in range(3):
            gates[number].set()
        await turns()
        assert (shop.tried, shop.running) == ([0, 1, 2, 3], 1)
        gates[3].set()
        await b.settled()
        assert shop.tried == [0, 1, 2, 3, 4]


async def test_a_handler_that_hangs_is_stopped_and_its_event_retried_then_parked() -> None:
    shop = Shop(deadline_s=30, retry_delays_s=(1,), concurrency=1)
    shop.answers[0] = asyncio.Event()
    async with shop.open() as (b, _):
        await place(b, 0, 1)
        await turns()
        assert shop.tried == [0]
        await b.clock.advance(38)
        await b.clock.advance(2)
        await turns()
        assert shop.tried == [0, 1, 0]
        await b.clock.advance(38)
        await b.settled()
        [parked] = await b.parked()
        assert parked.reason == "HandlerTimeout: the handler did not finish within 30 s"


async def test_on_exit_handlers_in_flight_finish_and_the_rest_goes_back() -> None:
    shop = Shop(concurrency=1)
    gate = shop.answers[0] = asyncio.Event()
    async with memory_bus() as (b, transport):
        async with asyncio.TaskGroup() as tasks:
            stop = asyncio.Event()

            async def serve() -> None:
                async with b.serve(shop.router):
                    await stop.wait()

            serving = tasks.create_task(serve())
            await turns()
            await place(b, 0, 1)
            await place(b, 2)
            await turns()
            stop.set()
            await turns()
            assert not serving.done()
            gate.set()
        assert shop.tried == [0, 1]
        waiting = [frame for frame, returned in transport.queues["shop"].waiting]
        assert [codec.decode_batch(frame.body)[0].read(OrderPlaced).number for frame in waiting] == [2]
        assert {returned for _, returned in transport.queues["shop"].waiting} == {
            0
        }  # clean: no return counted


async def test_on_exit_while_paused_nothing_is_lost() -> None:
    shop = Shop(concurrency=2)
    shop.answers = dict.fromkeys(range(10), bus.Unavailable("down"))
    async with memory_bus() as (b, transport):
        async with b.serve(shop.router):
            for number in range(10):
                await place(b, number)
            await b.clock.advance(100)
        assert transport.queues["shop"].depth == 10
        shop.answers.clear()
        async with b.serve(shop.router):
            await b.settled()
        assert set(shop.tried) == set(range(10))
        assert await b.parked() == []


async def test_the_bodys_own_error_comes_out_as_it_is() -> None:
    with pytest.raises(KeyError, match="mine"):
        async with Shop().open():
            raise KeyError("mine")


async def test_a_duplicate_is_dropped_and_a_failed_one_is_not_taken_for_a_duplicate() -> None:
    shop = Shop(concurrency=1)
    async with shop.open() as (b, _):
        await b.publish(OrderPlaced(1), id="same")
        await b.publish(OrderPlaced(1), id="same")
        await b.settled()
        assert shop.tried == [1]
        shop.answers[2] = ValueError("not yet")
        await b.publish(OrderPlaced(2), id="other")
        await b.settled()
        shop.answers.clear()
        await b.clock.advance(2)
        await b.settled()
        assert shop.tried == [1, 2, 2]


async def test_a_subscription_without_instances_keeps_its_events() -> None:
    shop = Shop()
    async with memory_bus() as (b, _):
        await b.declare(Subscription("shop", ("shop.order.placed.*",)))
        await place(b, 1, 2)
        async with b.serve(shop.router):
            await b.settled()
    assert shop.tried == [1, 2]


async def test_an_event_too_large_to_travel_again_is_parked_cut() -> None:
    shop = Shop()
    async with shop.open() as (b, transport):
        event = b.envelop(OrderPlaced(1), subject="x" * codec.MAX_FRAME_BYTES)
        shop.answers[1] = ValueError("no room on the shelf")
        await transport.publish(Frame(codec.join_batch([msgspec.msgpack.encode(event)]), (event.topic,)))
        await b.settled()
        [parked] = await b.parked()
        assert parked.reason.startswith("ValueError: no room on the shelf; event shop.order.placed")
        assert "cut to" in parked.reason
        assert transport.queues["shop"].depth == 0


async def test_a_dependency_may_be_away_before_consuming_has_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    shop = Shop()
    shop.answers[1] = bus.Unavailable("down")
    async with memory_bus() as (b, transport):
        consume = transport.consume

        async def answered_late(*args: Any, **options: Any) -> MemoryConsumer:
            consumer = await consume(*args, **options)
            await turns()  # a broker delivers before its answer is here
            return consumer

        monkeypatch.setattr(transport, "consume", answered_late)
        await b.declare(Subscription("shop", (f"{OrderPlaced.TYPE}.*",)))
        await place(b, 1)
        async with b.serve(shop.router):
            await b.clock.advance(1)
            del shop.answers[1]
            await b.clock.advance(60)
            await b.settled()
    assert len(shop.tried) >= 2


async def test_an_end_while_a_dependency_is_away_counts_as_no_return() -> None:
    shop = Shop()
    shop.answers = dict.fromkeys(range(3), bus.Unavailable("down"))
    async with memory_bus() as (b, transport):
        await b.declare(Subscription("shop", (f"{OrderPlaced.TYPE}.*",)))
        await place(b, 0, 1, 2)
        for _ in range(10):
            async with b.serve(shop.router):
                await b.clock.advance(5)
            assert [returned for _, returned in transport.queues["shop"].waiting] == [0]
        assert not transport.queues["shop"].suspects
        shop.answers.clear()
        async with b.serve(shop.router):
            await b.settled()
        assert await b.parked() == []
