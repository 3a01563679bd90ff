"""Bounds how long one handler may take.

A broker takes back what is held for too long, and a handler that hangs must not hold its worker for ever. One
watchdog a subscriber looks at its running handlers from time to time, which costs nothing per event: a
handler is stopped between 1 and 1.25 times its deadline. What was stopped raises `HandlerTimeout`, the
event's own error: it is retried, then parked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from bus.clock import Clock
from bus.errors import HandlerTimeout

T = TypeVar("T")


class Watchdog:
    """`wrap` guards a handling function; `watch` runs beside the workers, in their TaskGroup, until it is
    cancelled."""

    def __init__(self, clock: Clock, deadline_s: float) -> None:
        self._clock = clock
        self._deadline_s = deadline_s
        self._running: dict[asyncio.Task[object], float] = {}
        self._stopped: set[asyncio.Task[object]] = set()

    def wrap(self, proceed: Callable[[T], Awaitable[None]]) -> Callable[[T], Awaitable[None]]:
        running, stopped, monotonic = self._running, self._stopped, self._clock.monotonic

        async def bounded(argument: T) -> None:
            task = asyncio.current_task()
            assert task is not None
            running[task] = monotonic()
            try:
                await proceed(argument)
            except asyncio.CancelledError:
                if task not in stopped or task.cancelling() > 1:  # somebody else cancelled it too
                    raise
                raise HandlerTimeout(f"the handler did not finish within {self._deadline_s:g} s") from None
            finally:
                del running[task]
                if task in stopped:
                    stopped.discard(task)
                    task.uncancel()

        return bounded

    async def watch(self) -> None:
        while True:
            await self._clock.sleep(self._deadline_s / 4)
            too_early = self._clock.monotonic() - self._deadline_s
            for task, started in list(self._running.items()):
                if started <= too_early and task not in self._stopped:
                    self._stopped.add(task)
                    task.cancel()
