"""The every_instance consumers of this process, and what is delivered to them later.

Their queues die with the process, and so may what waits to go back into one: it waits here, in memory,
bounded.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime

from bus.clock import Clock
from bus.errors import Backpressure, NotRouted, Unavailable
from bus.rabbitmq.consuming import Consumption
from bus.rabbitmq.delaying import Spawn
from bus.rabbitmq.publishing import Publishing
from bus.transport import Frame

MOST_WAITING = 10_000


class Instances:
    """Of several consumers of one subscription in this process the oldest gets what is sent later."""

    def __init__(self, publishing: Publishing, clock: Clock, spawn: Spawn) -> None:
        self._publishing = publishing
        self._clock = clock
        self._spawn = spawn
        self._consumers: dict[str, list[Consumption]] = {}
        self._waiting = 0

    def add(self, consumer: Consumption) -> None:
        self._consumers.setdefault(consumer.name, []).append(consumer)

    def remove(self, consumer: Consumption) -> None:
        """Also when it is none of them."""
        consumers = self._consumers.get(consumer.name, [])
        if consumer in consumers:
            consumers.remove(consumer)

    def __contains__(self, subscription: str) -> bool:
        return bool(self._consumers.get(subscription))

    def send(self, subscription: str, frame: Frame, due: datetime | None) -> None:
        """Returns at once. Raises Backpressure when MOST_WAITING frames wait already."""
        consumer = self._consumers[subscription][0]
        if self._waiting >= MOST_WAITING:
            raise Backpressure(f"{subscription}: {MOST_WAITING} delayed frames wait in this process")
        self._waiting += 1
        self._spawn(self._put(consumer, frame, due))

    async def _put(self, consumer: Consumption, frame: Frame, due: datetime | None) -> None:
        try:
            if due is not None:
                await self._clock.sleep((due - self._clock.now()).total_seconds())
            for queue in consumer.queues:
                with suppress(NotRouted, Unavailable):
                    await self._publishing.put(queue, frame)
        finally:
            self._waiting -= 1
