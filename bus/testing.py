"""For tests of what stands on the bus: a clock that is moved by hand, and a harness on the embedded
transport.

async with harness(billing) as b:
    await b.publish(OrderPlaced("o-2", -1), key="eu")
    await b.settled()
    assert [p.reason for p in await b.parked()] == ["order o-2: negative total"]
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

from bus.connect import Bus
from bus.embedded import EmbeddedTransport, open_embedded
from bus.ids import Ids
from bus.message import Subscription
from bus.publisher import Publisher
from bus.router import Router
from bus.transport import Transport

START = datetime(2026, 1, 1, tzinfo=UTC)
_TURNS = 50


async def turns(count: int = _TURNS) -> None:
    """Let everything that is ready to run, run."""
    for _ in range(count):
        await asyncio.sleep(0)


class ManualClock:
    """Stands still until `advance`. Sleepers wake in the order of their times, each seeing its own moment."""

    def __init__(self, start: datetime = START) -> None:
        self._start = start
        self._elapsed_s = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = itertools.count()

    def now(self) -> datetime:
        return self._start + timedelta(seconds=self._elapsed_s)

    def monotonic(self) -> float:
        return self._elapsed_s

    async def sleep(self, delay_s: float) -> None:
        if delay_s <= 0:
            await asyncio.sleep(0)
            return
        wake: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._elapsed_s + delay_s, next(self._order), wake))
        await wake

    async def advance(self, seconds: float) -> None:
        """Move time on, waking each sleeper at its moment and letting it run before the next."""
        until = self._elapsed_s + seconds
        await turns()
        while self._sleepers and self._sleepers[0][0] <= until:
            due_s, _, wake = heapq.heappop(self._sleepers)
            if wake.done():
                continue
            self._elapsed_s = max(self._elapsed_s, due_s)
            wake.set_result(None)
            await turns()
        self._elapsed_s = until
        await turns()


class Harness(Bus):
    """A bus with a manual clock, whose quiet can be waited for."""

    clock: ManualClock

    async def settled(self, timeout_s: float = 10.0) -> None:
        """Return when nothing is unconfirmed, waiting or in a handler: what was published, and everything it
        caused. What is to come back after a delay does not count; move the clock, then settle again."""
        quiet = 0
        async with asyncio.timeout(timeout_s):
            while quiet < 3:
                await self.publisher.idle()
                durable = [s for s in self.subscribers if s.subscription.mode != "every_instance"]
                depths = await self.transport.queue_depths([s.subscription for s in durable])
                waiting = sum(subscriber.waiting_frames for subscriber in durable)
                busy = self._releasing() or any(subscriber.busy for subscriber in self.subscribers)
                quiet = 0 if busy or sum(depths.values()) > waiting else quiet + 1
                # Real time passes here: the journal's thread has its own pace.
                await asyncio.sleep(0.001)

    def _releasing(self) -> bool:
        """Whether what is due by now is still on its way to a queue."""
        return isinstance(self.transport, EmbeddedTransport) and self.transport.releasing


@asynccontextmanager
async def harness(
    *routers: Router,
    source: str = "test",
    clock: ManualClock | None = None,
    subscriptions: tuple[Subscription, ...] = (),
) -> AsyncIterator[Harness]:
    """A bus in memory that serves these routers."""
    clock = clock or ManualClock()
    async with (
        open_embedded(None, clock=clock) as transport,
        over(transport, source=source, clock=clock) as bus,
    ):
        await bus.declare(*subscriptions)
        async with bus.serve(*routers):
            yield bus


@asynccontextmanager
async def over(transport: Transport, *, source: str, clock: ManualClock) -> AsyncIterator[Harness]:
    """A harness over a transport that is open already."""
    async with Publisher.open(transport, clock) as publisher:
        yield Harness(source, transport, publisher, clock, Ids(clock))
