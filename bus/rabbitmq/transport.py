"""`bus.transport.Transport` over RabbitMQ, 3.10 or newer, 4.x included. Made by `open_rabbitmq`, called by
the bus above.

Three connections (`connection.Link`): one publishes, one consumes and acknowledges, one asks, answers and
signals. A broker that blocks publishers (memory, disk) so stops neither the settling of what was delivered
nor the freeing of its memory.

What its callers may rely on, beyond `bus.transport`:

- Order: what is published one after the other, each awaited, lies in a queue in that order.
- Duplication: a publish that raised Unavailable may have arrived; what was settled just before a connection
  broke comes again.
- Loss: none of what was confirmed. Queues of every_instance subscriptions and signals are as short-lived as
  their connection.
- A frame that was published with several topics names only the first when it is delivered (see `wire`).
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from typing import Any

import structlog
from aiormq import Connection
from aiormq.abc import DeliveredMessage
from aiormq.channel import Channel
from aiormq.exceptions import ChannelNotFoundEntity

from bus.clock import Clock
from bus.errors import Unavailable
from bus.message import Exchange, Subscription
from bus.rabbitmq import address, keeping
from bus.rabbitmq.connection import RPC_TIMEOUT_S, Link
from bus.rabbitmq.consuming import Consumption, Reading, Source
from bus.rabbitmq.declaring import declare, passing_channel
from bus.rabbitmq.delaying import Delays
from bus.rabbitmq.errors import translated
from bus.rabbitmq.instances import Instances
from bus.rabbitmq.intake import Delivery
from bus.rabbitmq.publishing import Publishing
from bus.rabbitmq.requests import AT_ONCE, Answering, Asking
from bus.rabbitmq.topology import TIERS, Topology
from bus.tasks import task_group
from bus.transport import Answer, Consumer, Deliver, Frame, State

CLOSE_CONSUMERS_S = 2.5
CLOSE_S = 5.0

_log = structlog.get_logger("bus.rabbitmq")


class RabbitTransport:
    name = "rabbitmq"

    def __init__(
        self,
        url: str,
        *,
        clock: Clock,
        name: str,
        heartbeat_s: float,
        tier_unit_ms: int,
        tiers: int,
        namespace: str,
        publish_bound_s: float,
        entropy: Callable[[int], bytes],
        jitter: Callable[[], float],
        tasks: asyncio.TaskGroup,
    ) -> None:
        self.address = address.parse(url)
        self.topology = Topology(namespace or self.address.namespace, tier_unit_ms, tiers)
        self._clock = clock
        self._entropy = entropy
        self._jitter = jitter
        self._tasks = tasks
        self._spawned: set[asyncio.Task[None]] = set()
        self._subscriptions: dict[str, Subscription] = {}
        self._consumptions: list[Consumption] = []
        self._lost_frames = 0
        self._closed = False
        links = {
            role: Link(
                self.address,
                name=f"{name} {role}",
                clock=clock,
                heartbeat_s=self.address.heartbeat_s or heartbeat_s,
                jitter=jitter,
                prepare=self._prepare if role == "publish" else _nothing,
                probe=self._probe,
            )
            for role in ("publish", "consume", "ask")
        }
        self._publish_link, self._consume_link, self._ask_link = links.values()
        self._links = tuple(links.values())
        self._publishing = Publishing(
            self._publish_link, self.topology, clock, bound_s=publish_bound_s, message_ids=self._fresh()
        )
        self._delays = Delays(self._publishing, self.topology, clock)
        self._instances = Instances(self._publishing, clock, self._spawn)
        self._asking = Asking(self._ask_link, self.topology, self._fresh)

    async def open(self) -> None:
        """Connect and declare. Raises CannotOpen, TopologyDiffers or Unavailable."""
        # One after the other: the first says best what is wrong, and declares what the others use.
        for link in self._links:
            await link.open()
        for link in self._links:
            self._spawn(link.run())
        await self._consume(
            self.topology.retry_due,
            lambda: Source(self.topology.base(), (Reading(self.topology.retry_due),)),
            self._forward,
        )

    async def close(self) -> None:
        """Consumers, then connections; in CLOSE_S at most, whatever the broker does."""
        if self._closed:
            return
        self._closed = True
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_CONSUMERS_S):
                await asyncio.gather(*(consumption.close() for consumption in tuple(self._consumptions)))
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S - CLOSE_CONSUMERS_S):
                await asyncio.gather(*(link.close() for link in self._links))
        for task in tuple(self._spawned):
            task.cancel()

    def state(self) -> State:
        if self._closed:
            return "closed"
        if not all(link.ready for link in self._links):
            return "connecting"
        return "blocked" if self._publish_link.blocked else "ready"

    async def wait_ready(self) -> None:
        while self.state() != "ready":
            for link in self._links:
                connection = await link.up()
                if link is self._publish_link:
                    await connection.ready()

    async def declare(self, subscriptions: Iterable[Subscription]) -> None:
        durable = [subscription for subscription in subscriptions if subscription.mode != "every_instance"]
        plans = [self.topology.subscription(subscription) for subscription in durable]
        await declare(await self._up(self._publish_link), plans, str(self.address))
        self._subscriptions.update((subscription.name, subscription) for subscription in durable)

    async def publish(
        self, frame: Frame, exchange: Exchange = "events", *, due: datetime | None = None
    ) -> None:
        await self._publishing.publish(frame, exchange, due)

    async def send_later(self, subscription: str, frame: Frame, *, due: datetime | None = None) -> None:
        if subscription in self._instances:
            self._instances.send(subscription, frame, due)
            return
        queue = self.topology.suspects(subscription) if frame.suspect else self.topology.queue(subscription)
        await self._publishing.put(queue, frame, due)

    async def consume(
        self,
        subscription: Subscription,
        deliver: Deliver,
        *,
        window_frames: int = 256,
        window_bytes: int = 8 * 1024 * 1024,
    ) -> Consumer:
        def hand(delivery: Delivery, message: DeliveredMessage | None) -> None:
            deliver(delivery)

        if subscription.mode == "every_instance":

            def fresh() -> Source:
                plan = self.topology.every_instance(subscription, self._fresh())
                return Source(plan, (Reading(plan.queues[0].name, window_frames, window_bytes),))

            consumption = await self._consume(subscription.name, fresh, hand)
            self._instances.add(consumption)
            return consumption

        plan = self.topology.subscription(subscription)
        ordered = subscription.mode == "ordered"
        main, suspects = (queue.name for queue in plan.queues)
        source = Source(
            plan,
            (
                Reading(main, window_frames, window_bytes, keeps_place=ordered),
                Reading(suspects, 1, window_bytes),
            ),
        )
        consumption = await self._consume(subscription.name, lambda: source, hand)
        self._subscriptions[subscription.name] = subscription
        return consumption

    async def signal(self, frame: Frame) -> None:
        await self._asking.signal(frame)

    async def listen(self, patterns: Iterable[str], hear: Callable[[Frame], None]) -> Consumer:
        wanted = tuple(patterns)

        def fresh() -> Source:
            plan = self.topology.private(f"signals@{self._fresh()}", "signals", wanted)
            return Source(plan, (Reading(plan.queues[0].name),))

        def hand(delivery: Delivery, message: DeliveredMessage | None) -> None:
            delivery.done()
            hear(delivery.frame)

        return await self._consume("signals", fresh, hand, self._ask_link)

    async def request(self, frame: Frame, *, timeout_s: float) -> bytes:
        self._check_open()
        return await self._asking.request(frame, timeout_s)

    async def answer(self, name: str, patterns: Iterable[str], answer: Answer) -> Consumer:
        plan = self.topology.asks(name, tuple(patterns))
        source = Source(plan, (Reading(plan.queues[0].name, AT_ONCE),))
        answering = Answering(self._asking, answer, self._spawn)
        answering.consumption = await self._consume(
            f"asks.{name}", lambda: source, answering.take, self._ask_link
        )
        return answering

    async def kept(self) -> AsyncIterator[Frame]:
        self._check_open()
        async for frame in keeping.kept(self._consume_link, self._publishing, self.topology, self._fresh()):
            yield frame

    async def queue_depths(self, subscriptions: Iterable[Subscription]) -> dict[str, int]:
        """The broker tells what waits; what is in hand is counted of this transport's consumers only."""
        connection = await self._up(self._publish_link)
        depths: dict[str, int] = {}
        for subscription in subscriptions:
            if subscription.mode == "every_instance":
                continue
            queues = (self.topology.queue(subscription.name), self.topology.suspects(subscription.name))
            depths[subscription.name] = sum(
                consumption.in_hand() for consumption in self._consumptions if queues[0] in consumption.queues
            )
            for queue in queues:
                depths[subscription.name] += await self._waiting(connection, queue)
        return depths

    async def _waiting(self, connection: Connection, queue: str) -> int:
        try:
            async with passing_channel(connection, str(self.address)) as channel:
                with translated(str(self.address)):
                    answer = await channel.queue_declare(queue, passive=True, timeout=RPC_TIMEOUT_S)
        except Unavailable as error:
            if isinstance(error.__cause__, ChannelNotFoundEntity):
                return 0
            raise
        return answer.message_count or 0

    async def _consume(
        self,
        name: str,
        source: Callable[[], Source],
        hand: Callable[[Delivery, DeliveredMessage | None], None],
        link: Link | None = None,
    ) -> Consumption:
        self._check_open()
        consumption = Consumption(
            name,
            source,
            hand,
            link=link or self._consume_link,
            delays=self._delays,
            clock=self._clock,
            spawn=self._spawn,
            jitter=self._jitter,
            on_close=self._forget,
        )
        await consumption.open()
        self._consumptions.append(consumption)
        return consumption

    def _forget(self, consumption: Consumption) -> None:
        if consumption in self._consumptions:
            self._consumptions.remove(consumption)
        self._instances.remove(consumption)

    def _forward(self, delivery: Delivery, message: DeliveredMessage | None) -> None:
        async def forward() -> None:
            if message is not None:
                await self._delays.forward(delivery.frame, message)
            delivery.done()

        self._spawn(forward())

    async def _prepare(self, connection: Connection) -> None:
        """A broker may come back empty."""
        plans = [self.topology.base(), *map(self.topology.subscription, self._subscriptions.values())]
        await declare(connection, plans, str(self.address))

    async def _probe(self, channel: Channel) -> None:
        """The question that shows whether the broker lives: how much is in `retry.lost`? More than before is
        an alarm."""
        answer = await channel.queue_declare(self.topology.retry_lost, passive=True)
        count = answer.message_count or 0
        if count > self._lost_frames:
            _log.error("delayed frames have no queue any more", queue=self.topology.retry_lost, frames=count)
        self._lost_frames = count

    async def _up(self, link: Link) -> Connection:
        self._check_open()
        return await link.up()

    def _check_open(self) -> None:
        if self._closed:
            raise Unavailable(f"{self.address}: the bus is closed")

    def _fresh(self) -> str:
        """A word that was never used before, by anyone."""
        return self._entropy(8).hex()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._tasks.create_task(work)
        self._spawned.add(task)
        task.add_done_callback(self._spawned.discard)
        return task


