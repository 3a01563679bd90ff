"""A consumer that keeps itself alive. Used for subscriptions, suspects, delayed publishes, asks and signals.

`Consumption` holds one `Intake` for each queue it reads. It watches them: when the connection or a channel
goes, when the broker cancels a consumer (its queue was deleted or moved), or when a look at the queue finds
no consumer although there should be one, everything is declared and consumed anew, with back-off. What was in
hand then comes back from the broker; settling it is ignored.

Order: an ordered subscription keeps its place as the one active consumer while it pauses, and takes what is
given back into its own hands, so that nothing overtakes. Others let go, so that other instances can do the
work.

Duplication: what was settled but not yet acknowledged when a connection breaks (`intake.FLUSH_S`, an eighth
of the window) comes again.
"""

from __future__ import annotations

import asyncio
from bisect import insort
from collections.abc import Callable
from contextlib import suppress

import msgspec
import structlog
from aiormq import Connection
from aiormq.abc import DeliveredMessage

from bus.clock import Clock
from bus.errors import BusError, Unavailable
from bus.rabbitmq.connection import RPC_TIMEOUT_S, Link
from bus.rabbitmq.declaring import declare, passing_channel
from bus.rabbitmq.delaying import Delays, Spawn
from bus.rabbitmq.errors import translated
from bus.rabbitmq.intake import Delivery, Intake
from bus.rabbitmq.topology import Plan
from bus.rabbitmq.window import Window

BACK_OFF_FIRST_S = 0.1
BACK_OFF_GROWTH = 1.6
BACK_OFF_MOST_S = 10.0
LOOK_EVERY_S = 15.0
BETWEEN_CHANGES_S = 0.25
WINDOW_FRAMES = 256
WINDOW_BYTES = 8 * 1024 * 1024

_log = structlog.get_logger("bus.rabbitmq")

Hand = Callable[[Delivery, DeliveredMessage | None], None]


class Reading(msgspec.Struct, frozen=True):
    """One queue of a consumer. window_frames 1 takes frames singly. keeps_place: see `intake`."""

    queue: str
    window_frames: int = WINDOW_FRAMES
    window_bytes: int = WINDOW_BYTES
    keeps_place: bool = False


class Source(msgspec.Struct, frozen=True):
    """What to declare, on the consumer's own connection, and to read. Asked for anew for every connection."""

    plan: Plan
    readings: tuple[Reading, ...]


