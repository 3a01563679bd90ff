"""What the vault tells without being asked: the category heads, and which buckets got calls."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import structlog

from bus.clock import Clock
from bus.connect import Bus
from bus.errors import BusError
from bus.tasks import task_group
from schemas.request_vault import CallsRecorded, CategoryHeads, Position
from services.request_vault.store import port

BEAT_S = 1.0

_log = structlog.get_logger("request_vault")


class Telling:
    """tell_interval_s: the least time between two rounds of `vault.calls.recorded`."""

    def __init__(self, store: port.Log, bus: Bus, clock: Clock, *, tell_interval_s: float) -> None:
        self._store = store
        self._bus = bus
        self._clock = clock
        self._tell_interval_s = tell_interval_s
        self._news: dict[str, tuple[int, Position]] = {}
        self._has_news = asyncio.Event()

    def tell(self, calls: Mapping[str, tuple[int, Position]]) -> None:
        """Calls became readable: by bucket, how many and the newest position. Adds up while an earlier
        round is being told. Returns at once."""
        for bucket, (count, position) in calls.items():
            before = self._news.get(bucket, (0,))[0]
            self._news[bucket] = (before + count, position)
        if self._news:
            self._has_news.set()

    async def run(self) -> None:
        """Until cancelled."""
        async with task_group() as tasks:
            tasks.create_task(self._beat_heads(), name="request_vault.heads")
            tasks.create_task(self._tell_calls(), name="request_vault.tell")

    async def _beat_heads(self) -> None:
        while True:
            try:
                await self._bus.signal(CategoryHeads(self._store.heads()))
            except BusError as error:
                _log.debug("category heads were not told", error=str(error))
            await self._clock.sleep(BEAT_S)

    async def _tell_calls(self) -> None:
        while True:
            await self._has_news.wait()
            self._has_news.clear()
            news, self._news = self._news, {}
            try:
                for bucket, (count, position) in news.items():
                    await self._bus.signal(CallsRecorded(bucket, position, count), key=bucket)
            except BusError as error:
                # Live views look again by themselves; a signal is not worth remembering.
                _log.debug("recorded calls were not told", error=str(error))
            await self._clock.sleep(self._tell_interval_s)
