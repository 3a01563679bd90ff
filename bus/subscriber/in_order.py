"""Ordered and every_instance subscriptions: one event after another, in the order they came.

A failing event is retried in place and holds back the later events of its subject only (of its topic, where
it has no subject); other subjects go on. When a dependency is away everything waits in place. A frame is
acknowledged when all its events are settled, so frames behind a held one may be acknowledged first.

An ordered frame that comes back PARK_AFTER times, first of its consumer each time, is parked event by event:
it seems to kill its worker, and taking it apart would lose the order. Stops and lost connections count as
coming back too, which is why that takes so many. What fails for good in an every_instance subscription is
logged, not parked: its queue dies with the process, so there would be nowhere to redrive it to.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from bus.errors import Unavailable
from bus.event import Event
from bus.message import Subscription
from bus.router import Router
from bus.subscriber.handling import Failure, Outcome, log
from bus.subscriber.running import Subscriber
from bus.subscriber.settling import PROBE_FIRST_S, PROBE_MOST_S, jittered
from bus.transport import Delivered, Frame

if TYPE_CHECKING:
    from bus.connect import Bus

PARK_AFTER = 20


@dataclass
class _Open:
    """A frame that is not settled yet, and how many of its events are not."""

    delivered: Delivered
    left: int
    gone: bool = False

    def settle(self) -> None:
        """One of its events is settled."""
        self.left -= 1
        if self.left == 0 and not self.gone:
            self.gone = True
            self.delivered.done()

    def give_back(self) -> None:
        """It cannot be settled; once, whoever of its events finds out first."""
        if not self.gone:
            self.gone = True
            self.delivered.give_back()


class InOrderSubscriber(Subscriber):
    def __init__(self, router: Router, subscription: Subscription, bus: Bus) -> None:
        super().__init__(router, subscription, bus)
        self._first = True
        self._held: dict[str, deque[tuple[Event, _Open]]] = {}
        self._asleep = 0  # of the held subjects, those whose first event waits for its delay

    @property
    def busy(self) -> bool:
        return self._in_hand > self._asleep or not self._queue.empty()

    @property
    def waiting_frames(self) -> int:
        return len({id(opened) for held in self._held.values() for _, opened in held})

    async def _work(self) -> None:
        while True:
            delivered = await self._queue.get()
            if self._closing:
                return  # what was not begun goes back when the consumer closes
            self._in_hand += 1
            opened = _Open(delivered, 1)
            try:
                await self._take(opened)
            except Unavailable as error:
                log.warning("not settled; the frame will come back", error=str(error))
                if not self._closing:  # else the consumer gives all of them back, in their order
                    opened.give_back()
            finally:
                self._in_hand -= 1
                await self._tell_settled()

    async def _take(self, opened: _Open) -> None:
        first, self._first = self._first, False
        delivered = opened.delivered
        events = await self._settler.unpack(delivered.frame)
        if not events:
            opened.settle()
            return
        opened.left = len(events)
        if first and delivered.returned >= PARK_AFTER and self.subscription.mode == "ordered":
            reason = f"its worker died {delivered.returned} times with this frame first in hand"
            for event in events:
                await self._give_up(event, delivered.frame, reason, delivered.returned)
                opened.settle()
            return
        for event in events:
            subject = event.subject or event.topic
            if subject in self._held:
                self._held[subject].append((event, opened))
                continue
            outcome = await self._until_available(event, delivered.frame.attempt)
            if isinstance(outcome, Failure):
                await self._fail(subject, event, opened, outcome)
            else:
                opened.settle()

    async def _fail(self, subject: str, event: Event, opened: _Open, failure: Failure) -> None:
        attempts = opened.delivered.frame.attempt + 1
        delay_s = self._settler.next_delay_s(failure, attempts)
        if delay_s is None:
            await self._give_up(event, opened.delivered.frame, failure.reason, attempts)
            opened.settle()
            return
        self._held[subject] = deque([(event, opened)])
        self._in_hand += 1
        self._start(partial(self._retry_held, subject, failure, attempts))

    async def _retry_held(self, subject: str, failure: Failure, attempts: int) -> None:
        """Retry the first held event of a subject until it is settled, then go on with those behind it."""
        held = self._held[subject]
        outcome: Outcome = failure
        try:
            while held:
                event, opened = held[0]
                if isinstance(outcome, Failure):
                    delay_s = self._settler.next_delay_s(outcome, attempts)
                    if delay_s is not None:
                        self.metrics.retried += 1
                        await self._delay(delay_s)
                        outcome = await self._until_available(event, attempts)
                        attempts += 1
                        continue
                    await self._give_up(event, opened.delivered.frame, outcome.reason, attempts)
                opened.settle()
                held.popleft()
                if held:
                    outcome, attempts = await self._until_available(held[0][0], 0), 1
        except Unavailable as error:
            log.warning("not settled; what is held will come back", error=str(error))
            for _, opened in held:
                if not self._closing:
                    opened.give_back()
        finally:
            del self._held[subject]
            self._in_hand -= 1
            await self._tell_settled()

    async def _delay(self, delay_s: float) -> None:
        self._asleep += 1
        try:
            await self._clock.sleep(delay_s)
        finally:
            self._asleep -= 1

    def _may_finish(self) -> bool:
        return self._in_hand <= len(self._held)

    async def _until_available(self, event: Event, attempt: int) -> Outcome:
        """Handle; while a dependency is away, wait in place. Raises Unavailable when this subscriber ends
        meanwhile."""
        pause_s = PROBE_FIRST_S
        outcome = await self._handling.one(event, attempt)
        while isinstance(outcome, Unavailable):
            self.metrics.paused += 1
            await self._sleep_or_leave(jittered(pause_s))
            if self._closing:
                raise outcome
            pause_s = min(pause_s * 2, PROBE_MOST_S)
            outcome = await self._handling.one(event, attempt)
        return outcome

    async def _give_up(self, event: Event, frame: Frame, reason: str, attempts: int) -> None:
        if self.subscription.mode == "every_instance":
            log.error("event given up", subscription=self.subscription.name, event_id=event.id, reason=reason)
            return
        await self._settler.give_up(event, frame, reason, attempts)
