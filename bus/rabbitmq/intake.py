"""One channel on which one queue is consumed: prefetch, deliveries, acknowledgements. Used by `consuming`.

An intake lives as long as its channel and is never repaired: when `lost` is set, its owner makes another.
Deliveries of a lost one are ignored when they are settled; the broker delivers them again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import structlog
from aiormq import Connection
from aiormq.abc import DeliveredMessage
from aiormq.channel import Channel

from bus.clock import Clock
from bus.errors import BusError
from bus.rabbitmq import wire
from bus.rabbitmq.connection import RPC_TIMEOUT_S, open_channel
from bus.rabbitmq.delaying import Delays, Spawn
from bus.rabbitmq.errors import translated
from bus.rabbitmq.settling import Ledger
from bus.rabbitmq.window import Window
from bus.transport import Frame

FLUSH_S = 0.02
SINGLY_AFTER_S = 0.5
STOP_TIMEOUT_S = 5.0

_log = structlog.get_logger("bus.rabbitmq")


class Delivery:
    """`bus.transport.Delivered`."""

    __slots__ = ("_intake", "_settled", "_tag", "frame", "returned")

    def __init__(self, intake: Intake, tag: int, frame: Frame, returned: int) -> None:
        self.frame = frame
        self.returned = returned
        self._intake = intake
        self._tag = tag
        self._settled = False

    def done(self) -> None:
        if not self._settled:
            self._settled = True
            self._intake.settle(self._tag)

    def give_back(self) -> None:
        if not self._settled:
            self._settled = True
            self._intake.take_back(self._tag, self)

    @property
    def tag(self) -> int:
        return self._tag


Hand = Callable[[Delivery, DeliveredMessage | None], None]


class Intake:
    """queue: consumed from `start` to `stop`. hand: what takes a delivery. keeps_place: for the one active
    consumer of an ordered subscription: the prefetch is fixed, and what is given back is handed on again from
    here. attention: set when the owner should look: `lost`, or `wants_tuning`."""

    def __init__(
        self,
        queue: str,
        hand: Hand,
        window: Window,
        *,
        keeps_place: bool,
        delays: Delays,
        clock: Clock,
        spawn: Spawn,
        attention: asyncio.Event,
    ) -> None:
        self.queue = queue
        self.window = window
        self.keeps_place = keeps_place
        self.lost = False
        self._hand = hand
        self._delays = delays
        self._clock = clock
        self._spawn = spawn
        self._attention = attention
        self._loop = asyncio.get_running_loop()
        self._ledger = Ledger()
        self._prefetch = 0
        self._tags: list[str] = []
        self._wake = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._settled_singly_at = clock.monotonic()
        self._closing = False
        self._own_tasks: set[asyncio.Task[None]] = set()
        self.deliveries = 0

    @property
    def in_hand(self) -> int:
        return self._ledger.in_hand

    @property
    def consuming(self) -> bool:
        return bool(self._tags)

    async def open(self, connection: Connection) -> None:
        """Raises Unavailable."""
        with translated(self.queue):
            channel = await open_channel(connection, confirms=False, buffer=300)
        self._channel: Channel = channel
        channel.on_consumer_cancel_callbacks.add(self._on_cancelled)
        self._gone = channel.closing
        self._gone.add_done_callback(self._on_closed)
        self._own(self._flush())

    async def start(self) -> None:
        """Consume. Raises Unavailable."""
        if not self._tags:
            await self._consume(self.window.frames)

    async def stop(self) -> None:
        """Consume no more; what was delivered stays in hand. When the broker does not say so in time, the
        intake is lost."""
        tags, self._tags, self._prefetch = self._tags, [], 0
        for tag in tags:
            try:
                with translated(self.queue):
                    await self._channel.basic_cancel(tag, timeout=STOP_TIMEOUT_S)
            except BusError as error:
                _log.warning("cannot stop consuming", queue=self.queue, error=str(error))
                self.give_up()
                return

    @property
    def wants_tuning(self) -> bool:
        return not self.keeps_place and bool(self._tags) and self.window.wants(self._prefetch) is not None

    async def tune(self) -> None:
        """Follow the mean size. A prefetch belongs to a consumer for good, and a limit for the whole channel
        is deprecated: so more is one more consumer, and less is beginning anew. Raises Unavailable."""
        frames = self.window.wants(self._prefetch)
        if frames is None or self.keeps_place or not self._tags:
            return
        if frames < self._prefetch:
            await self.stop()
            await self._consume(max(1, min(frames, self.window.most_frames - self.in_hand)))
        else:
            await self._consume(frames - self._prefetch)

    async def close(self) -> None:
        """Acknowledge what is settled; the rest goes back to the queue. Never raises."""
        self._closing = True
        if not self.lost:
            if not self.keeps_place:
                # One that keeps its place must not lose it before the broker has its frames back, in order.
                await self.stop()
            with suppress(BusError), translated(self.queue):
                await self._send(singly=True)
        self.give_up()
        with suppress(BusError), translated(self.queue):
            await self._channel.close(timeout=STOP_TIMEOUT_S)

    def settle(self, tag: int) -> None:
        if self.lost:
            return
        ledger = self._ledger
        ledger.done(tag)
        if ledger.in_hand == 0 or ledger.waiting >= max(1, self._prefetch // 8):
            self._wake.set()
        elif self._timer is None:
            self._timer = self._loop.call_later(FLUSH_S, self._wake.set)

    def take_back(self, tag: int, delivery: Delivery) -> None:
        if self.lost:
            return
        if self.keeps_place and not self._closing:
            self._hand(Delivery(self, tag, delivery.frame, delivery.returned + 1), None)
        else:
            self._ledger.give_back(tag)
            self._wake.set()

    async def _consume(self, prefetch: int) -> None:
        with translated(self.queue):
            await self._channel.basic_qos(prefetch_count=prefetch, timeout=RPC_TIMEOUT_S)
            answer = await self._channel.basic_consume(self.queue, self._on_message, timeout=RPC_TIMEOUT_S)
        self._tags.append(answer.consumer_tag or "")
        self._prefetch += prefetch

    async def _on_message(self, message: DeliveredMessage) -> None:
        tag = message.delivery_tag
        if self.lost or self._closing or tag is None:
            return
        self.deliveries += 1
        self._ledger.take(tag)
        self.window.note(len(message.body))
        if self.wants_tuning:
            self._attention.set()
        due_ms = wire.due_ms_of(message)
        if due_ms is not None and self._delays.remaining_ms(due_ms) > 0:
            self._own(self._ripen(message, tag, due_ms))
        else:
            self._hand_over(message, tag)

    def _hand_over(self, message: DeliveredMessage, tag: int) -> None:
        delivery = Delivery(self, tag, wire.read(message), wire.returned(message))
        try:
            self._hand(delivery, message)
        except Exception:
            # A frame that nobody settles would hold its place in the window for ever.
            _log.exception("a frame could not be handed over; it is delivered again", queue=self.queue)
            delivery.give_back()

    async def _ripen(self, message: DeliveredMessage, tag: int, due_ms: int) -> None:
        due = await self._delays.ripen(self.queue, message, due_ms)
        if self.lost or self._closing:
            return
        if due:
            self._hand_over(message, tag)
        else:
            self.settle(tag)

    async def _flush(self) -> None:
        with suppress(BusError), translated(self.queue):
            while True:
                await self._wake.wait()
                self._wake.clear()
                if self._timer is not None:
                    self._timer.cancel()
                    self._timer = None
                now_s = self._clock.monotonic()
                late = now_s - self._settled_singly_at >= SINGLY_AFTER_S
                singly = late or self._ledger.out_of_order >= max(1, self._prefetch // 4)
                if singly:
                    self._settled_singly_at = now_s
                await self._send(singly=singly)
                if self._ledger.out_of_order and self._timer is None:
                    self._timer = self._loop.call_later(SINGLY_AFTER_S, self._wake.set)
        self.give_up()

    async def _send(self, *, singly: bool) -> None:
        settlement = self._ledger.settle(singly=singly)
        channel = self._channel
        if settlement.up_to:
            await channel.basic_ack(settlement.up_to, multiple=True, wait=False)
        for tag in settlement.singly:
            await channel.basic_ack(tag, wait=False)
        for tag in settlement.back:
            await channel.basic_nack(tag, requeue=True, wait=False)

    def _own(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._spawn(work)
        self._own_tasks.add(task)
        task.add_done_callback(self._own_tasks.discard)

    async def _on_cancelled(self, frame: object) -> None:
        _log.warning("the broker cancelled a consumer", queue=self.queue)
        self.give_up()

    def _on_closed(self, gone: asyncio.Future[None]) -> None:
        if not gone.cancelled():
            gone.exception()
        self.give_up()

    def give_up(self) -> None:
        """It is lost from now on: the channel is as good as gone."""
        if self.lost:
            return
        self.lost = True
        self._tags = []
        if self._timer is not None:
            self._timer.cancel()
        for task in self._own_tasks:
            task.cancel()
        self._gone.cancel()
        self._attention.set()
