"""A handler is stopped between 1 and 1.25 times its deadline, and nobody else's cancellation is swallowed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import pytest

from bus.errors import HandlerTimeout
from bus.middleware.deadline import Watchdog
from bus.testing import ManualClock, turns


async def forever(argument: object) -> None:
    await asyncio.Event().wait()


async def test_a_handler_that_hangs_is_stopped_after_its_deadline() -> None:
    clock = ManualClock()
    watchdog = Watchdog(clock, 20)
    handle = watchdog.wrap(forever)
    async with asyncio.TaskGroup() as tasks:
        watching = tasks.create_task(watchdog.watch())
        await clock.advance(3)
        handling = tasks.create_task(_outcome(watchdog, handle(None)))
        await clock.advance(19.9)
        assert not handling.done()
        await clock.advance(5.1)
        assert isinstance(handling.result(), HandlerTimeout)
        assert "within 20 s" in str(handling.result())
        watching.cancel()


async def test_the_next_handler_of_the_same_task_has_its_own_deadline() -> None:
    clock = ManualClock()
    watchdog = Watchdog(clock, 20)
    handle = watchdog.wrap(forever)

    async def work() -> list[BaseException | None]:
        with watchdog.seat():
            return [await _tried(handle(None)), await _tried(handle(None)), await _tried(asyncio.sleep(0))]

    async with asyncio.TaskGroup() as tasks:
        watching = tasks.create_task(watchdog.watch())
        working = tasks.create_task(work())
        await clock.advance(45)
        first, second, third = working.result()
        watching.cancel()
    assert isinstance(first, HandlerTimeout)
    assert isinstance(second, HandlerTimeout)
    assert third is None


async def test_a_cancellation_from_elsewhere_goes_through() -> None:
    watchdog = Watchdog(ManualClock(), 20)
    handle = watchdog.wrap(forever)
    async with asyncio.TaskGroup() as tasks:
        handling = tasks.create_task(_run(watchdog, handle(None)))
        await turns()
        handling.cancel()
    assert handling.cancelled()


async def test_a_cancellation_from_elsewhere_at_the_same_moment_goes_through() -> None:
    clock = ManualClock()
    watchdog = Watchdog(clock, 20)
    handle = watchdog.wrap(forever)
    async with asyncio.TaskGroup() as tasks:
        watching = tasks.create_task(watchdog.watch())
        handling = tasks.create_task(_run(watchdog, handle(None)))
        await turns()
        # The watchdog's turn, without giving the handler one: both cancel before it runs.
        clock._elapsed_s = 20
        for _, _, wake in clock._sleepers:
            wake.set_result(None)
        await asyncio.sleep(0)
        handling.cancel()
        await turns()
        watching.cancel()
    assert handling.cancelled()


async def test_a_handlers_own_timeout_is_its_own() -> None:
    async def impatient(argument: object) -> None:
        async with asyncio.timeout(0):
            await asyncio.Event().wait()

    watchdog = Watchdog(ManualClock(), 20)
    with pytest.raises(TimeoutError):
        await _run(watchdog, watchdog.wrap(impatient)(None))


async def test_a_handler_that_finishes_when_told_to_stop_has_finished() -> None:
    clock = ManualClock()
    watchdog = Watchdog(clock, 20)

    async def reluctant(argument: object) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return

    async with asyncio.TaskGroup() as tasks:
        watching = tasks.create_task(watchdog.watch())
        handling = tasks.create_task(_run(watchdog, watchdog.wrap(reluctant)(None)))
        await clock.advance(26)
        assert handling.done()
        assert not handling.cancelled()
        watching.cancel()


async def _run(watchdog: Watchdog, work: Awaitable[None]) -> None:
    """As a subscriber's worker does it: in a seat."""
    with watchdog.seat():
        await work


async def _outcome(watchdog: Watchdog, work: Awaitable[None]) -> BaseException | None:
    with watchdog.seat():
        return await _tried(work)


async def _tried(work: Awaitable[None]) -> BaseException | None:
    try:
        await work
    except Exception as error:
        return error
    return None
