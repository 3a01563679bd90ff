"""Promise 1: what was published is durable and reaches every subscription, or the publisher is told."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

import bus
from bus.clock import SystemClock
from bus.message import Fact, Subscription
from bus.testing import ManualClock
from tests.conformance.houses import House, empty, opened, until
from tests.conformance.messages import LEDGER, NUMBERS, CountRequested, Drawn, Moved
from tests.conformance.recording import Recorder
from tests.conformance.workers import worker


class Elsewhere(Fact, frozen=True):
    TYPE = "elsewhere.thing.happened"
    number: int


class Chunk(Fact, frozen=True):
    TYPE = "test.chunk.sent"
    EXCHANGE = "bodies"
    number: int


async def test_what_was_published_before_a_service_first_ran_waits_for_it(house: House) -> None:
    async with opened(house, declare=[NUMBERS]) as b:
        for number in range(20):
            await b.publish(Drawn(number))
    recorder = Recorder(NUMBERS)
    async with opened(house) as b, b.serve(recorder.router):
        await recorder.has_handled(*range(20))
        await empty(b, "numbers")
    assert sorted(recorder.handled) == list(range(20))


async def test_every_subscription_gets_a_copy_and_only_of_what_its_patterns_mean(house: House) -> None:
    by_key = Subscription("by-key", ("test.number.drawn.eu",))
    all_of_it = Subscription("everything", ("#",))
    recorders = [Recorder(NUMBERS), Recorder(by_key), Recorder(all_of_it), Recorder(LEDGER)]
    async with opened(house) as b, b.serve(*(recorder.router for recorder in recorders)):
        async with asyncio.TaskGroup() as tasks:
            for number in range(40):
                tasks.create_task(b.publish(Drawn(number), key="eu" if number % 2 else "us"))
            tasks.create_task(b.publish(Moved(100)))
        await recorders[0].has_handled(*range(40), 100)
        await recorders[1].has_handled(*range(1, 40, 2))
        await recorders[2].has_handled(*range(40), 100)
        await recorders[3].has_handled(100)
        await empty(b, "numbers", "by-key", "everything", "ledger")
        assert await b.parked() == []
    numbers = [sorted(recorder.handled) for recorder in recorders]
    assert numbers == [[*range(40), 100], list(range(1, 40, 2)), [*range(40), 100], [100]]


async def test_exchanges_are_kept_apart(house: House) -> None:
    chunks = Recorder(Subscription("chunks", ("#",), exchange="bodies"), messages=[Chunk])
    numbers = Recorder(Subscription("everything", ("#",)))
    async with opened(house) as b, b.serve(chunks.router, numbers.router):
        await b.publish(Chunk(1), Drawn(2))
        await chunks.has_handled(1)
        await numbers.has_handled(2)
        await empty(b, "chunks", "everything")
    assert (chunks.handled, numbers.handled) == ([1], [2])


async def test_what_no_queue_takes_is_not_routed(house: House) -> None:
    async with opened(house, declare=[NUMBERS]) as b:
        with pytest.raises(bus.NotRouted, match=r"elsewhere.thing.happened"):
            await b.publish(Elsewhere(1))


async def test_one_id_twice_in_flight_one_of_them_unroutable(house: House) -> None:
    """The broker's answers are told apart, even within one type, where both could travel in one batch."""
    recorder = Recorder(Subscription("europe", ("test.number.drawn.eu",)))
    async with opened(house) as b, b.serve(recorder.router):
        for round in range(10):
            async with asyncio.TaskGroup() as tasks:
                id = f"same-{round}"
                routed = tasks.create_task(b.publish(Drawn(round), id=id, key="eu"))
                lost = tasks.create_task(_told(b, Drawn(-1), id, "mars"))
                twice = tasks.create_task(b.publish(Drawn(round), id=id, key="eu"))
                other = tasks.create_task(_told(b, Elsewhere(-1), id, "eu"))
            assert routed.result() is twice.result() is None
            assert lost.result() == other.result() == "NotRouted"
        await recorder.has_handled(*range(10))
        await empty(b, "europe")
        assert sorted(recorder.handled) == list(range(10))  # the second of each is a duplicate


async def _told(b: bus.Bus, fact: Fact, id: str, key: str) -> str:
    try:
        await b.publish(fact, id=id, key=key)
    except bus.BusError as error:
        return type(error).__name__
    return "published"


async def test_the_publisher_is_killed_after_publish_returned(house: House) -> None:
    """kill -9 at once after `publish` returned: everything that it told of is there."""
    async with worker(house, "publish", 0, 5000) as publisher:
        await publisher.says_many("published", 200)
        await publisher.kill()
    published = publisher.numbers("published")
    assert len(published) < 5000, "it was killed too late to prove anything"
    recorder = Recorder(NUMBERS)
    async with opened(house) as b, b.serve(recorder.router):
        await recorder.has_handled(*published)
        await empty(b, "numbers")
    assert set(published) <= set(recorder.handled) <= {*published, len(published)}
    assert set(recorder.counts.values()) == {1}


