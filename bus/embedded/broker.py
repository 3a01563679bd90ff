"""Subscriptions and routing: which queues a frame goes to. Made by `transport`; event loop only.

Which subscriptions a frame goes to is decided by the bindings at the moment of `publish`. It is in the
journal before its publisher is told, and it is handed to consumers straight from memory after that commit. A
durable subscription that nobody declares any more goes on collecting frames, as a broker's queue does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from functools import partial
from typing import Any

from bus.embedded import journal
from bus.embedded.backing import Backing
from bus.embedded.committer import Committer, refuser, resolver
from bus.embedded.consumer import QueueConsumer
from bus.embedded.queue import Queue
from bus.embedded.recovery import Stored
from bus.embedded.storing import Storing, is_kept
from bus.errors import Backpressure, NotRouted, TopologyDiffers
from bus.message import Exchange, Subscription
from bus.transport import Deliver, Frame

REMEMBERED_TOPICS = 10_000


class Broker:
    def __init__(
        self, committer: Committer, backing: Backing, storing: Storing, subscriptions: Iterable[Stored]
    ) -> None:
        self._committer = committer
        self._backing = backing
        self._storing = storing
        self._loop = asyncio.get_running_loop()
        self._by_name: dict[str, Queue] = {}
        self._declared: set[str] = set()
        self._declaring = asyncio.Lock()
        self._routes: dict[tuple[str, str], tuple[Queue, ...]] = {}
        self._last_number = 0
        self._last_temporary = 0
        for stored in subscriptions:
            self._restore(stored)

    def _restore(self, stored: Stored) -> None:
        read_to, mark = stored.read_to, stored.mark
        queue = Queue(
            stored.number, stored.subscription, self._backing, read_to=read_to, mark=mark, behind=True
        )
        queue.held = dict(stored.held)
        queue.stored_held = dict(stored.held)
        queue.suspects.extend(stored.suspects)
        queue.depth = stored.depth
        queue.waiting_bytes = stored.waiting_bytes
        self._backing.queues[stored.number] = self._by_name[stored.subscription.name] = queue
        self._last_number = max(self._last_number, stored.number)

    async def declare(self, subscription: Subscription) -> Queue:
        """The durable queue of a subscription, with these bindings. Raises TopologyDiffers, TopicInvalid,
        Unavailable."""
        async with self._declaring:
            queue = self._by_name.get(subscription.name)
            if queue is None:
                number, read_to = self._last_number + 1, self._storing.last_id
                queue = Queue(
                    number, subscription, self._backing, read_to=read_to, mark=read_to, behind=False
                )
                await self._save(queue, subscription)
                self._last_number = number
                self._backing.queues[number] = self._by_name[subscription.name] = queue
            elif queue.subscription != subscription:
                mode = queue.subscription.mode
                if subscription.name in self._declared and mode != subscription.mode:
                    raise TopologyDiffers(
                        f"subscription {subscription.name} has mode {mode!r}; it is declared anew with"
                        f" mode {subscription.mode!r}"
                    )
                Queue.check(subscription)
                await self._save(queue, subscription)
                queue.bind(subscription)
            self._declared.add(subscription.name)
            self._routes.clear()
            return queue

    async def _save(self, queue: Queue, subscription: Subscription) -> None:
        work = partial(
            journal.save_subscription, number=queue.number, subscription=subscription, read_to=queue.read_to
        )
        await self._committer.run(work)

    async def consume(
        self, subscription: Subscription, deliver: Deliver, *, window_frames: int, window_bytes: int
    ) -> QueueConsumer:
        if subscription.mode == "every_instance":
            queue = self._temporary(subscription)
        else:
            queue = await self.declare(subscription)
        closed = partial(self._consumer_closed, queue)
        consumer = QueueConsumer(
            queue, deliver, closed, window_frames=window_frames, window_bytes=window_bytes
        )
        queue.attach(consumer)
        return consumer

    def _temporary(self, subscription: Subscription) -> Queue:
        """The queue of one every_instance consumer; it begins with what is published from now on."""
        number = self._last_temporary - 1
        read_to = self._storing.last_id
        queue = Queue(number, subscription, self._backing, read_to=read_to, mark=read_to, behind=False)
        self._last_temporary = number
        self._backing.queues[number] = queue
        self._routes.clear()
        return queue

    def _consumer_closed(self, queue: Queue, consumer: QueueConsumer) -> None:
        if queue.durable:
            queue.detach(consumer)
        else:
            self._backing.drop(queue)
            self._routes.clear()

    async def close(self) -> None:
        """Close every consumer; what they hold goes back, and nothing is handed out any more."""
        self._backing.close()
        for queue in list(self._backing.queues.values()):
            for consumer in list(queue.consumers):
                await consumer.close()

    async def publish(self, frame: Frame, exchange: Exchange) -> None:
        queues = self.route(exchange, frame.topics)
        kept = is_kept(frame)
        if not queues and not kept:
            raise NotRouted(f"no subscription takes {frame.topics[0]} on exchange {exchange}")
        for queue in queues:
            if queue.full():
                name, waiting = queue.subscription.name, queue.waiting_bytes
                raise Backpressure(f"subscription {name} is full: {waiting} bytes wait")
        future: asyncio.Future[Any] = self._loop.create_future()
        self._committer.submit(
            self._storing.frame(frame, queues, resolver(future), refuser(future), kept=kept)
        )
        await future

    async def send(self, queue: Queue, frame: Frame) -> None:
        """To one queue, now."""
        future: asyncio.Future[Any] = self._loop.create_future()
        if frame.suspect:
            job = self._storing.suspect(frame, queue, resolver(future), refuser(future))
        else:
            job = self._storing.frame(frame, (queue,), resolver(future), refuser(future))
        self._committer.submit(job)
        await future

    def route(self, exchange: str, topics: tuple[str, ...]) -> tuple[Queue, ...]:
        if len(topics) == 1:
            return self._route_one(exchange, topics[0])
        found: dict[Queue, None] = {}
        for topic in topics:
            found.update(dict.fromkeys(self._route_one(exchange, topic)))
        return tuple(found)

    def _route_one(self, exchange: str, topic: str) -> tuple[Queue, ...]:
        known = self._routes.get((exchange, topic))
        if known is None:
            if len(self._routes) >= REMEMBERED_TOPICS:
                self._routes.clear()
            known = self._routes[exchange, topic] = tuple(
                queue
                for queue in self._backing.queues.values()
                if queue.subscription.exchange == exchange and queue.matcher(topic)
            )
        return known

    def named(self, name: str) -> Queue:
        """A durable queue. Raises NotRouted when none has this name."""
        queue = self._by_name.get(name)
        if queue is None:
            raise NotRouted(f"no durable subscription {name!r} is declared")
        return queue

    def numbered(self, number: int) -> Queue:
        return self._backing.queues[number]

    def is_full(self) -> bool:
        """Whether a queue that pushes back on publishers has reached its limit."""
        return any(queue.full() for queue in self._by_name.values())

    def depths(self) -> dict[str, int]:
        return {name: queue.depth for name, queue in self._by_name.items()}

    def memory_frames(self) -> int:
        """Frames that wait in memory, counted once for each of their queues."""
        return sum(queue.memory_frames() for queue in self._backing.queues.values())

    def wake_all(self) -> None:
        for queue in self._backing.queues.values():
            self._backing.wake(queue)
