"""Frames that came to a consumer before their due time, and delayed publishes.

A tier holds a frame for its own time, not for the frame's: on its return a frame that is not due goes into
the next tier (confirmed, then acknowledged: a crash in between makes a duplicate, never a loss). The last
moments, in which another tier would be too long, it waits in the consumer's hand. Every process forwards
delayed publishes from the shared queue `retry.due` to the exchange they were meant for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import structlog
from aiormq.abc import DeliveredMessage

from bus.clock import Clock
from bus.errors import BusError
from bus.rabbitmq import wire
from bus.rabbitmq.publishing import Publishing
from bus.rabbitmq.topology import Topology
from bus.transport import Frame

AGAIN_S = 1.0
HOLD_MOST_MS = 250

_log = structlog.get_logger("bus.rabbitmq")

Spawn = Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]


class Delays:
    """Shared by all consumers of a transport."""

    def __init__(self, publishing: Publishing, topology: Topology, clock: Clock) -> None:
        self._publishing = publishing
        self._topology = topology
        self._clock = clock
        self._hold_ms = min(HOLD_MOST_MS, topology.tier_unit_ms / 4)

    def remaining_ms(self, due_ms: int) -> float:
        return due_ms - self._clock.now().timestamp() * 1000

    async def ripen(self, queue: str, message: DeliveredMessage, due_ms: int) -> bool:
        """Return when the frame is due (True: deliver it) or on its way through another tier (False:
        acknowledge it)."""
        remaining_ms = self.remaining_ms(due_ms)
        if remaining_ms <= self._hold_ms:
            await self._clock.sleep(remaining_ms / 1000)
            return True
        while (key := self._topology.tier_key(queue, self.remaining_ms(due_ms))) is not None:
            try:
                await self._publishing.hop(queue, message.body, message.header.properties, key)
            except BusError as error:
                _log.warning("a delayed frame waits in hand", queue=queue, error=str(error))
                await self._clock.sleep(AGAIN_S)
            else:
                return False
        return True

    async def forward(self, frame: Frame, message: DeliveredMessage) -> None:
        """Publish what is due. Returns when it is confirmed, however long that takes."""
        exchange = wire.exchange_of(message) or self._topology.exchange("events")
        while True:
            try:
                await self._publishing.publish_due(frame, exchange)
            except BusError as error:
                _log.warning("a delayed frame waits in hand", topic=frame.topics[0], error=str(error))
                await self._clock.sleep(AGAIN_S)
            else:
                return
