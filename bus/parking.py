"""What becomes of a delivery that failed for good: it is kept as an event, with its reason, until redriven or
discarded.

Parking publishes `bus.event.parked`, which every transport keeps by itself (promise 8 in `bus.transport`) and
the vault logs like any event. Only after that is the delivery acknowledged. Redriving puts the frame back
into that one subscription's queue, with no attempt counted; discarding only says so. Both are events too, and
which deliveries are parked is the fold of all three.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime

import msgspec
import structlog

from bus import codec
from bus.errors import BusError, Malformed
from bus.event import Event
from bus.message import Fact
from bus.transport import Frame, Transport

_log = structlog.get_logger("bus")


class EventParked(Fact, frozen=True):
    """Subject: the subscription. frame: the body as it was delivered (a batch of one event, or the bytes that
    could not be read). event_id, event_type: when they are known."""

    TYPE = "bus.event.parked"

    subscription: str
    reason: str
    attempts: int
    first_failed_at: datetime
    frame: bytes
    topics: tuple[str, ...]
    content_type: str
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    event_id: str | None = None
    event_type: str | None = None


class EventRedriven(Fact, frozen=True):
    TYPE = "bus.event.redriven"

    parked_id: str


class EventDiscarded(Fact, frozen=True):
    TYPE = "bus.event.discarded"

    parked_id: str
    reason: str


class NotParked(BusError):
    slug = "not-parked"
    meaning = "No parked delivery has this id: it was redriven or discarded, or never was."
    remedy = "List what is parked with `bus.parked()`."
    exit_code = 66


class Parked:
    """A parked delivery. `id` is what redrive and discard take."""

    __slots__ = ("fact", "id", "parked_at")

    def __init__(self, id: str, parked_at: datetime, fact: EventParked) -> None:
        self.id = id
        self.parked_at = parked_at
        self.fact = fact

    @property
    def reason(self) -> str:
        return self.fact.reason

    @property
    def subscription(self) -> str:
        return self.fact.subscription

    @property
    def attempts(self) -> int:
        return self.fact.attempts

    def events(self) -> list[Event]:
        """The events inside; empty when the frame cannot be read."""
        try:
            return codec.decode_batch(self.fact.frame)
        except Malformed:
            return []

    def redrive_frame(self) -> Frame:
        """A fresh frame, no attempt counted."""
        return Frame(self.fact.frame, self.fact.topics, self.fact.content_type, self.fact.headers)


async def parked_now(transport: Transport) -> list[Parked]:
    """What is parked and neither redriven nor discarded, oldest first."""
    waiting: dict[str, Parked] = {}
    async for event in _kept_events(transport):
        try:
            _fold(waiting, event)
        except Malformed as error:
            _log.warning("a kept event cannot be read", event_id=event.id, error=str(error))
    return list(waiting.values())


def _fold(waiting: dict[str, Parked], event: Event) -> None:
    if event.type == EventParked.TYPE:
        waiting[event.id] = Parked(event.id, event.time, event.read(EventParked))
    elif event.type == EventRedriven.TYPE:
        waiting.pop(event.read(EventRedriven).parked_id, None)
    elif event.type == EventDiscarded.TYPE:
        waiting.pop(event.read(EventDiscarded).parked_id, None)


async def _kept_events(transport: Transport) -> AsyncIterator[Event]:
    """Anybody may publish under `bus.event.`; what is no batch of events hides nothing else."""
    async for frame in transport.kept():
        try:
            events = codec.decode_batch(frame.body)
        except Malformed as error:
            _log.warning("a kept frame cannot be read", topic=frame.topics[0], error=str(error))
            continue
        for event in events:
            yield event