async def _nothing(connection: Connection) -> None:
    """The other connections find everything declared."""


@asynccontextmanager
async def open_rabbitmq(
    url: str,
    *,
    clock: Clock,
    name: str = "trunkline",
    heartbeat_s: float = 10.0,
    tier_unit_ms: int = 1000,
    tiers: int = TIERS,
    namespace: str = "",
    publish_bound_s: float = 10.0,
    entropy: Callable[[int], bytes] = os.urandom,
    jitter: Callable[[], float] = random.random,
) -> AsyncIterator[RabbitTransport]:
    """A transport, ready on entry, closed within CLOSE_S on exit.

    url: see `address`; what it says of `heartbeat` and `namespace` counts unless given here. name: shown in
    the broker's list of connections. heartbeat_s: a broker that is silent for one and a half times that long
    is given up; handlers may block the loop for much longer (see `connection`). tier_unit_ms, tiers: see
    `topology`; left alone but in tests.

    Raises CannotOpen (a bad URL, refused credentials, an unknown virtual host, a certificate),
    TopologyDiffers, or Unavailable when nothing answers there.
    """
    driver = logging.getLogger("aiormq")
    if driver.level == logging.NOTSET:
        # It reports a lost connection as an error, with a traceback; `connection` says it once, in our words.
        driver.setLevel(logging.CRITICAL)
    async with task_group() as tasks:
        transport = RabbitTransport(
            url,
            clock=clock,
            name=name,
            heartbeat_s=heartbeat_s,
            tier_unit_ms=tier_unit_ms,
            tiers=tiers,
            namespace=namespace,
            publish_bound_s=publish_bound_s,
            entropy=entropy,
            jitter=jitter,
            tasks=tasks,
        )
        try:
            await transport.open()
            yield transport
        finally:
            await transport.close()
