"""Asks: one request, one reply, a deadline. Nothing is stored, and nothing is sent twice.

A request goes to the exchange `asks` as mandatory and transient, and expires with its deadline; what no queue
takes comes back at once. The reply comes on this process's own queue, freshly named for each connection.
Those who answer share a queue that goes with the last of them. A request that the broker delivers a second
time (who had it died) is not answered: asks are not retried by the bus.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable

import structlog
from aio_pika import DeliveryMode
from aiormq import Connection
from aiormq.abc import DeliveredMessage
from aiormq.channel import Channel
from pamqp.commands import Basic

from bus.errors import BusError, DeadlinePassed, NobodyAnswers, NotRouted, Unavailable
from bus.rabbitmq import wire
from bus.rabbitmq.connection import RPC_TIMEOUT_S, Link, open_channel
from bus.rabbitmq.consuming import Consumption
from bus.rabbitmq.declaring import declare_on
from bus.rabbitmq.delaying import Spawn
from bus.rabbitmq.errors import translated
from bus.rabbitmq.intake import Delivery
from bus.rabbitmq.topology import Topology
from bus.transport import Answer, Frame

AT_ONCE = 256
"""Requests that one process answers concurrently, for each queue of asks."""

_log = structlog.get_logger("bus.rabbitmq")


class _Desk:
    """Where replies come in, as long as one connection lasts. A channel for requests and one for what needs
    no confirm."""

    def __init__(self, channel: Channel, plain: Channel, reply_to: str) -> None:
        self.channel = channel
        self.plain = plain
        self.reply_to = reply_to
        self.waiting: dict[str, asyncio.Future[bytes]] = {}
        self._gone = channel.closing
        self._gone.add_done_callback(self._on_closed)

    @property
    def closed(self) -> bool:
        return self.channel.is_closed or self.plain.is_closed

    async def on_reply(self, message: DeliveredMessage) -> None:
        reply = self.waiting.pop(message.header.properties.correlation_id or "", None)
        if reply is not None and not reply.done():
            reply.set_result(message.body)

    def _on_closed(self, gone: asyncio.Future[None]) -> None:
        if not gone.cancelled():
            gone.exception()
        for reply in self.waiting.values():
            if not reply.done():
                reply.set_exception(Unavailable("the connection was lost before the reply came"))
        self.waiting.clear()


class Asking:
    """The asking side, and the sending of signals and replies, which share its channels. `fresh` gives unused
    words."""

    def __init__(self, link: Link, topology: Topology, fresh: Callable[[], str]) -> None:
        self._link = link
        self._topology = topology
        self._fresh = fresh
        self._numbers = itertools.count()
        self._opening = asyncio.Lock()
        self._desk: _Desk | None = None

    async def request(self, frame: Frame, timeout_s: float) -> bytes:
        """Promise 7 of `bus.transport`."""
        wire.check_size(frame)
        topic = frame.topics[0]
        try:
            async with asyncio.timeout(timeout_s):
                return await self._request(frame, timeout_s)
        except TimeoutError:
            raise DeadlinePassed(f"ask {topic} got no reply within {timeout_s:g} s") from None
        except NotRouted:
            raise NobodyAnswers(f"nobody answers {topic}") from None

    async def _request(self, frame: Frame, timeout_s: float) -> bytes:
        desk = await self._at_desk()
        correlation = f"{next(self._numbers):x}"
        reply: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        desk.waiting[correlation] = reply
        properties = wire.routed(frame, correlation, lasting=False)
        properties.correlation_id = correlation
        properties.reply_to = desk.reply_to
        properties.expiration = str(max(1, int(timeout_s * 1000)))
        try:
            with translated(str(self._link.address)):
                await desk.channel.basic_publish(
                    frame.body,
                    exchange=self._topology.exchange("asks"),
                    routing_key=frame.topics[0],
                    properties=properties,
                    mandatory=True,
                    wait=False,
                )
            return await reply
        finally:
            desk.waiting.pop(correlation, None)
            if reply.done() and not reply.cancelled():
                reply.exception()  # seen, also when the publish failed with the same connection

    async def reply(self, to: str, correlation: str, body: bytes) -> None:
        """To one who asked. Whether anybody still waits is not known. Raises Unavailable."""
        properties = Basic.Properties(correlation_id=correlation, delivery_mode=DeliveryMode.NOT_PERSISTENT)
        await self._send("", to, body, properties)

    async def signal(self, frame: Frame) -> None:
        """Dropped while there is no connection: it is not worth remembering."""
        wire.check_size(frame)
        if not self._link.ready or self._link.blocked:
            return
        try:
            await self._send(
                self._topology.exchange("signals"),
                frame.topics[0],
                frame.body,
                wire.routed(frame, "", lasting=False),
            )
        except Unavailable as error:
            _log.debug("a signal was dropped", error=str(error))

    async def _send(self, exchange: str, key: str, body: bytes, properties: Basic.Properties) -> None:
        desk = await self._at_desk()
        with translated(str(self._link.address)):
            await desk.plain.basic_publish(
                body, exchange=exchange, routing_key=key, properties=properties, wait=False
            )

    async def _at_desk(self) -> _Desk:
        if self._desk is not None and not self._desk.closed:
            return self._desk
        async with self._opening:
            if self._desk is None or self._desk.closed:
                self._desk = await self._open(await self._link.up())
            return self._desk

    async def _open(self, connection: Connection) -> _Desk:
        what = str(self._link.address)
        plan = self._topology.private(f"replies@{self._fresh()}", "asks", ())
        with translated(what):
            channel = await open_channel(connection, confirms=True)
            plain = await open_channel(connection, confirms=False)
            await declare_on(channel, plan, what)
            desk = _Desk(channel, plain, plan.queues[0].name)
            await plain.basic_consume(desk.reply_to, desk.on_reply, no_ack=True, timeout=RPC_TIMEOUT_S)
        return desk


class Answering:
    """`bus.transport.Consumer` of asks: runs the answers, each in a task of its own, and sends what they
    return."""

    def __init__(self, asking: Asking, answer: Answer, spawn: Spawn) -> None:
        self.consumption: Consumption | None = None
        self._asking = asking
        self._answer = answer
        self._spawn = spawn
        self._in_hand = 0
        self._idle = asyncio.Event()
        self._idle.set()

    def take(self, delivery: Delivery, message: DeliveredMessage | None) -> None:
        """From `Consumption`."""
        to = None if message is None else message.header.properties.reply_to
        if message is None or not to or delivery.returned:
            delivery.done()
            return
        self._in_hand += 1
        self._idle.clear()
        self._spawn(self._reply(delivery, to, message.header.properties.correlation_id or ""))

    async def pause(self) -> None:
        if self.consumption is not None:
            await self.consumption.pause()

    async def resume(self) -> None:
        if self.consumption is not None:
            await self.consumption.resume()

    async def close(self) -> None:
        if self.consumption is not None:
            await self.consumption.pause()
            await self._idle.wait()
            await self.consumption.close()

    async def _reply(self, delivery: Delivery, to: str, correlation: str) -> None:
        try:
            body = await self._answer(delivery.frame)
            await self._asking.reply(to, correlation, body)
        except BusError as error:
            _log.warning("a reply was lost", ask=delivery.frame.topics[0], error=str(error))
        except Exception:
            # The one who asks waits in vain till the deadline; the others must not be taken down with it.
            _log.exception("answering failed", ask=delivery.frame.topics[0])
        finally:
            delivery.done()
            self._in_hand -= 1
            if self._in_hand == 0:
                self._idle.set()
