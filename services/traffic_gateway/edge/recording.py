"""Hands finished captures to the relay, redacted. Called by `relaying` and `bin`.

`relaxed`: the call is sent after its answer. `strict`: the end of the answer waits until the call is safe. A
client that goes away meanwhile does not stop the sending, so that a call is told exactly once. What was
broken off needs no holding, in any mode: no client saw its end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from bus.clock import Clock
from bus.errors import BusError
from bus.message import Fact
from schemas.traffic_gateway import CallCaptured
from services.traffic_gateway.domain.bodies import Stored
from services.traffic_gateway.domain.capture import Capture
from services.traffic_gateway.edge.redacting import Redacting


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
    """tasks: where captures finish though their client has gone."""

    def __init__(self, relay: Keeps, clock: Clock, tasks: asyncio.TaskGroup, redacting: Redacting) -> None:
        self._relay = relay
        self._clock = clock
        self._tasks = tasks
        self._redacting = redacting

    async def before_the_end(self, call: Capture) -> None:
        """Called before the last byte of an answer. Raises CaptureFailed in strict mode."""
        if call.mode != "strict" or call.recorded:
            return
        call.recorded = call.held = True
        captured = call.captured(self._clock.monotonic())
        error = await asyncio.shield(self._tasks.create_task(self._send(call, *captured)))
        if error is not None:
            raise CaptureFailed(str(error)) from error

    def now(self, call: Capture) -> None:
        """Send what was not sent yet; hold nothing."""
        if call.recorded:
            return
        call.recorded = True
        fact, bodies = call.captured(self._clock.monotonic())
        if self._redacting.at_once(fact):
            fact, bodies = self._redacting.publishable(fact, bodies, call.redactor, call.echoed)
            self._relay.send_soon(fact, key=fact.bucket, subject=fact.id, bodies=bodies)
        else:
            call.held = True
            self._tasks.create_task(self._send_later(call, fact, bodies))

    async def _send_later(self, call: Capture, fact: CallCaptured, bodies: Sequence[Stored]) -> None:
        with _dropped_after(call):
            fact, bodies = await self._redacted(call, fact, bodies)
            self._relay.send_soon(fact, key=fact.bucket, subject=fact.id, bodies=bodies)

    async def _send(self, call: Capture, fact: CallCaptured, bodies: Sequence[Stored]) -> BusError | None:
        with _dropped_after(call):
            fact, bodies = await self._redacted(call, fact, bodies)
            try:
                await self._relay.send(fact, key=fact.bucket, subject=fact.id, bodies=bodies)
            except BusError as error:
                return error
        return None

    async def _redacted(
        self, call: Capture, fact: CallCaptured, bodies: Sequence[Stored]
    ) -> tuple[CallCaptured, list[Stored]]:
        if self._redacting.at_once(fact):
            return self._redacting.publishable(fact, bodies, call.redactor, call.echoed)
        return await self._redacting.in_thread(fact, bodies, call.redactor, call.echoed)


@contextmanager
def _dropped_after(call: Capture) -> Iterator[None]:
    """The bodies' memory is given back at the end, not before."""
    try:
        yield
    finally:
        call.held = False
        call.drop()
