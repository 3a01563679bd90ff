"""The embedded transport: `bus.transport`'s port for one process, on one journal. Opened by `bus.connect`;
one object serves every service of the process.

How it keeps the promises: `publish` returns when the journal has committed the frame with synchronous=FULL (a
group commit on a thread of its own). Order within a subscription is the order of publishing. A frame is lost
never, and delivered twice when the process died less than ~50 ms after it was settled. What was in consumers'
hands when the process died counts as returned (see `recovery` for how exactly). Asks and signals stay in
memory. Without a path the same journal is kept in memory and dies with the transport.

When the disk takes nothing, `publish` raises Unavailable, `state()` is "blocked", and both mend by
themselves. A subscription that pushes back and has reached its `max_bytes` makes `publish` raise
Backpressure.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, nullcontext
from contextvars import copy_context
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from sqlite3 import Connection

from bus.clock import Clock
from bus.embedded import journal
from bus.embedded.asking import Asking
from bus.embedded.backing import Backing
from bus.embedded.broker import Broker
from bus.embedded.committer import Committer
from bus.embedded.delays import Delays
from bus.embedded.format import micros
from bus.embedded.lock import JournalLock
from bus.embedded.recovery import Recovered, open_journal
from bus.embedded.settling import Settling
from bus.embedded.signals import Signals
from bus.embedded.storing import Storing
from bus.errors import Unavailable
from bus.message import Exchange, Subscription
from bus.tasks import task_group
from bus.transport import KEPT_DAYS, Answer, Consumer, Deliver, Frame, State

KEPT_PAGE_FRAMES = 64


@asynccontextmanager
async def open_embedded(
    path: Path | str | None, *, clock: Clock, limit_bytes: int | None = None
) -> AsyncIterator[EmbeddedTransport]:
    """The transport on the journal at `path`, which is made if need be (None: in memory). The journal takes
    at most `limit_bytes` of pages, its write-ahead log aside. Raises InUse, JournalDamaged, JournalVersion,
    CannotOpen; ready on entry, flushed and let go of on exit."""
    file = None if path is None else Path(path)
    with nullcontext() if file is None else JournalLock(file):
        async with task_group() as tasks:
            transport = EmbeddedTransport(clock, tasks, str(file or "in memory"))
            try:
                await transport._open(partial(open_journal, file, limit_bytes))
                yield transport
            finally:
                await transport._close()


class EmbeddedTransport:
    name = "embedded"

    def __init__(self, clock: Clock, tasks: asyncio.TaskGroup, journal_name: str) -> None:
        self._clock = clock
        self._tasks = tasks
        self._context = copy_context()
        self._state: State = "connecting"
        self._why = ""
        self._waiters: list[asyncio.Future[None]] = []
        self._committer = Committer(
            journal_name,
            insert=journal.insert_frames,
            probe=journal.probe,
            blocked=self._on_blocked,
            ready=self._on_ready,
            context=self._context,
        )
        self._settling = Settling(self._committer, self._context)
        self._asking = Asking(tasks, self._context)
        self._signals = Signals(self._context)

    async def _open(self, connect: Callable[[], tuple[Connection, Recovered]]) -> None:
        recovered: Recovered = await self._committer.start(connect)
        backing = Backing(self._committer, self._settling, self._context, self._wake_waiters)
        storing = Storing(backing, self._clock, last_id=recovered.last_id)
        self._broker = Broker(self._committer, backing, storing, recovered.subscriptions)
        self._delays = Delays(
            self._committer,
            self._broker,
            storing,
            self._clock,
            self._tasks,
            next_due_us=recovered.next_due_us,
        )
        self._delays.start()
        self._state = "ready"

    async def _close(self) -> None:
        opened = self._state != "connecting"
        self._state = "closed"
        self._wake_waiters()
        self._asking.close()
        self._signals.close()
        if opened:
            self._delays.close()
            await self._broker.close()
            await self._settling.close()
        await self._committer.stop()

    # --- state

    def state(self) -> State:
        if self._state == "ready" and self._broker.is_full():
            return "blocked"
        return self._state

    async def wait_ready(self) -> None:
        while (state := self.state()) != "ready":
            if state == "closed":
                raise Unavailable("the embedded bus is closed")
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            finally:
                if waiter in self._waiters:
                    self._waiters.remove(waiter)

    def _on_blocked(self, error: Unavailable) -> None:
        if self._state == "ready":
            self._state = "blocked"

    def _on_ready(self) -> None:
        if self._state == "blocked":
            self._state = "ready"
            self._broker.wake_all()
            self._wake_waiters()

    def _wake_waiters(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._waiters.clear()

    def _check_open(self) -> None:
        if self._state == "closed":
            raise Unavailable("the embedded bus is closed")

    # --- frames

    async def declare(self, subscriptions: Iterable[Subscription]) -> None:
        self._check_open()
        for subscription in subscriptions:
            if subscription.mode != "every_instance":
                await self._broker.declare(subscription)

    async def publish(
        self, frame: Frame, exchange: Exchange = "events", *, due: datetime | None = None
    ) -> None:
        self._check_open()
        if due is None or due <= self._clock.now():
            await self._broker.publish(frame, exchange)
        else:
            await self._delays.add(frame, due, exchange=exchange, number=None)

    async def send_later(self, subscription: str, frame: Frame, *, due: datetime | None = None) -> None:
        self._check_open()
        queue = self._broker.named(subscription)
        if due is None or due <= self._clock.now():
            await self._broker.send(queue, frame)
        else:
            await self._delays.add(frame, due, exchange=queue.subscription.exchange, number=queue.number)

    async def consume(
        self,
        subscription: Subscription,
        deliver: Deliver,
        *,
        window_frames: int = 256,
        window_bytes: int = 8 * 1024 * 1024,
    ) -> Consumer:
        self._check_open()
        return await self._broker.consume(
            subscription, deliver, window_frames=window_frames, window_bytes=window_bytes
        )

    async def kept(self) -> AsyncIterator[Frame]:
        after = 0
        while True:
            self._check_open()
            oldest_us = micros(self._clock.now() - timedelta(days=KEPT_DAYS))
            work = partial(journal.kept_after, after=after, oldest_us=oldest_us, limit=KEPT_PAGE_FRAMES)
            page: list[tuple[int, Frame]] = await self._committer.run(work, kind="read")
            for _, frame in page:
                yield frame
            if len(page) < KEPT_PAGE_FRAMES:
                return
            after = page[-1][0]

    async def queue_depths(self, subscriptions: Iterable[Subscription]) -> dict[str, int]:
        self._check_open()
        depths = self._broker.depths()
        return {
            wanted.name: depths.get(wanted.name, 0)
            for wanted in subscriptions
            if wanted.mode != "every_instance"
        }

    @property
    def releasing(self) -> bool:
        """Whether frames whose delay has passed are on their way to their queues, and in none yet."""
        return self._delays.releasing

    # --- asks and signals

    async def signal(self, frame: Frame) -> None:
        self._check_open()
        self._signals.send(frame)

    async def listen(self, patterns: Iterable[str], hear: Callable[[Frame], None]) -> Consumer:
        self._check_open()
        return self._signals.listen(patterns, hear)

    async def request(self, frame: Frame, *, timeout_s: float) -> bytes:
        self._check_open()
        return await self._asking.request(frame, timeout_s=timeout_s)

    async def answer(self, name: str, patterns: Iterable[str], answer: Answer) -> Consumer:
        self._check_open()
        return self._asking.answer(name, patterns, answer)
