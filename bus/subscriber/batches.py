"""A shared subscription whose handler takes many events at once: what has arrived is merged over frames and
settled together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bus.errors import Unavailable
from bus.event import Event
from bus.message import Subscription
from bus.router import Router
from bus.subscriber.handling import Outcome, log
from bus.subscriber.running import Subscriber
from bus.subscriber.settling import SPLIT_AFTER
from bus.transport import Delivered, Frame

if TYPE_CHECKING:
    from bus.connect import Bus


class BatchSubscriber(Subscriber):
    """One worker: the handler is what makes it fast, and it may use threads of its own."""

    def __init__(self, router: Router, subscription: Subscription, bus: Bus) -> None:
        super().__init__(router, subscription, bus)
        self._next: Delivered | None = None  # a suspect that was found behind others; it is taken alone

    async def _work(self) -> None:
        assert self._router.batch is not None
        max_events = self._router.batch[1]
        while True:
            held = [self._next or await self._queue.get()]
            self._next = None
            self._in_hand += 1
            try:
                if self._closing:
                    await self._settler.hand_back(held[0])
                else:
                    await self._take(held, max_events)
            except Unavailable as error:
                log.warning(
                    "batch not settled; it will come back",
                    subscription=self.subscription.name,
                    error=str(error),
                )
                for delivered in held:
                    await self._settler.hand_back(delivered)
            finally:
                self._in_hand -= 1
                await self._tell_settled()

    async def _take(self, held: list[Delivered], max_events: int) -> None:
        work: list[tuple[Event, Frame]] = []
        delivered = held[0]
        while True:
            alone = delivered.frame.suspect or delivered.returned >= SPLIT_AFTER
            if not (delivered.returned and await self._settler.is_poison(delivered)):
                work += [(event, delivered.frame) for event in await self._settler.unpack(delivered.frame)]
            if alone or len(work) >= max_events or self._queue.empty():
                break
            delivered = self._queue.get_nowait()
            if delivered.frame.suspect:
                self._next = delivered
                break
            held.append(delivered)
        if work:
            await self._handle(work)
        for delivered in held:
            delivered.done()

    async def _handle(self, work: list[tuple[Event, Frame]]) -> None:
        """Handle them together; if that fails by an event's own error, each in a batch of its own."""
        events = [event for event, _ in work]
        outcome = await self._handling.batch(events)
        if isinstance(outcome, Unavailable):
            outcome = await self._wait_out(events, outcome)
        if outcome is None:
            return
        if isinstance(outcome, Unavailable):
            raise outcome
        if len(work) > 1:
            for single in work:
                await self._handle([single])
            return
        await self._settler.settle_failed(*work[0], outcome)

    async def _wait_out(self, events: list[Event], error: Unavailable) -> Outcome:
        assert self._consumer is not None
        self.metrics.paused += 1
        log.warning("paused: a dependency is away", subscription=self.subscription.name, error=str(error))
        try:
            await self._consumer.pause()
            await self._hand_back_waiting()
            return await self._probe(lambda: self._handling.batch(events))
        finally:
            if not self._closing:
                await self._consumer.resume()
