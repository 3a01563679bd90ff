"""A shared subscription whose handler takes many events at once: what has arrived is merged over frames and
settled together. With two workers, one list is unpacked while the other is handled."""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING

from bus.errors import Unavailable
from bus.event import Event
from bus.message import Subscription
from bus.router import Router
from bus.subscriber.beside import BesideEachOther
from bus.subscriber.handling import log
from bus.subscriber.settling import SPLIT_AFTER
from bus.transport import Delivered, Frame

if TYPE_CHECKING:
    from bus.connect import Bus


class BatchSubscriber(BesideEachOther):
    """Few workers: the handler is what makes it fast, and it may use threads of its own."""

    def __init__(self, router: Router, subscription: Subscription, bus: Bus) -> None:
        super().__init__(router, subscription, bus)
        assert router.batch is not None
        self._max_events = router.batch.max_events
        self.workers = router.batch.beside
        self._set_aside: deque[Delivered] = deque()  # suspects that were found behind others

    @property
    def busy(self) -> bool:
        return super().busy or bool(self._set_aside)

    def _is_suspect(self, delivered: Delivered) -> bool:
        return delivered.frame.suspect or delivered.returned >= SPLIT_AFTER

    async def _next(self) -> Delivered:
        return self._set_aside.popleft() if self._set_aside else await super()._next()

    async def _hand_back_waiting(self) -> None:
        while self._set_aside:
            await self._settler.hand_back(self._set_aside.popleft())
        await super()._hand_back_waiting()

    async def _take(self, delivered: Delivered) -> None:
        held = [delivered]
        try:
            await self._take_with(held)
        except Unavailable as error:
            log.warning(
                "batch not settled; it will come back", subscription=self.subscription.name, error=str(error)
            )
            for each in held:
                await self._settler.hand_back(each)

    async def _take_with(self, held: list[Delivered]) -> None:
        """What is in `held`, and what has arrived behind it, which is put there too."""
        work: list[tuple[Event, Frame]] = []
        delivered = held[0]
        while True:
            if not (delivered.returned and await self._settler.is_poison(delivered)):
                work += [(event, delivered.frame) for event in await self._settler.unpack(delivered.frame)]
            if self._is_suspect(delivered) or len(work) >= self._max_events or self._queue.empty():
                break
            delivered = self._queue.get_nowait()
            if self._is_suspect(delivered):
                self._set_aside.append(delivered)
                break
            held.append(delivered)
        if work:
            await self._handle(work)
        for each in held:
            each.done()

    async def _handle(self, work: list[tuple[Event, Frame]]) -> None:
        """Handle them together; if that fails by an event's own error, each in a batch of its own."""
        events = [event for event, _ in work]
        outcome = await self._handling.batch(events)
        if isinstance(outcome, Unavailable):
            outcome = await self._wait_out(outcome, partial(self._handling.batch, events))
        if outcome is None:
            return
        if isinstance(outcome, Unavailable):
            raise outcome
        if len(work) > 1:
            for single in work:
                await self._handle([single])
            return
        await self._settler.settle_failed(*work[0], outcome)