async def test_work_is_shared_out_event_by_event(house: House) -> None:
    gate = asyncio.Event()
    recorder = Recorder("counting", messages=[CountRequested], concurrency=8)
    recorder.answers = dict.fromkeys(range(8), gate)
    async with opened(house) as b, b.serve(recorder.router):
        await b.publish(*map(CountRequested, range(8)))
        await until(lambda: recorder.running == 8)
        gate.set()
        await recorder.has_handled(*range(8))


async def test_an_event_keeps_all_its_attributes_on_the_way(house: House) -> None:
    recorder = Recorder(NUMBERS)
    async with opened(house, "shop") as b, b.serve(recorder.router):
        sent = b.envelop(
            Drawn(1, b"\x00\xff"), key="Key_-1", subject="täglich ☕", id="e-1", partitionkey="p"
        )
        await b.emit(sent)
        await recorder.has_handled(1)
    assert recorder.events == [sent]


async def test_a_delayed_event_comes_when_it_is_due(house: House) -> None:
    clock = SystemClock()
    recorder = Recorder(NUMBERS)
    async with opened(house) as b, b.serve(recorder.router):
        due = clock.now() + timedelta(seconds=0.4)
        await b.publish(Drawn(1), at=due)
        await b.publish(Drawn(2), at=due + timedelta(seconds=-3600))  # in the past: at once
        await b.publish(Drawn(3))
        await recorder.has_handled(2, 3)
        assert clock.now() < due
        await recorder.has_handled(1)
        assert clock.now() >= due
    assert recorder.handled[-1] == 1


@pytest.mark.capability("manual time")
async def test_ten_hours_and_ninety_seconds_side_by_side(house: House) -> None:
    clock = ManualClock()
    recorder = Recorder(NUMBERS)
    async with opened(house, clock=clock) as b, b.serve(recorder.router):
        await b.publish(Drawn(10), at=clock.now() + timedelta(hours=10))
        await b.publish(Drawn(90), at=clock.now() + timedelta(seconds=90))
        await clock.advance(89)
        await asyncio.sleep(0.02)
        assert recorder.handled == []
        await clock.advance(1)
        await recorder.has_handled(90)
        await clock.advance(36_000 - 90 - 1)
        await asyncio.sleep(0.02)
        assert recorder.handled == [90]
        await clock.advance(1)
        await recorder.has_handled(10)
    assert recorder.handled == [90, 10]


async def test_a_long_and_a_short_delay_survive_the_process(house: House) -> None:
    recorder = Recorder(NUMBERS)
    clock = SystemClock()
    async with opened(house, declare=[NUMBERS]) as b:
        due = clock.now() + timedelta(seconds=0.5)
        await b.publish(Drawn(10), at=due)
        await b.publish(Drawn(1), at=clock.now() + timedelta(seconds=0.05))
    async with opened(house) as b, b.serve(recorder.router):
        await recorder.has_handled(1)
        await recorder.has_handled(10)
        assert clock.now() >= due
    assert recorder.handled == [1, 10]


async def test_the_largest_event_travels_and_a_larger_one_is_refused(house: House) -> None:
    recorder = Recorder(NUMBERS)
    async with opened(house) as b, b.serve(recorder.router):
        await b.publish(Drawn(1, b"x" * 1_030_000))
        await recorder.has_handled(1)
        with pytest.raises(bus.TooLarge, match="Send its bulk as a body"):
            await b.publish(Drawn(2, b"x" * (64 * 1024 * 1024)))
        with pytest.raises(bus.TopicInvalid, match="limit is 255"):
            await b.publish(Drawn(3), key="k" * 300)
        await b.publish(Drawn(4))
        await recorder.has_handled(4)
    assert recorder.handled == [1, 4]


async def test_a_batch_of_many_keys_reaches_each_subscription_once(house: House) -> None:
    recorder = Recorder(NUMBERS)
    keys = [f"bucket{number:03d}-{'k' * 200}" for number in range(200)]
    async with opened(house) as b, b.serve(recorder.router):
        for _ in range(2):  # the first time each topic proves itself alone
            async with asyncio.TaskGroup() as tasks:
                for number, key in enumerate(keys):
                    tasks.create_task(b.publish(Drawn(number), key=key))
        await until(lambda: len(recorder.handled) == 400)
        await empty(b, "numbers")
        frames = b.publisher.published_frames
    assert set(recorder.counts.values()) == {2}
    assert {event.key for event in recorder.events} == set(keys)
    assert frames < 300, "nothing was batched"
