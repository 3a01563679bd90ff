"""The manual clock: time stands still, sleepers wake in order, each at its own moment."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.clock import SystemClock
from bus.testing import START, ManualClock, turns


async def test_time_stands_still_until_it_is_moved() -> None:
    clock = ManualClock()
    await turns()
    assert (clock.now(), clock.monotonic()) == (START, 0.0)
    await clock.advance(90)
    assert (clock.now(), clock.monotonic()) == (START + timedelta(seconds=90), 90.0)


@given(st.lists(st.floats(0.001, 100), min_size=1, max_size=20), st.lists(st.floats(0, 60), max_size=4))
def test_sleepers_wake_in_the_order_of_their_times_each_seeing_its_own(
    delays: list[float], steps: list[float]
) -> None:
    async def run() -> list[tuple[float, float]]:
        clock, woken = ManualClock(), list[tuple[float, float]]()

        async def sleep(delay_s: float) -> None:
            await clock.sleep(delay_s)
            woken.append((delay_s, clock.monotonic()))

        async with asyncio.TaskGroup() as tasks:
            for delay_s in delays:
                tasks.create_task(sleep(delay_s))
            for step in steps:
                await clock.advance(step)
            await clock.advance(101)
        return woken

    woken = asyncio.run(run())
    assert [delay_s for delay_s, _ in woken] == sorted(delays)
    assert all(at == delay_s for delay_s, at in woken)


async def test_a_sleeper_that_sleeps_again_wakes_again_within_the_same_advance() -> None:
    clock, seen = ManualClock(), list[float]()

    async def tick() -> None:
        for _ in range(5):
            await clock.sleep(10)
            seen.append(clock.monotonic())

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(tick())
        await clock.advance(50)
    assert seen == [10, 20, 30, 40, 50]


async def test_a_cancelled_sleeper_does_not_stop_the_others() -> None:
    clock = ManualClock()
    async with asyncio.TaskGroup() as tasks:
        one = tasks.create_task(clock.sleep(1))
        other = tasks.create_task(clock.sleep(2))
        await turns()
        one.cancel()
        await clock.advance(2)
        await other
    assert one.cancelled()


@pytest.mark.parametrize("delay_s", [0, -1])
async def test_no_delay_is_one_turn_of_the_loop(delay_s: float) -> None:
    await ManualClock().sleep(delay_s)


async def test_the_system_clock_is_real_time() -> None:
    clock = SystemClock()
    before = clock.monotonic()
    await clock.sleep(0.001)
    assert clock.monotonic() - before >= 0.001
    assert clock.now().utcoffset() == timedelta(0)
