"""Promise 6, and what happens to a flood: bounded memory, back-pressure, and nothing lost when things die."""

from __future__ import annotations

import asyncio

import pytest

import bus
from bus.message import Subscription
from tests.conformance.houses import House, empty, opened, until
from tests.conformance.messages import NUMBERS, Drawn
from tests.conformance.recording import Recorder
from tests.conformance.workers import worker

MAY_GROW_BYTES = 96 * 1024 * 1024


@pytest.mark.slow
async def test_a_hundred_thousand_events_through_a_slow_consumer_in_bounded_memory(house: House) -> None:
    """150 MB of data, of which a process may hold windows; the rest is the bus's business."""
    async with worker(house, "flood", 100_000) as flood:
        await flood.says("published 100000", timeout_s=50)
        await flood.says_many("growth", 1, timeout_s=50)
    [growth_bytes] = flood.numbers("growth")
    assert growth_bytes < MAY_GROW_BYTES


async def test_publishers_wait_while_the_queue_that_pushes_back_is_full(house: House) -> None:
    vault = Subscription("vault", ("#",), max_bytes=1_000_000, pushes_back=True)
    recorder = Recorder(vault)
    async with opened(house, declare=[vault]) as b:
        assert await _taken(b, 60) < 60
        async with asyncio.TaskGroup() as tasks:
            late = tasks.create_task(b.publish(Drawn(100, b"x" * 100_000)))
            async with b.serve(recorder.router):
                await late
                await b.publish(*(Drawn(number, b"x" * 100_000) for number in range(101, 160)))
                await recorder.has_handled(*range(100, 160))
                await empty(b, "vault")
    assert {*range(8)} <= {*recorder.handled}, "what was confirmed before it was full is not lost"


async def _taken(b: bus.Bus, count: int) -> int:
    """How many events are taken before the bus takes no more."""
    for number in range(count):
        try:
            await b.publish(Drawn(number, b"x" * 100_000), timeout_s=1)
        except bus.Unavailable:
            return number
    return count


@pytest.mark.slow
async def test_processes_die_and_come_again_under_load(house: House) -> None:
    """Publishing and handling in one process that is killed over and over: what it published is not lost."""
    published: list[int] = []
    handled: list[int] = []
    for generation in range(4):
        first = generation * 2000
        async with worker(house, "consume", "--publish", first, first + 2000) as both:
            await both.says_many("published", 150 + 100 * generation)
            await both.kill()
            published += both.numbers("published")
            handled += both.numbers("handled")
    recorder = Recorder(NUMBERS)
    async with opened(house) as b, b.serve(recorder.router):
        await until(lambda: set(published) <= {*handled, *recorder.handled})
        await empty(b, "numbers")
        assert await b.parked() == []
    assert len(published) >= 4 * 150


async def test_a_hundred_publishers_of_a_hundred_events_each(house: House) -> None:
    recorder = Recorder(NUMBERS)
    async with opened(house) as b, b.serve(recorder.router):

        async def publish(publisher: int) -> None:
            for number in range(100):
                await b.publish(Drawn(publisher * 100 + number), key=f"p{publisher}")

        async with asyncio.TaskGroup() as tasks:
            for publisher in range(100):
                tasks.create_task(publish(publisher))
        await until(lambda: len(recorder.handled) >= 10_000)
        await empty(b, "numbers")
        frames = b.publisher.published_frames
    assert sorted(recorder.handled) == list(range(10_000))
    assert frames < 5000, "what arrives while a batch is unconfirmed travels together"
