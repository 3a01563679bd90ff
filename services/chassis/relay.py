"""Outgoing facts of an edge: they reach the bus, or a spool on disk until the bus is back, in order.

`send` returns once the fact is safe (confirmed by the bus, or fsynced). `send_soon` returns at once and sends
after; what it holds is bounded in bytes, and what does not fit, or what a full spool refuses, is counted by
key and reported as a fact when there is room again. Bodies are cut into chunks and go first, confirmed, so
that nobody reads of a body that is not there.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import structlog

from bus.connect import Bus
from bus.errors import BusError, Unavailable
from bus.event import Event
from bus.ids import derived
from bus.message import Exchange, Fact
from bus.spool import Spool
from bus.tasks import task_group
from schemas.request_vault import BodyChunk

CHUNK_BYTES = 256 * 1024
PUBLISH_TIMEOUT_S = 2.0
DRAIN_TIMEOUT_S = 30.0  # nobody waits for it, and giving up repeats the whole segment
GROUP_ITEMS = 256
GROUP_BYTES = 4 * 1024 * 1024
RETRY_FIRST_S = 0.2
RETRY_MOST_S = 5.0
ADOPT_EVERY_S = 30.0

Body = tuple[str, bytes]
Lost = Callable[[str, int, datetime], Fact]

_log = structlog.get_logger("relay")


@dataclass(frozen=True)
class _Item:
    event: Event
    bodies: tuple[Body, ...]
    size_bytes: int


class Relay:
    """Made by `Relay.open`. `lost(key, count, since)` makes the fact that reports what could not be kept."""

    def __init__(self, bus: Bus, spool: Spool, lost: Lost, max_waiting_bytes: int) -> None:
        self._bus = bus
        self._spool = spool
        self._lost_fact = lost
        self._max_waiting_bytes = max_waiting_bytes
        self._waiting: deque[_Item] = deque()
        self._waiting_bytes = 0
        self._arrived = asyncio.Event()
        self._lost: dict[str, tuple[int, datetime]] = {}
        self._closing = False

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        bus: Bus,
        spool_dir: Path,
        *,
        lost: Lost,
        max_spool_bytes: int = 1024**3,
        max_waiting_bytes: int = 64 * 1024 * 1024,
    ) -> AsyncIterator[Relay]:
        """On exit what waits is sent, or spooled."""
        async with Spool.open(spool_dir, max_bytes=max_spool_bytes) as spool, task_group() as tasks:
            relay = cls(bus, spool, lost, max_waiting_bytes)
            sender = tasks.create_task(relay._send_waiting())
            background = [tasks.create_task(relay._drain_spool()), tasks.create_task(relay._adopt())]
            try:
                yield relay
            finally:
                relay._closing = True
                relay._arrived.set()
                await sender
                for task in background:
                    task.cancel()

    @property
    def spooled_bytes(self) -> int:
        return self._spool.size_bytes

    async def send(
        self, fact: Fact, *, key: str, subject: str | None = None, bodies: Sequence[Body] = ()
    ) -> None:
        """Return once the fact and its bodies are safe. Raises Unavailable (SpoolFull) when neither bus nor
        spool took it."""
        await self._keep([self._item(fact, key, subject, bodies)])

    def send_soon(
        self, fact: Fact, *, key: str, subject: str | None = None, bodies: Sequence[Body] = ()
    ) -> None:
        """Return at once; the fact is sent after."""
        item = self._item(fact, key, subject, bodies)
        if self._waiting_bytes + item.size_bytes > self._max_waiting_bytes:
            self._count_lost([item])
            return
        self._waiting.append(item)
        self._waiting_bytes += item.size_bytes
        self._arrived.set()

    def _item(self, fact: Fact, key: str, subject: str | None, bodies: Sequence[Body]) -> _Item:
        event = self._bus.envelop(fact, key=key, subject=subject)
        size = len(memoryview(event.data)) + sum(len(data) for _, data in bodies)
        return _Item(event, tuple(bodies), size)

    async def _send_waiting(self) -> None:
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._waiting:
                group = self._take_group()
                try:
                    await self._keep_or_count(group)
                finally:
                    self._waiting_bytes -= sum(item.size_bytes for item in group)
            await self._report_lost()
            if self._closing and not self._waiting:  # something may have come while the losses were told
                return

    async def _keep_or_count(self, group: list[_Item]) -> None:
        """What cannot be kept is counted; one item that is at fault takes no other with it."""
        try:
            await self._keep(group)
        except BusError as error:
            if len(group) > 1 and not isinstance(error, Unavailable):
                for item in group:
                    await self._keep_or_count([item])
                return
            _log.error("not kept", count=len(group), error=str(error))
            self._count_lost(group)

    def _take_group(self) -> list[_Item]:
        group = [self._waiting.popleft()]
        size = group[0].size_bytes
        while self._waiting and len(group) < GROUP_ITEMS and size < GROUP_BYTES:
            group.append(self._waiting.popleft())
            size += group[-1].size_bytes
        return group

    async def _keep(self, group: list[_Item]) -> None:
        chunks = [
            chunk for item in group for body in item.bodies for chunk in self._chunks(item.event.key, body)
        ]
        events = [item.event for item in group]
        if self._spool.empty and self._bus.transport.state() == "ready":
            try:
                await self._bus.emit(*chunks, exchange="bodies", timeout_s=PUBLISH_TIMEOUT_S)
                await self._bus.emit(*events, timeout_s=PUBLISH_TIMEOUT_S)
                return
            except Unavailable as error:
                _log.warning("the bus is away; spooling", error=str(error))
        await self._spool.put(chunks, "bodies")
        await self._spool.put(events)

    def _chunks(self, bucket: str, body: Body) -> list[Event]:
        sha256, data = body
        count = max(1, -(-len(data) // CHUNK_BYTES))
        return [
            self._bus.envelop(
                BodyChunk(bucket, sha256, i, count, len(data), data[i * CHUNK_BYTES : (i + 1) * CHUNK_BYTES]),
                key=bucket,
                subject=sha256,
                id=derived("body", bucket, sha256, str(i)),
            )
            for i in range(count)
        ]

    async def _drain_spool(self) -> None:
        pause_s = RETRY_FIRST_S
        while True:
            await self._spool.filled.wait()
            try:
                async with asyncio.timeout(RETRY_MOST_S):
                    await self._bus.transport.wait_ready()
                await self._spool.drain(self._take)
                _log.info("the spool is empty again")
                pause_s = RETRY_FIRST_S
                self._arrived.set()  # there is room to tell what was lost
            except (BusError, TimeoutError) as error:
                if not isinstance(error, Unavailable | TimeoutError):
                    _log.error("the bus refuses what is spooled, trying again", error=str(error))
                await self._bus.clock.sleep(pause_s)
                pause_s = min(pause_s * 2, RETRY_MOST_S)

    async def _take(self, events: list[Event], exchange: Exchange) -> None:
        await self._bus.emit(*events, exchange=exchange, timeout_s=DRAIN_TIMEOUT_S)

    async def _adopt(self) -> None:
        while True:
            await self._bus.clock.sleep(ADOPT_EVERY_S)
            try:
                await self._spool.adopt()
            except Unavailable as error:
                _log.warning("what siblings left was not adopted", error=str(error))

    def _count_lost(self, items: Sequence[_Item]) -> None:
        for item in items:
            count, since = self._lost.get(item.event.key, (0, item.event.time))
            self._lost[item.event.key] = (count + 1, since)

    async def _report_lost(self) -> None:
        for key in list(self._lost):
            count, since = self._lost.pop(key)  # what is lost meanwhile is counted anew
            try:
                report = self._bus.envelop(self._lost_fact(key, count, since), key=key)
                await self._keep([_Item(report, (), 0)])
            except BusError:  # there is no room for the report either; it goes with the next
                more, _ = self._lost.get(key, (0, since))
                self._lost[key] = (count + more, since)
                return
