"""Promise 3: three kinds of failure, told apart, and nothing is dropped."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from itertools import pairwise

import pytest

import bus
from bus.message import Subscription
from bus.testing import ManualClock
from tests.conformance.houses import REAL, SECOND, House, depth, empty, opened, pass_time, until
from tests.conformance.messages import NUMBERS, Drawn
from tests.conformance.recording import DELAYS_S, Recorder


async def test_a_poison_event_in_the_middle_of_a_batch(house: House) -> None:
    """The good ones are handled once; the bad one is retried with growing delays, then parked."""
    recorder = Recorder(NUMBERS)
    recorder.answers[50] = ZeroDivisionError("poison")
    async with opened(house) as b, b.serve(recorder.router):
        await b.publish(*map(Drawn, range(100)))
        await recorder.has_tried(50, times=1 + len(DELAYS_S))
        await empty(b, "numbers")
        await until_parked(b, 1)
        [parked] = await b.parked()
    assert sorted(recorder.handled) == [number for number in range(100) if number != 50]
    tries = [at for at, number in zip(recorder.times, recorder.tried, strict=True) if number == 50]
    gaps = [later - earlier for earlier, later in pairwise(tries)]
    assert all(gap >= 0.8 * delay for gap, delay in zip(gaps, DELAYS_S, strict=True))
    assert (parked.reason, parked.attempts) == ("ZeroDivisionError: poison", 4)
    assert [event.read(Drawn).number for event in parked.events()] == [50]


async def until_parked(b: bus.Bus, count: int) -> None:
    async with asyncio.timeout(20):
        while len(await b.parked()) < count:
            await REAL.sleep(0.01)


async def waiting(b: bus.Bus, count: int) -> None:
    """Return once exactly so many frames are there, in the queue or in hand; copies come before their
    originals go."""
    async with asyncio.timeout(20):
        while await depth(b, "numbers") != count:
            await REAL.sleep(0.01)


async def test_what_fails_for_a_while_is_handled_in_the_end(house: House) -> None:
    recorder = Recorder(NUMBERS)
    recorder.answers = {number: ValueError("not yet") for number in range(0, 100, 10)}
    async with opened(house) as b, b.serve(recorder.router):
        await b.publish(*map(Drawn, range(100)))
        await until(lambda: len(recorder.tried) >= 110)
        recorder.answers.clear()
        await recorder.has_handled(*range(100))
        await empty(b, "numbers")
        assert await b.parked() == []
    assert set(recorder.counts.values()) == {1}


async def test_a_long_delay_holds_back_nobody(house: House) -> None:
    """One event an hour away, one of a moment, and fresh ones beside them, in one subscription."""
    recorder = Recorder(NUMBERS, concurrency=1)
    recorder.answers[0] = bus.Retry("in an hour", after_s=3600)
    recorder.answers[1] = bus.Retry("soon", after_s=4 * SECOND)
    async with opened(house) as b, b.serve(recorder.router):
        await b.publish(Drawn(0))
        await b.publish(Drawn(1))
        await recorder.has_tried(1)
        del recorder.answers[1]
        await b.publish(*map(Drawn, range(2, 50)))
        await recorder.has_handled(*range(1, 50))
        assert recorder.tried.count(0) == 1


async def test_ten_hours_and_ninety_seconds_side_by_side_in_one_subscription(house: House) -> None:
    """On a transport whose delays are real, both are 20 000 times shorter."""
    clock = ManualClock() if "manual time" in house.capabilities else None
    scale = 1.0 if clock else 1 / 20_000
    recorder = Recorder(NUMBERS, retry_delays_s=(1, 1))
    recorder.answers[10] = bus.Retry("in ten hours", after_s=36_000 * scale)
    recorder.answers[90] = bus.Retry("in ninety seconds", after_s=90 * scale)
    async with opened(house, clock=clock) as b, b.serve(recorder.router):
        await b.publish(Drawn(10), Drawn(90))
        await recorder.has_tried(10)
        await recorder.has_tried(90)
        recorder.answers.clear()
        started = b.clock.now()
        if clock:
            await clock.advance(91)
        await recorder.has_handled(90)
        assert recorder.handled == [90]
        if clock:
            await pass_time(clock, 35_900, step_s=3590)
            assert recorder.handled == [90]
            await clock.advance(10)
        await recorder.has_handled(10)
        assert b.clock.now() - started > timedelta(seconds=35_990 * scale)
    assert recorder.handled == [90, 10]


async def test_rejected_is_parked_at_once(house: House) -> None:
    recorder = Recorder(NUMBERS)
    recorder.answers[1] = bus.Reject("number 1: too small")
    async with opened(house) as b, b.serve(recorder.router):
        await b.publish(*map(Drawn, range(3)))
        await recorder.has_handled(0, 2)
        await until_parked(b, 1)
        [parked] = await b.parked()
        await empty(b, "numbers")
    assert (parked.reason, parked.attempts) == ("number 1: too small", 1)
    assert recorder.tried.count(1) == 1


async def test_a_dependency_away_for_an_hour_parks_nothing_and_counts_no_attempt(house: House) -> None:
    clock = ManualClock()
    recorder = Recorder(NUMBERS, concurrency=4)
    recorder.answers = {number: bus.Unavailable("the database is down") for number in range(100)}
    async with opened(house, clock=clock) as b, b.serve(recorder.router):
        for number in range(100):
            await b.publish(Drawn(number))
        await until(lambda: b.subscribers[0].metrics.paused)
        await pass_time(clock, 3600)
        assert recorder.handled == []
        await waiting(b, 100)
        assert len(recorder.tried) < 600, "it should pause and probe, not spin"
        recorder.answers.clear()
        async with asyncio.timeout(20):
            while len(recorder.handled) < 100:
                await pass_time(clock, 5, step_s=5)
        await empty(b, "numbers")
        assert await b.parked() == []
    assert sorted(recorder.handled) == list(range(100))
    assert set(recorder.attempts) == {0}


async def test_a_dependency_away_lets_other_subscriptions_work(house: House) -> None:
    clock = ManualClock()
    ill, well = Recorder(NUMBERS), Recorder(Subscription("well", ("test.#",)))
    ill.answers = {number: bus.Unavailable("down") for number in range(100)}
    async with opened(house, clock=clock) as b, b.serve(ill.router, well.router):
        await b.publish(*map(Drawn, range(50)))
        await until(lambda: b.subscribers[0].metrics.paused)
        await b.publish(*map(Drawn, range(50, 100)))
        await well.has_handled(*range(100))
        assert ill.handled == []


async def test_a_dependency_of_an_ordered_subscription_away_for_an_hour(house: House) -> None:
    clock = ManualClock()
    recorder = Recorder("in-order", mode="ordered", messages=[Drawn])
    recorder.answers[5] = bus.Unavailable("down")
    async with opened(house, clock=clock) as b, b.serve(recorder.router):
        for number in range(20):
            await b.publish(Drawn(number), subject="s")
        await recorder.has_tried(5)
        await pass_time(clock, 3600)
        assert recorder.handled == [0, 1, 2, 3, 4]
        recorder.answers.clear()
        async with asyncio.timeout(20):
            while len(recorder.handled) < 20:
                await pass_time(clock, 40, step_s=40)
        assert await b.parked() == []
    assert recorder.handled == list(range(20))


async def test_a_batch_handler_whose_dependency_is_away_for_an_hour(house: House) -> None:
    clock, lists = ManualClock(), list[int]()
    down = True

    async def on_events(events: list[bus.Event]) -> None:
        if down:
            raise bus.Unavailable("disk full")
        lists.extend(event.read(Drawn).number for event in events)

    router = bus.Router(NUMBERS)
    router.on_batch(on_events)
    async with opened(house, clock=clock) as b, b.serve(router):
        for number in range(50):
            await b.publish(Drawn(number))
        await until(lambda: b.subscribers[0].metrics.paused)
        await pass_time(clock, 3600)
        await waiting(b, 50)
        down = False
        async with asyncio.timeout(20):
            while len(lists) < 50:
                await pass_time(clock, 5, step_s=5)
        await empty(b, "numbers")
        assert await b.parked() == []
    assert sorted(lists) == list(range(50))


async def test_a_handler_that_hangs_is_stopped_and_its_event_parked_in_the_end(house: House) -> None:
    recorder = Recorder(NUMBERS, concurrency=1, deadline_s=0.1, retry_delays_s=(SECOND,))
    recorder.answers[5] = asyncio.Event()
    async with opened(house) as b, b.serve(recorder.router):
        await b.publish(*map(Drawn, range(10)))
        await recorder.has_handled(*({*range(10)} - {5}))
        await until_parked(b, 1)
        [parked] = await b.parked()
        await empty(b, "numbers")
    assert parked.reason == "HandlerTimeout: the handler did not finish within 0.1 s"
    assert recorder.tried.count(5) == 2


async def test_a_batch_with_a_poison_event_is_handled_but_for_that(house: House) -> None:
    stored: list[int] = []

    async def on_events(events: list[bus.Event]) -> None:
        numbers = [event.read(Drawn).number for event in events]
        if 50 in numbers:
            raise ValueError("poison")
        stored.extend(numbers)

    router = bus.Router(NUMBERS, retry_delays_s=(SECOND,))
    router.on_batch(on_events)
    async with opened(house) as b, b.serve(router):
        await b.publish(*map(Drawn, range(100)))
        await until_parked(b, 1)
        await empty(b, "numbers")
        [parked] = await b.parked()
    assert sorted(stored) == [number for number in range(100) if number != 50]
    assert (parked.reason, parked.attempts) == ("ValueError: poison", 2)


@pytest.mark.parametrize("serving", [True, False])
async def test_retries_come_back_to_their_own_subscription_only(house: House, serving: bool) -> None:
    """Also when the process was gone while the delay passed."""
    failing, other = Recorder(NUMBERS), Recorder(Subscription("other", ("#",)))
    failing.answers[1] = ValueError("not yet")
    async with opened(house) as b, b.serve(other.router):
        async with b.serve(failing.router):
            await b.publish(Drawn(1))
            await failing.has_tried(1)
            if serving:
                await failing.has_tried(1, 2)
        failing.answers.clear()
        async with b.serve(failing.router):
            await failing.has_handled(1)
            await empty(b, "numbers", "other")
    assert other.tried == [1]
    assert failing.attempts[-1] >= 1
