"""A shared subscription: frames are divided among instances, and here among workers beside each other. No
order."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from bus.errors import Unavailable
from bus.event import Event
from bus.message import Subscription
from bus.router import Router
from bus.subscriber.handling import Failure, Outcome, log
from bus.subscriber.running import Subscriber
from bus.transport import Delivered, Frame

if TYPE_CHECKING:
    from bus.connect import Bus


class SharedSubscriber(Subscriber):
    def __init__(self, router: Router, subscription: Subscription, bus: Bus) -> None:
        super().__init__(router, subscription, bus)
        self.workers = router.concurrency
        self._alone = False
        self._flowing = asyncio.Event()
        self._flowing.set()

    async def _work(self) -> None:
        while True:
            if not self._flowing.is_set():
                await self._flowing.wait()
            delivered = await self._queue.get()
            suspect = delivered.frame.suspect
            if self._alone or suspect:
                await self._pass_gate(suspect)
            self._in_hand += 1
            try:
                if self._closing:
                    await self._settler.hand_back(delivered)
                else:
                    await self._take(delivered)
            except Unavailable as error:  # the bus itself: nothing can be settled now
                log.warning("settling failed; the frame will come back", error=str(error))
                delivered.give_back()
            finally:
                self._in_hand -= 1
                if suspect:
                    self._alone = False
                if suspect or self._in_hand == 0:
                    await self._tell_settled()

    async def _pass_gate(self, suspect: bool) -> None:
        """A suspect is handled with nothing else of this subscription in hand, so that a death tells who did
        it. It closes the gate before it waits for the others to finish, or a busy subscription would never
        let it through."""
        async with self._settled:
            await self._settled.wait_for(lambda: not self._alone)
            if suspect:
                self._alone = True
                await self._settled.wait_for(lambda: self._in_hand == 0)

    async def _take(self, delivered: Delivered) -> None:
        frame = delivered.frame
        if delivered.returned and await self._settler.is_poison(delivered):
            delivered.done()
            return
        events = await self._settler.unpack(frame)
        handle = self._handling.one
        for index, event in enumerate(events):
            outcome = await handle(event, frame.attempt)
            if outcome is None:
                continue
            if isinstance(outcome, Unavailable):
                outcome = await self._wait_out(events[index:], frame, outcome)
                if isinstance(outcome, Unavailable):  # handed back, the rest of the frame with it
                    break
            if isinstance(outcome, Failure):
                await self._settler.settle_failed(event, frame, outcome)
        delivered.done()

    async def _wait_out(self, events: list[Event], frame: Frame, error: Unavailable) -> Outcome:
        """A dependency is away: pause, and try the first of `events` again until it answers; return how that
        ended. Only the first worker to find out probes, the others hand their events back and then wait.
        Unavailable means: handed back."""
        if not self._flowing.is_set():
            await self._settler.hand_back_events(events, frame)
            return error
        assert self._consumer is not None
        self._flowing.clear()
        self.metrics.paused += 1
        log.warning("paused: a dependency is away", subscription=self.subscription.name, error=str(error))
        try:
            await self._consumer.pause()
            await self._hand_back_waiting()
            outcome = await self._probe(lambda: self._handling.one(events[0], frame.attempt))
            if isinstance(outcome, Unavailable):
                await self._settler.hand_back_events(events, frame)
            return outcome
        finally:
            self._flowing.set()
            if not self._closing:
                await self._consumer.resume()
