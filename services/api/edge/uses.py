"""Tells that tokens are used: seldom, and never in the way of an answer."""

from __future__ import annotations

import asyncio
from typing import Protocol

import structlog

from bus.clock import Clock
from bus.errors import BusError
from bus.message import Fact
from schemas.api import USED_EVERY_S, TokenUsed
from services.chassis.access import Grant

MAX_WAITING = 1000
MAX_KNOWN = 10_000
PUBLISH_S = 5.0

_log = structlog.get_logger("api")


class Publishes(Protocol):
    async def publish(self, *facts: Fact, subject: str | None = None, timeout_s: float = 30.0) -> None: ...


class Uses:
    """`note` is called with every request; `tell` runs beside the edge and publishes what was noted."""

    def __init__(self, bus: Publishes, clock: Clock) -> None:
        self._bus = bus
        self._clock = clock
        self._told: dict[str, float] = {}
        self._waiting: asyncio.Queue[TokenUsed] = asyncio.Queue(MAX_WAITING)

    def note(self, grant: Grant) -> None:
        """That this token was used now."""
        if grant.kind != "token":
            return
        now_s = self._clock.monotonic()
        if now_s - self._told.get(grant.id, float("-inf")) < USED_EVERY_S or self._waiting.full():
            return
        if len(self._told) >= MAX_KNOWN:
            self._told = {id: at for id, at in self._told.items() if now_s - at < USED_EVERY_S}
        self._told[grant.id] = now_s
        self._waiting.put_nowait(TokenUsed(grant.id, self._clock.now()))

    async def tell(self) -> None:
        """Publish what is noted, until cancelled. What cannot be published is told with a later use."""
        while True:
            used = await self._waiting.get()
            try:
                await self._bus.publish(used, subject=used.id, timeout_s=PUBLISH_S)
            except BusError as error:
                self._told.pop(used.id, None)
                _log.debug("use of a token not told", token=used.id, trouble=str(error))