class Consumption:
    """`bus.transport.Consumer`. `name` is for the log."""

    def __init__(
        self,
        name: str,
        source: Callable[[], Source],
        hand: Hand,
        *,
        link: Link,
        delays: Delays,
        clock: Clock,
        spawn: Spawn,
        jitter: Callable[[], float],
        on_close: Callable[[Consumption], None] | None = None,
    ) -> None:
        self.name = name
        self.paused = False
        self.closed = False
        self._source = source
        self._hand = hand
        self._link = link
        self._delays = delays
        self._clock = clock
        self._spawn = spawn
        self._jitter = jitter
        self._on_close = on_close
        self._intakes: list[Intake] = []
        self._plan = Plan()
        self._connection: Connection | None = None
        self._attention = asyncio.Event()
        self._turn = asyncio.Lock()  # attaching, tuning, pausing and closing take turns
        self._kept: list[tuple[int, Delivery, DeliveredMessage | None]] = []  # in the order of their tags
        self._hushed = False  # nothing is handed on; the pause has begun in fact
        self._handing_on = False
        self._running: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Begin; later troubles are mended here. Raises TopologyDiffers, TopicInvalid or Unavailable."""
        connection = await self._link.up()
        async with self._turn:
            try:
                await self._attach(connection)
            except BaseException:
                await self._detach()
                raise
        self._running = self._spawn(self._run())

    @property
    def queues(self) -> tuple[str, ...]:
        """The names of what is being read now."""
        return tuple(intake.queue for intake in self._intakes)

    def in_hand(self) -> int:
        return sum(intake.in_hand for intake in self._intakes if not intake.lost)

    async def pause(self) -> None:
        self.paused = True
        self._hushed = any(intake.keeps_place for intake in self._intakes)
        async with self._turn:
            if self.paused:
                for intake in self._intakes:
                    if not intake.keeps_place:
                        await intake.stop()
                self._hushed = True

    async def resume(self) -> None:
        self.paused = False
        async with self._turn:
            if not self._wanted():
                return
            self._hushed = False
            self._hand_on()
            connection = self._connection
            if connection is None or any(intake.lost for intake in self._intakes):
                self._attention.set()
                return
            try:
                # A queue that lives as long as its consumers went with the last of them.
                await declare(connection, [self._plan], self.name)
                for intake in self._intakes:
                    await intake.start()
            except BusError as error:
                _log.warning("cannot resume, beginning again", consumer=self.name, error=str(error))
                self._begin_again()

    async def close(self) -> None:
        if self.closed:
            return
        self.closed = True
        self._attention.set()
        if self._on_close is not None:
            self._on_close(self)
        async with self._turn:
            await self._detach()
        if self._running is not None and self._running is not asyncio.current_task():
            self._running.cancel()

    def _over(self) -> bool:
        return self.closed

    def _wanted(self) -> bool:
        return not self.paused and not self.closed

    async def _run(self) -> None:
        failures = 0
        while not self._over():
            try:
                if self._connection is None:
                    connection = await self._link.up()
                    async with self._turn:
                        await self._attach(connection)
                    _log.info("consuming again", consumer=self.name)
                failures = 0
                await self._watch()
            except Unavailable as error:
                if self._over() or self._link.closed:
                    return
                _log.warning("cannot consume, trying again", consumer=self.name, error=str(error))
            except BusError as error:
                _log.error("cannot consume, trying again", consumer=self.name, error=str(error))
            async with self._turn:
                await self._detach()
            most_s = min(BACK_OFF_FIRST_S * BACK_OFF_GROWTH**failures, BACK_OFF_MOST_S)
            failures = min(failures + 1, 12)
            await self._clock.sleep(most_s * (0.5 + 0.5 * self._jitter()))

    async def _watch(self) -> None:
        """Return when it has to be attached again."""
        seen = -1
        while not self._over():
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY_S):
                    await self._attention.wait()
            looking = not self._attention.is_set()
            self._attention.clear()
            if self._over() or any(intake.lost for intake in self._intakes):
                return
            if self._link.blocked:
                continue  # the broker would not answer; nothing is wrong with that
            if not looking:
                async with self._turn:
                    for intake in self._intakes:
                        if not self.paused and intake.wants_tuning:
                            await intake.tune()
                await self._clock.sleep(BETWEEN_CHANGES_S)
            elif not self.paused:
                count = sum(intake.deliveries for intake in self._intakes)
                if count == seen and not await self._consumed():
                    _log.warning("the broker has lost the consumer", consumer=self.name)
                    return
                seen = count

    async def _consumed(self) -> bool:
        """Whether the broker knows of a consumer of each queue that is read."""
        assert self._connection is not None
        async with passing_channel(self._connection, self.name) as channel:
            for intake in self._intakes:
                with translated(self.name):
                    answer = await channel.queue_declare(intake.queue, passive=True, timeout=LOOK_EVERY_S)
                if intake.consuming and not answer.consumer_count:
                    return False
        return True

    async def _attach(self, connection: Connection) -> None:
        if self.closed:
            return
        source = self._source()
        self._plan = source.plan
        self._attention.clear()
        await declare(connection, [source.plan], self.name)
        self._connection = connection
        for reading in source.readings:
            intake = Intake(
                reading.queue,
                self._take,
                Window(reading.window_frames, reading.window_bytes),
                keeps_place=reading.keeps_place,
                delays=self._delays,
                clock=self._clock,
                spawn=self._spawn,
                attention=self._attention,
            )
            await intake.open(connection)
            self._intakes.append(intake)
            if not self.paused:
                await intake.start()

    async def _detach(self) -> None:
        intakes, self._intakes = self._intakes, []
        connection, self._connection = self._connection, None
        self._kept.clear()
        for intake in intakes:
            await intake.close()
        if connection is not None and not connection.is_closed:
            await _delete_private(connection, self._plan, self.name)

    def _begin_again(self) -> None:
        for intake in self._intakes:
            intake.give_up()

    def _take(self, delivery: Delivery, message: DeliveredMessage | None) -> None:
        """From an intake (without a message: given back to it): hand it on, unless this consumer pauses or
        something comes before it."""
        if self.closed:
            return
        if message is not None and not self._hushed and not self._kept:
            self._hand(delivery, message)
            return
        insort(self._kept, (delivery.tag, delivery, message), key=_by_tag)
        if not self._hushed and not self._handing_on:
            self._handing_on = True
            asyncio.get_running_loop().call_soon(self._hand_on)

    def _hand_on(self) -> None:
        self._handing_on = False
        while self._kept and not self._hushed and not self.closed:
            _, delivery, message = self._kept.pop(0)
            self._hand(delivery, message)


async def _delete_private(connection: Connection, plan: Plan, name: str) -> None:
    """Exclusive queues would go on filling until the connection closes."""
    private = [queue.name for queue in plan.queues if queue.exclusive]
    if private:
        with suppress(BusError):
            async with passing_channel(connection, name) as channel:
                for queue in private:
                    with translated(name):
                        await channel.queue_delete(queue, timeout=RPC_TIMEOUT_S)


def _by_tag(kept: tuple[int, Delivery, DeliveredMessage | None]) -> int:
    return kept[0]
