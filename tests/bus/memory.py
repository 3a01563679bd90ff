"""The smallest transport that keeps `bus.transport`'s promises, in lists: for unit tests of what stands above
the port.

Tests reach into it: `refusal` makes publishing fail, `hold` keeps confirmations back, `published` is what
went through. It loses everything with its process, so it is no transport for anything else.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from datetime import datetime

from bus import topics
from bus.clock import Clock
from bus.errors import DeadlinePassed, NobodyAnswers, NotRouted, Unavailable
from bus.message import Exchange, Subscription
from bus.tasks import task_group
from bus.testing import Harness, ManualClock, over
from bus.transport import KEPT_PREFIX, Answer, Deliver, Frame, State


class Queue:
    def __init__(self, subscription: Subscription) -> None:
        self.subscription = subscription
        self.matcher = topics.Matcher(subscription.patterns)
        self.waiting: deque[tuple[Frame, int]] = deque()
        self.suspects: deque[tuple[Frame, int]] = deque()
        self.consumers: list[MemoryConsumer] = []

    @property
    def depth(self) -> int:
        return len(self.waiting) + len(self.suspects) + sum(len(each.held) for each in self.consumers)

    def put(self, frame: Frame, returned: int = 0) -> None:
        (self.suspects if frame.suspect else self.waiting).append((frame, returned))
        self.pump()

    def put_back(self, frame: Frame, returned: int) -> None:
        (self.suspects if frame.suspect else self.waiting).appendleft((frame, returned))
        self.pump()

    def pump(self) -> None:
        active = self.consumers[:1] if self.subscription.mode == "ordered" else self.consumers
        for consumer in active:
            while not consumer.paused and len(consumer.held) < consumer.window_frames:
                if self.suspects and not any(each.frame.suspect for each in consumer.held):
                    consumer.hand(*self.suspects.popleft())
                elif self.waiting:
                    consumer.hand(*self.waiting.popleft())
                else:
                    break


class MemoryDelivered:
    def __init__(self, frame: Frame, returned: int, consumer: MemoryConsumer) -> None:
        self.frame = frame
        self.returned = returned
        self.outcome: str | None = None
        self._consumer = consumer

    def done(self) -> None:
        self._settle("done")

    def give_back(self) -> None:
        self._settle("given back")

    def _settle(self, outcome: str) -> None:
        assert self.outcome is None, f"settled twice: {self.outcome}, then {outcome}"
        self.outcome = outcome
        if self not in self._consumer.held:
            return  # its consumer was closed
        self._consumer.held.remove(self)
        if outcome == "given back":
            self._consumer.queue.put_back(self.frame, self.returned + 1)
        self._consumer.queue.pump()


class MemoryConsumer:
    def __init__(self, queue: Queue, deliver: Deliver, window_frames: int) -> None:
        self.queue = queue
        self.held: list[MemoryDelivered] = []
        self.paused = False
        self.window_frames = window_frames
        self._deliver = deliver

    def hand(self, frame: Frame, returned: int) -> None:
        delivered = MemoryDelivered(frame, returned, self)
        self.held.append(delivered)
        self._deliver(delivered)

    async def pause(self) -> None:
        self.paused = True

    async def resume(self) -> None:
        self.paused = False
        self.queue.pump()

    async def close(self) -> None:
        if self not in self.queue.consumers:
            return
        self.queue.consumers.remove(self)
        for delivered in reversed(self.held):
            self.queue.put_back(delivered.frame, delivered.returned + 1)
        self.held.clear()


class Listening:
    def __init__(self, stop: Callable[[], None]) -> None:
        self._stop = stop

    async def pause(self) -> None: ...

    async def resume(self) -> None: ...

    async def close(self) -> None:
        self._stop()


class MemoryTransport:
    name = "memory"

    def __init__(self, clock: Clock, tasks: asyncio.TaskGroup) -> None:
        self.queues: dict[str, Queue] = {}
        self.published: list[tuple[Exchange, Frame]] = []
        self.sent_later: list[tuple[str, Frame, datetime | None]] = []
        self.refusal: Callable[[Frame], Exception | None] = lambda frame: None
        self.hold: asyncio.Event | None = None
        self.unconfirmed = 0
        self.most_unconfirmed = 0
        self.current: State = "ready"
        self._clock = clock
        self._tasks = tasks
        self._kept: list[Frame] = []
        self._listeners: list[tuple[topics.Matcher, Callable[[Frame], None]]] = []
        self._answers: list[tuple[topics.Matcher, Answer]] = []
        self._delayed: set[asyncio.Task[None]] = set()

    def state(self) -> State:
        return self.current

    async def wait_ready(self) -> None:
        if self.current == "closed":
            raise Unavailable("closed")

    async def declare(self, subscriptions: Iterable[Subscription]) -> None:
        for subscription in subscriptions:
            if subscription.mode != "every_instance":
                self.queues.setdefault(subscription.name, Queue(subscription))

    async def publish(
        self, frame: Frame, exchange: Exchange = "events", *, due: datetime | None = None
    ) -> None:
        self.unconfirmed += 1
        self.most_unconfirmed = max(self.most_unconfirmed, self.unconfirmed)
        try:
            self._refuse(frame)
            if self.hold is not None:
                await self.hold.wait()
        finally:
            self.unconfirmed -= 1
        self.published.append((exchange, frame))
        if due is not None:
            self._later(due, lambda: self._route(frame, exchange))
        elif not self._route(frame, exchange):
            raise NotRouted(f"no queue takes {frame.topics[0]}")

    async def send_later(self, subscription: str, frame: Frame, *, due: datetime | None = None) -> None:
        self._refuse(frame)
        self.sent_later.append((subscription, frame, due))
        queue = self.queues[subscription]
        if due is None:
            queue.put(frame)
        else:
            self._later(due, lambda: queue.put(frame))

    async def consume(
        self,
        subscription: Subscription,
        deliver: Deliver,
        *,
        window_frames: int = 256,
        window_bytes: int = 8 * 1024 * 1024,
    ) -> MemoryConsumer:
        name = subscription.name
        if subscription.mode == "every_instance":
            name = f"{name}@{len(self.queues)}"
        queue = self.queues.setdefault(name, Queue(subscription))
        consumer = MemoryConsumer(queue, deliver, window_frames)
        queue.consumers.append(consumer)
        queue.pump()
        return consumer

    async def signal(self, frame: Frame) -> None:
        for matcher, hear in self._listeners:
            if matcher(frame.topics[0]):
                hear(frame)

    async def listen(self, patterns: Iterable[str], hear: Callable[[Frame], None]) -> Listening:
        entry = (topics.Matcher(patterns), hear)
        self._listeners.append(entry)
        return Listening(lambda: self._listeners.remove(entry))

    async def request(self, frame: Frame, *, timeout_s: float) -> bytes:
        for matcher, answer in self._answers:
            if matcher(frame.topics[0]):
                try:
                    async with asyncio.timeout(timeout_s):
                        return await answer(frame)
                except TimeoutError:
                    raise DeadlinePassed(f"no answer within {timeout_s:g} s") from None
        raise NobodyAnswers(f"nobody answers {frame.topics[0]}")

    async def answer(self, name: str, patterns: Iterable[str], answer: Answer) -> Listening:
        entry = (topics.Matcher(patterns), answer)
        self._answers.append(entry)
        return Listening(lambda: self._answers.remove(entry))

    async def kept(self) -> AsyncIterator[Frame]:
        for frame in self._kept:
            yield frame

    async def queue_depths(self, subscriptions: Iterable[Subscription]) -> dict[str, int]:
        return {each.name: self.queues[each.name].depth for each in subscriptions}

    def keep(self, frame: Frame) -> None:
        """As if somebody had published it under `bus.event.`."""
        self._kept.append(frame)

    def _refuse(self, frame: Frame) -> None:
        error = self.refusal(frame)
        if error is not None:
            raise error

    def _route(self, frame: Frame, exchange: Exchange) -> bool:
        taken = frame.topics[0].startswith(f"{KEPT_PREFIX}.")
        if taken:
            self._kept.append(frame)
        for queue in self.queues.values():
            if queue.subscription.exchange == exchange and any(map(queue.matcher, frame.topics)):
                queue.put(frame)
                taken = True
        return taken

    def _later(self, due: datetime, action: Callable[[], object]) -> None:
        async def wait() -> None:
            await self._clock.sleep((due - self._clock.now()).total_seconds())
            action()

        task = self._tasks.create_task(wait())
        self._delayed.add(task)
        task.add_done_callback(self._delayed.discard)

    def close(self) -> None:
        self.current = "closed"
        for task in self._delayed:
            task.cancel()


@asynccontextmanager
async def open_memory(clock: Clock) -> AsyncIterator[MemoryTransport]:
    async with task_group() as tasks:
        transport = MemoryTransport(clock, tasks)
        try:
            yield transport
        finally:
            transport.close()


@asynccontextmanager
async def memory_bus(source: str = "test") -> AsyncIterator[tuple[Harness, MemoryTransport]]:
    """A bus with a manual clock over a `MemoryTransport`."""
    clock = ManualClock()
    async with open_memory(clock) as transport, over(transport, source=source, clock=clock) as bus:
        yield bus, transport
