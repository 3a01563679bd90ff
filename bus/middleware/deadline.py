"""Bounds how long one handler may take.

A broker takes back what is held for too long, and a handler that hangs must not hold its worker for ever. One
watchdog a subscriber looks at its running handlers from time to time, which costs nothing per event: a
handler is stopped between 1 and 1.25 times its deadline. What was stopped raises `HandlerTimeout`, the
event's own error: it is retried, then parked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

from bus.clock import Clock
from bus.errors import HandlerTimeout

T = TypeVar("T")


class Seat:
    """A task that calls handlers, and since when the present one runs."""

    __slots__ = ("started", "stopped", "task")

    def __init__(self, task: asyncio.Task[object]) -> None:
        self.task = task
        self.started: float | None = None
        self.stopped = False


_SEAT: ContextVar[Seat] = ContextVar("trunkline_seat")


class Watchdog:
    """`wrap` guards a handling function that is called in a `seat`; `watch` runs beside them until it is
    cancelled."""

    def __init__(self, clock: Clock, deadline_s: float) -> None:
        self._clock = clock
        self._deadline_s = deadline_s
        self._seats: set[Seat] = set()

    @contextmanager
    def seat(self) -> Iterator[None]:
        """For the length of a task that calls guarded handlers, one after another."""
        task = asyncio.current_task()
        assert task is not None
        seat = Seat(task)
        self._seats.add(seat)
        token = _SEAT.set(seat)
        try:
            yield
        finally:
            _SEAT.reset(token)
            self._seats.discard(seat)

    def wrap(self, proceed: Callable[[T], Awaitable[None]]) -> Callable[[T], Awaitable[None]]:
        monotonic = self._clock.monotonic

        async def bounded(argument: T) -> None:
            seat = _SEAT.get()
            seat.started = monotonic()
            try:
                await proceed(argument)
            except asyncio.CancelledError:
                if not seat.stopped or seat.task.cancelling() > 1:  # somebody else cancelled it too
                    raise
                raise HandlerTimeout(f"the handler did not finish within {self._deadline_s:g} s") from None
            finally:
                seat.started = None
                if seat.stopped:
                    seat.stopped = False
                    seat.task.uncancel()

        return bounded

    async def watch(self) -> None:
        while True:
            await self._clock.sleep(self._deadline_s / 4)
            too_early = self._clock.monotonic() - self._deadline_s
            for seat in self._seats:
                if seat.started is not None and seat.started <= too_early and not seat.stopped:
                    seat.stopped = True
                    seat.task.cancel()
