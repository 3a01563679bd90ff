"""Hands finished captures to the relay. Called by `relaying` and `bin`.

`relaxed`: the call is sent after its answer. `strict`: the end of the answer waits until the call is safe. A
client that goes away meanwhile does not stop the sending, so that a call is told exactly once. What was
broken off needs no holding, in any mode: no client saw its end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from bus.clock import Clock
from bus.errors import BusError
from bus.message import Fact
from schemas.traffic_gateway import CallCaptured
from services.traffic_gateway.domain.capture import Capture, Stored


class Keeps(Protocol):
    """`chassis.relay.Relay`, as far as it is used here."""

    def send_soon(
        self, fact: Fact, *, key: str, subject: str | None, bodies: Sequence[Stored] = ()
    ) -> None: ...

    async def send(
        self, fact: Fact, *, key: str, subject: str | None, bodies: Sequence[Stored] = ()
    ) -> None: ...


class CaptureFailed(Exception):
    """Neither the bus nor the spool took a strict capture."""


class Recorder:
    """tasks: where strict captures finish though their client has gone."""

    def __init__(self, relay: Keeps, clock: Clock, tasks: asyncio.TaskGroup) -> None:
        self._relay = relay
        self._clock = clock
        self._tasks = tasks

    async def before_the_end(self, call: Capture) -> None:
        """Called before the last byte of an answer. Raises CaptureFailed in strict mode."""
        if call.mode != "strict" or call.recorded:
            return
        call.recorded = True
        fact, bodies = call.captured(self._clock.monotonic())
        error = await asyncio.shield(self._tasks.create_task(self._send(fact, bodies)))
        if error is not None:
            raise CaptureFailed(str(error)) from error

    def now(self, call: Capture) -> None:
        """Send what was not sent yet; hold nothing."""
        if call.recorded:
            return
        call.recorded = True
        fact, bodies = call.captured(self._clock.monotonic())
        self._relay.send_soon(fact, key=fact.bucket, subject=fact.id, bodies=bodies)

    async def _send(self, fact: CallCaptured, bodies: Sequence[Stored]) -> BusError | None:
        try:
            await self._relay.send(fact, key=fact.bucket, subject=fact.id, bodies=bodies)
        except BusError as error:
            return error
        return None
