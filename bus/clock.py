"""The only reader of time. A `Clock` is passed to whatever needs one, so that tests can move time by hand.

`SystemClock` is the real one; `bus.testing.ManualClock` stands still until it is told to move. Deadlines on
I/O use `asyncio.timeout` at the caller; the clock is for what the program means by time: stamps, due times,
delays, ages.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What tells the time and waits for it."""

    def now(self) -> datetime:
        """The wall clock, aware, in UTC."""

    def monotonic(self) -> float:
        """Seconds since some fixed moment; never goes back. For durations."""

    async def sleep(self, delay_s: float) -> None:
        """Return after `delay_s` seconds of this clock's time; at once (after one turn of the loop) if <=
        0."""


class SystemClock:
    """Real time."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
