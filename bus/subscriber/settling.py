"""What becomes of frames and events: read, filtered, sent to come back later, handed back, taken apart,
parked.

Every step that gives something up does so only after its copy is confirmed, so a crash in between makes a
duplicate, never a loss. When the bus itself is away a step is repeated until it is back; only after
HOLD_MOST_S, or when the transport was closed, is Unavailable raised, and the caller gives the frame back.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import msgspec

from bus import codec, topics
from bus.errors import Malformed, TooLarge, Unavailable
from bus.event import Event
from bus.message import Subscription
from bus.middleware.metrics import SubscriptionMetrics
from bus.parking import EventParked
from bus.subscriber.handling import Failure, log
from bus.transport import Delivered, Frame

if TYPE_CHECKING:
    from bus.connect import Bus

SPLIT_AFTER = 2
SUSPECT_RETURNS = 3
CUT_BYTES = 512 * 1024
JITTER = 0.2
PROBE_FIRST_S = 1.0
PROBE_MOST_S = 30.0
HOLD_MOST_S = 600.0
REASON_CHARS = 1000


def jittered(delay_s: float) -> float:
    return delay_s * random.uniform(1 - JITTER, 1 + JITTER)


class Settler:
    """The settling of one subscription in one process."""

    def __init__(
        self,
        subscription: Subscription,
        retry_delays_s: tuple[float, ...],
        bus: Bus,
        counts: SubscriptionMetrics,
    ) -> None:
        self._name = subscription.name
        self._own_queue = subscription.mode == "every_instance"
        self._retry_delays_s = retry_delays_s
        self._bus = bus
        self._transport = bus.transport
        self._counts = counts
        self._mine = topics.Matcher(subscription.patterns)

    async def unpack(self, frame: Frame) -> list[Event]:
        """The frame's events that this subscription's patterns mean. What cannot be read is parked, alone."""
        try:
            events = codec.decode_batch(frame.body)
        except Malformed as error:
            events = await self._salvage(frame, error)
        if frame.attempt or frame.suspect:
            return events  # they were sent to this subscription itself
        mine = self._mine
        return [event for event in events if mine(f"{event.type}.{event.key}")]

    async def _salvage(self, frame: Frame, error: Malformed) -> list[Event]:
        try:
            good, bad = codec.salvage(frame.body)
        except Malformed:
            await self.park(frame, str(error), frame.attempt + 1)
            return []
        for raw, reason in bad:
            await self.park(Frame(codec.join_batch([raw]), frame.topics), reason, frame.attempt + 1)
        return good

    async def is_poison(self, delivered: Delivered) -> bool:
        """Whether this frame seems to kill its worker. It is then settled: one that came back SPLIT_AFTER
        times is taken apart into suspects, which are delivered one at a time; a suspect that came back
        SUSPECT_RETURNS times is parked."""
        frame = delivered.frame
        if frame.suspect:
            if delivered.returned < SUSPECT_RETURNS:
                return False
            reason = f"its worker died {delivered.returned} times while handling it alone"
            events = await self.unpack(frame)
            await self.park(frame, reason, frame.attempt + delivered.returned, events[0] if events else None)
            return True
        if delivered.returned < SPLIT_AFTER:
            return False
        for event in await self.unpack(frame):
            body = await self._body_of(
                event, frame, f"it came back {delivered.returned} times", frame.attempt
            )
            if body is not None:
                single = Frame(body, (event.topic,), attempt=frame.attempt, suspect=True)
                await self._send_later(single)
        return True

    def next_delay_s(self, failure: Failure, attempts: int) -> float | None:
        """When to try again after `attempts` tries; None when the event is to be parked."""
        if failure.park or attempts > len(self._retry_delays_s):
            return None
        if failure.after_s is not None:
            return failure.after_s
        return jittered(self._retry_delays_s[attempts - 1])

    async def settle_failed(self, event: Event, frame: Frame, failure: Failure) -> None:
        """Send the event to come back after its delay, or park it."""
        attempts = frame.attempt + 1
        now = self._bus.clock.now()
        body = await self._body_of(event, frame, failure.reason, attempts)
        if body is None:
            return
        single = Frame(
            body,
            (event.topic,),
            attempt=attempts,
            first_failed_at=frame.first_failed_at or now,
            last_error=failure.reason[:500],
        )
        delay_s = self.next_delay_s(failure, attempts)
        if delay_s is None:
            await self.park(single, failure.reason, attempts, event)
            return
        self._counts.retried += 1
        await self._send_later(single, now + timedelta(seconds=delay_s))

    async def give_up(self, event: Event, frame: Frame, reason: str, attempts: int) -> None:
        """Park one event of a frame."""
        body = await self._body_of(event, frame, reason, attempts)
        if body is not None:
            single = Frame(body, (event.topic,), first_failed_at=frame.first_failed_at)
            await self.park(single, reason, attempts, event)

    async def _body_of(self, event: Event, frame: Frame, reason: str, attempts: int) -> bytes | None:
        """The event as the body of a frame of its own. None when it is too large to travel again, which only
        a foreign producer's can be: then its frame is parked, cut."""
        try:
            return codec.encode_batch([event])
        except TooLarge as error:
            await self.park(frame, f"{reason}; {error}", attempts, event)
            return None

    async def park(self, frame: Frame, reason: str, attempts: int, event: Event | None = None) -> None:
        """Keep a frame with its reason. A foreign frame that is too large to be kept whole is cut, and the
        reason says so."""
        self._counts.parked += 1
        reason = reason[:REASON_CHARS]
        log.warning("event parked", subscription=self._name, event_id=event and event.id, reason=reason)
        fact = EventParked(
            subscription=self._name,
            reason=reason,
            attempts=attempts,
            first_failed_at=frame.first_failed_at or self._bus.clock.now(),
            frame=frame.body,
            topics=frame.topics,
            content_type=frame.content_type,
            headers=frame.headers,
            event_id=event.id if event else None,
            event_type=event.type if event else None,
        )
        try:
            await self._keep(fact)
        except TooLarge:
            digest = hashlib.sha256(frame.body).hexdigest()
            cut = f" (cut to {CUT_BYTES} of {len(frame.body)} bytes with SHA-256 {digest})"
            short = msgspec.structs.replace(
                fact, frame=frame.body[:CUT_BYTES], topics=frame.topics[:16], headers={}, reason=reason + cut
            )
            await self._keep(short)

    async def _keep(self, fact: EventParked) -> None:
        event = self._bus.envelop(fact, subject=self._name)  # once: sent again it is still the same event
        await self._until_taken(lambda: self._bus.emit(event))

    async def _send_later(self, frame: Frame, due: datetime | None = None) -> None:
        await self._until_taken(lambda: self._transport.send_later(self._name, frame, due=due))

    async def _until_taken(self, step: Callable[[], Awaitable[None]]) -> None:
        clock = self._bus.clock
        since, pause_s = clock.monotonic(), PROBE_FIRST_S
        while True:
            try:
                return await step()
            except Unavailable:
                if self._transport.state() == "closed" or clock.monotonic() - since > HOLD_MOST_S:
                    raise
            await clock.sleep(jittered(pause_s))
            pause_s = min(pause_s * 2, PROBE_MOST_S)

    async def hand_back(self, delivered: Delivered) -> None:
        """Return a frame that was not begun, as a fresh one, so that it counts as no return."""
        if self._own_queue:
            delivered.give_back()
            return
        try:
            await self._transport.send_later(self._name, delivered.frame)
        except Unavailable:
            delivered.give_back()
        else:
            delivered.done()

    async def hand_back_events(self, events: list[Event], frame: Frame) -> None:
        """Return some events of a frame, as a frame of their own."""
        try:
            body = codec.encode_batch(events)
        except TooLarge as error:
            raise Unavailable(f"what is left of a frame cannot travel alone: {error}") from error
        fresh = Frame(
            body,
            tuple(dict.fromkeys(event.topic for event in events)),
            attempt=frame.attempt,
            suspect=frame.suspect,
            first_failed_at=frame.first_failed_at,
            last_error=frame.last_error,
        )
        await self._send_later(fresh)
