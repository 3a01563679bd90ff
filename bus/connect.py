"""connect(url) -> Bus: the one object through which a program publishes, asks, signals and serves.

    async with connect("embedded:shop.db", source="shop") as bus, bus.serve(billing):
        await bus.publish(OrderPlaced("o-1", 1200), key="eu")

`embedded:PATH` is the in-process transport with its journal in PATH; `embedded:` keeps it in memory;
`amqp://` and `amqps://` are RabbitMQ. Ready on entry, drained on exit.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import TypeVar
from urllib.parse import unquote

import structlog

from bus import asking, codec, parking, topics
from bus.clock import Clock, SystemClock
from bus.errors import CannotOpen, DeadlinePassed, trace_of
from bus.event import Event
from bus.ids import Ids
from bus.message import Ask, Exchange, Fact, Message, Signal, Subscription
from bus.middleware import tracing
from bus.parking import EventDiscarded, EventRedriven, NotParked, Parked
from bus.publisher import Publisher
from bus.router import Delivery, Route, Router
from bus.subscriber import Subscriber, open_subscriber
from bus.tasks import task_group
from bus.transport import Frame, Transport

R = TypeVar("R")

SIGNALS_WAITING = 1024

_log = structlog.get_logger("bus")


class Bus:
    """A name (`source`) on a transport. Cheap; `as_source` makes another name on the same transport and
    publisher."""

    def __init__(
        self, source: str, transport: Transport, publisher: Publisher, clock: Clock, ids: Ids
    ) -> None:
        self.source = source
        self.transport = transport
        self.publisher = publisher
        self.clock = clock
        self.ids = ids
        self.subscribers: list[Subscriber] = []

    def as_source(self, source: str) -> Bus:
        other = Bus(source, self.transport, self.publisher, self.clock, self.ids)
        other.subscribers = self.subscribers
        return other

    def envelop(
        self,
        message: Message,
        *,
        key: str = topics.NO_KEY,
        subject: str | None = None,
        id: str | None = None,
        partitionkey: str | None = None,
    ) -> Event:
        """An event that says `message` now, caused by the event being handled, if any. Raises
        TopicInvalid."""
        topics.check_topic(message.TYPE, key)
        correlation, causation, traceparent = tracing.causes()
        return Event(
            id or self.ids.new(),
            self.source,
            message.TYPE,
            message.VERSION,
            key,
            subject,
            self.clock.now(),
            codec.encode_data(message),
            partitionkey,
            correlation,
            causation,
            traceparent,
        )

    async def publish(
        self,
        *facts: Fact,
        key: str = topics.NO_KEY,
        subject: str | None = None,
        id: str | None = None,
        at: datetime | None = None,
        partitionkey: str | None = None,
        timeout_s: float = 30.0,
    ) -> None:
        """Return once these facts are durable. `at`: not to be delivered before. `id`: for a single fact
        whose id derives from something. Raises NotRouted, TooLarge, TopicInvalid, Unavailable (it may still
        arrive: publish again, same id)."""
        if id is not None and len(facts) != 1:
            raise ValueError("an id is for one fact")
        if len(facts) == 1 and at is None:
            fact = facts[0]
            event = self.envelop(fact, key=key, subject=subject, id=id, partitionkey=partitionkey)
            await self.publisher.send(
                (event,), exchange=fact.EXCHANGE, ordered=fact.ORDERED, timeout_s=timeout_s
            )
            return
        for exchange in dict.fromkeys(fact.EXCHANGE for fact in facts):
            group = [fact for fact in facts if exchange == fact.EXCHANGE]
            events = [
                self.envelop(fact, key=key, subject=subject, id=id, partitionkey=partitionkey)
                for fact in group
            ]
            ordered = any(fact.ORDERED for fact in group)
            await self.publisher.send(events, exchange=exchange, ordered=ordered, due=at, timeout_s=timeout_s)

    async def emit(
        self,
        *events: Event,
        exchange: Exchange = "events",
        ordered: bool = False,
        timeout_s: float = 30.0,
    ) -> None:
        """Publish events that are made already, as they are."""
        await self.publisher.send(events, exchange=exchange, ordered=ordered, timeout_s=timeout_s)

    async def ask(self, ask: Ask[R], *, key: str = topics.NO_KEY, timeout_s: float = 5.0) -> R:
        """One reply. Raises NobodyAnswers, DeadlinePassed, Refused, Unavailable, AskFailed."""
        event = self.envelop(ask, key=key)
        frame = Frame(codec.encode_batch([event]), (event.topic,))
        try:
            async with asyncio.timeout(timeout_s + 1):
                body = await self.transport.request(frame, timeout_s=timeout_s)
        except TimeoutError:
            raise DeadlinePassed(f"no answer to {ask.TYPE} within {timeout_s:g} s") from None
        return asking.read_reply(body, ask)

    async def signal(self, signal: Signal, *, key: str = topics.NO_KEY) -> None:
        """Tell whoever listens at this moment."""
        event = self.envelop(signal, key=key)
        await self.transport.signal(Frame(codec.encode_batch([event]), (event.topic,)))

    async def declare(self, *subscriptions: Subscription) -> None:
        """Make the durable queues of these, so that they miss nothing that is published from now on."""
        await self.transport.declare(subscriptions)

    @asynccontextmanager
    async def serve(self, *routers: Router) -> AsyncIterator[None]:
        """Run these routers: ready on entry; on exit handlers in flight finish, and what was not begun goes
        back."""
        async with AsyncExitStack() as running:
            for router in routers:
                await self._serve(router, running)
            yield

    async def _serve(self, router: Router, running: AsyncExitStack) -> None:
        subscription = router.subscription()
        if subscription is not None:
            subscriber = await running.enter_async_context(open_subscriber(router, subscription, self))
            self.subscribers.append(subscriber)
            running.callback(self.subscribers.remove, subscriber)
        if router.signals:
            await running.enter_async_context(self._hearing(router))
        for route in router.asks:

            async def answer(frame: Frame, route: Route = route) -> bytes:
                return await asking.answer(frame, route, router, self)

            name = f"{router.name}.{route.pattern.rsplit('.', 1)[0]}"
            answering = await self.transport.answer(name, (route.pattern,), answer)
            running.push_async_callback(answering.close)

    @asynccontextmanager
    async def _hearing(self, router: Router) -> AsyncIterator[None]:
        """Signals are handled one after another, in a task of their own; those past SIGNALS_WAITING are
        dropped."""
        waiting: asyncio.Queue[Frame] = asyncio.Queue(SIGNALS_WAITING)

        def hear(frame: Frame) -> None:
            if not waiting.full():
                waiting.put_nowait(frame)

        async def handle() -> None:
            while True:
                await self._handle_signal(router, await waiting.get())

        async with task_group() as tasks:
            task = tasks.create_task(handle())
            listening = await self.transport.listen([route.pattern for route in router.signals], hear)
            try:
                yield
            finally:
                await listening.close()
                task.cancel()

    async def _handle_signal(self, router: Router, frame: Frame) -> None:
        try:
            for event in codec.decode_batch(frame.body):
                for route in router.signals:
                    if route.matcher(event.topic) and route.message is not None:
                        delivery = Delivery(event, 0, router.name, self)
                        async with asyncio.timeout(router.deadline_s):
                            await route.handler(event.read(route.message), delivery)
        except Exception as error:
            _log.warning("signal not handled", router=router.name, trace=trace_of(error))

    async def parked(self) -> list[Parked]:
        """What failed for good and was neither redriven nor discarded, oldest first."""
        return await parking.parked_now(self.transport)

    async def redrive(self, parked_id: str) -> None:
        """Deliver a parked frame again, to the subscription that failed. Raises NotParked."""
        parked = await self._find_parked(parked_id)
        await self.transport.send_later(parked.subscription, parked.redrive_frame())
        await self.publish(EventRedriven(parked_id), subject=parked.subscription)

    async def discard(self, parked_id: str, reason: str) -> None:
        """Give a parked frame up for good. Raises NotParked."""
        parked = await self._find_parked(parked_id)
        await self.publish(EventDiscarded(parked_id, reason), subject=parked.subscription)

    async def _find_parked(self, parked_id: str) -> Parked:
        for parked in await self.parked():
            if parked.id == parked_id:
                return parked
        raise NotParked(f"nothing is parked under {parked_id[:80]!r}")


@asynccontextmanager
async def connect(
    url: str, *, source: str, clock: Clock | None = None, subscriptions: Sequence[Subscription] = ()
) -> AsyncIterator[Bus]:
    """A bus that is ready, with `subscriptions` declared. Raises CannotOpen (see its subclasses) or
    Unavailable."""
    clock = clock or SystemClock()
    async with _transport(url, clock, source) as transport, Publisher.open(transport, clock) as publisher:
        await transport.declare(subscriptions)
        yield Bus(source, transport, publisher, clock, Ids(clock))


def _transport(url: str, clock: Clock, name: str) -> AbstractAsyncContextManager[Transport]:
    """Transports are imported when they are asked for: a program on RabbitMQ needs no SQLite, and the other
    way round."""
    scheme, colon, rest = url.partition(":")
    if scheme == "embedded" and colon:
        from bus.embedded import open_embedded

        return open_embedded(Path(unquote(rest)) if rest else None, clock=clock)
    if scheme in ("amqp", "amqps"):
        from bus.rabbitmq import open_rabbitmq

        return open_rabbitmq(url, clock=clock, name=name)
    raise CannotOpen(f"bus URL scheme {scheme[:20]!r} is none of embedded:, amqp://, amqps://")
