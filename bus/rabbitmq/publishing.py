"""Frames out: published, confirmed, matched with what the broker returned. Also the way through the tiers.

Called by the transport, and by consumers for frames that are to be delivered later. `publish` returns when
the broker has confirmed: the frame is then on disk in every quorum queue that took it. Up to WINDOW frames
are unconfirmed at once; the broker confirms them in groups. Every attempt has a message id of its own, since
the driver finds a returned message by it: two attempts under one id would take each other's answer.

An unconfirmed frame whose connection is lost is *not* sent again here: it may have arrived, and only the
caller can publish it again with the same event ids. It raises Unavailable.
"""

from __future__ import annotations

import asyncio
import itertools
from datetime import datetime

from aio_pika import DeliveryMode
from aiormq import Connection
from aiormq.channel import Channel
from aiormq.exceptions import ChannelNotFoundEntity
from pamqp.commands import Basic

from bus.clock import Clock
from bus.errors import Backpressure, BusError, NotRouted, Unavailable
from bus.message import Exchange
from bus.rabbitmq import wire
from bus.rabbitmq.connection import Link, is_blocked, open_channel
from bus.rabbitmq.errors import is_lost, really_cancelled, translate
from bus.rabbitmq.topology import Topology
from bus.transport import Frame

WINDOW = 256


class Publishing:
    """bound_s: after how long a publish that is neither confirmed nor refused raises Unavailable, or
    Backpressure when the broker blocks publishers; waiting for the connection to come back is part of it."""

    def __init__(
        self, link: Link, topology: Topology, clock: Clock, *, bound_s: float, message_ids: str
    ) -> None:
        self._link = link
        self._topology = topology
        self._clock = clock
        self._bound_s = bound_s
        self._message_ids = message_ids  # unlike any other process's
        self._numbers = itertools.count()
        self._window = asyncio.Semaphore(WINDOW)
        self._opening = asyncio.Lock()
        self._channel: Channel | None = None
        self._connection: Connection | None = None

    async def publish(self, frame: Frame, exchange: Exchange, due: datetime | None) -> None:
        """Promise 1 of `bus.transport`."""
        wire.check_size(frame)
        if due is not None:
            await self._later(self._topology.retry_due, frame, due, self._topology.exchange(exchange))
            return
        await self._send(
            frame.body,
            self._topology.exchange(exchange),
            frame.topics[0],
            wire.routed(frame, self._message_id()),
        )

    async def publish_due(self, frame: Frame, exchange: str) -> None:
        """The last step of a delayed publish. What no queue takes is kept in `retry.lost`."""
        try:
            await self._send(frame.body, exchange, frame.topics[0], wire.routed(frame, self._message_id()))
        except NotRouted:
            await self.put(self._topology.retry_lost, frame)

    async def put(self, queue: str, frame: Frame, due: datetime | None = None) -> None:
        """Into this one queue: now, or at `due`. NotRouted when there is no such queue."""
        wire.check_size(frame)
        if due is not None:
            await self._later(queue, frame, due, None)
            return
        await self._send(frame.body, "", queue, wire.addressed(frame, self._message_id()))

    async def hop(self, queue: str, body: bytes, properties: Basic.Properties, key: str) -> None:
        """What came out of a tier before its time goes into the next one, as it is."""
        headers = {
            name: value for name, value in (properties.headers or {}).items() if not name.startswith("x-")
        }
        await self._send(
            body,
            self._topology.retry,
            key,
            Basic.Properties(
                content_type=properties.content_type,
                headers=headers,
                delivery_mode=DeliveryMode.PERSISTENT,
                message_id=self._message_id(),
            ),
        )

    async def _later(self, queue: str, frame: Frame, due: datetime, exchange: str | None) -> None:
        remaining_ms = (due - self._clock.now()).total_seconds() * 1000
        key = self._topology.tier_key(queue, remaining_ms)
        properties = wire.addressed(frame, self._message_id(), due=due, exchange=exchange)
        if key is None:
            await self._send(frame.body, "", queue, properties)
        else:
            await self._send(frame.body, self._topology.retry, key, properties)

    async def _send(self, body: bytes, exchange: str, key: str, properties: Basic.Properties) -> None:
        try:
            async with asyncio.timeout(self._bound_s), self._window:
                channel, connection = self._channel, self._connection
                if channel is None or channel.is_closed or self._link.connection is not connection:
                    channel = await self._open()
                elif connection is not None and is_blocked(connection):
                    await connection.ready()
                # wait=False: not for the socket to drain, which would hold up those behind; the confirm is
                # waited for.
                await channel.basic_publish(
                    body,
                    exchange=exchange,
                    routing_key=key,
                    properties=properties,
                    mandatory=True,
                    wait=False,
                )
        except asyncio.CancelledError:
            if really_cancelled():
                raise
            raise Unavailable(f"{self._link.address}: the connection was lost before it confirmed") from None
        except TimeoutError:
            raise self._late() from None
        except BusError:
            raise
        except Exception as error:
            if not is_lost(error):
                raise
            raise self._why_not(error) from error

    async def _open(self) -> Channel:
        async with self._opening:
            connection = await self._link.up()
            if is_blocked(connection):
                await connection.ready()
            if self._channel is None or self._channel.is_closed or self._connection is not connection:
                self._channel = await open_channel(connection, confirms=True, buffer=WINDOW)
                self._connection = connection
            return self._channel

    def _late(self) -> BusError:
        if self._link.blocked:
            return Backpressure(
                f"{self._link.address}: the broker blocks publishers since over {self._bound_s:g} s:"
                " it is short of memory or disk"
            )
        return Unavailable(f"{self._link.address}: no confirmation within {self._bound_s:g} s")

    def _why_not(self, error: BaseException) -> BusError:
        if isinstance(error, ChannelNotFoundEntity):
            # Somebody deleted an exchange. A new connection declares everything again.
            self._link.renew()
        return translate(str(self._link.address), error)

    def _message_id(self) -> str:
        return f"{self._message_ids}{next(self._numbers):x}"
