"""The life of a subscriber, the same for all of them: consume, work, and on the way out finish or hand back
what is in hand."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from bus.errors import Unavailable
from bus.message import Subscription
from bus.middleware.metrics import SubscriptionMetrics
from bus.router import Router
from bus.subscriber.handling import Handling, Outcome, log
from bus.subscriber.settling import HOLD_MOST_S, PROBE_FIRST_S, PROBE_MOST_S, Settler, jittered
from bus.tasks import task_group
from bus.transport import Consumer, Delivered

if TYPE_CHECKING:
    from bus.connect import Bus

DRAIN_S = 10.0


class Subscriber(ABC):
    """One running instance of a subscription; subclasses say how frames become handler calls."""

    workers = 1

    def __init__(self, router: Router, subscription: Subscription, bus: Bus) -> None:
        self.subscription = subscription
        self.metrics = SubscriptionMetrics()
        self._bus = bus
        self._clock = bus.clock
        self._router = router
        self._queue: asyncio.Queue[Delivered] = asyncio.Queue()
        self._handling = Handling(router, subscription.name, bus, self.metrics)
        self._settler = Settler(subscription, router.retry_delays_s, bus, self.metrics)
        self._consumer: Consumer | None = None
        self._tasks: asyncio.TaskGroup | None = None
        self._running: set[asyncio.Task[None]] = set()
        self._closing = False
        self._leaving = asyncio.Event()
        self._in_hand = 0
        self._settled = asyncio.Condition()

    @asynccontextmanager
    async def run(self) -> AsyncIterator[Subscriber]:
        async with task_group() as tasks:
            self._tasks = tasks
            try:
                self._consumer = await self._bus.transport.consume(self.subscription, self._queue.put_nowait)
                # Frames may have come by now; the workers begin when there is a consumer they can pause.
                for _ in range(self.workers):
                    self._start(self._work)
                self._start(self._handling.watchdog.watch)
                yield self
            finally:
                await self._drain()
                for task in self._running:
                    task.cancel()

    def _start(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run something beside the workers; it is cancelled after draining."""
        assert self._tasks is not None
        task = self._tasks.create_task(self._seated(work))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _seated(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        with self._handling.watchdog.seat():
            await work()

    @property
    def busy(self) -> bool:
        """Whether anything is in hand or waiting in this process."""
        return self._in_hand > 0 or not self._queue.empty()

    @property
    def waiting_frames(self) -> int:
        """Frames that wait in place for a delay to pass; they count as neither busy nor settled."""
        return 0

    @abstractmethod
    async def _work(self) -> None:
        """Take frames from the queue, for ever; one task of `workers`."""

    def _may_finish(self) -> bool:
        """Whether there is nothing that draining should wait for."""
        return self._in_hand == 0

    async def _hand_back_waiting(self) -> None:
        while not self._queue.empty():
            await self._settler.hand_back(self._queue.get_nowait())

    async def _drain(self) -> None:
        self._closing = True
        self._leaving.set()
        if self._consumer is None:
            return
        try:
            async with asyncio.timeout(DRAIN_S):
                await self._consumer.pause()
                if self.subscription.mode == "shared":
                    await self._hand_back_waiting()
                async with self._settled:
                    await self._settled.wait_for(self._may_finish)
        except (TimeoutError, Unavailable):
            log.warning(
                "not drained in time; it will be delivered again", subscription=self.subscription.name
            )
        finally:
            await self._consumer.close()

    async def _tell_settled(self) -> None:
        async with self._settled:
            self._settled.notify_all()

    async def _probe(self, attempt: Callable[[], Awaitable[Outcome]]) -> Outcome:
        """Try again with back-off until the dependency answers, and return how that ended; Unavailable after
        HOLD_MOST_S, because a broker takes back what is held for long, and when this subscriber ends: what
        is in hand is then handed back, or its return would count as a death of its worker."""
        held_since, pause_s = self._clock.monotonic(), PROBE_FIRST_S
        while True:
            await self._sleep_or_leave(jittered(pause_s))
            if self._closing:
                return Unavailable("the subscriber ends")
            outcome = await attempt()
            if not isinstance(outcome, Unavailable):
                return outcome
            if self._clock.monotonic() - held_since > HOLD_MOST_S:
                return outcome
            pause_s = min(pause_s * 2, PROBE_MOST_S)

    async def _sleep_or_leave(self, delay_s: float) -> None:
        async with asyncio.TaskGroup() as tasks:
            ways = [
                tasks.create_task(self._clock.sleep(delay_s)),
                tasks.create_task(self._leaving.wait()),
            ]
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in ways:
                way.cancel()
