"""A shared subscription: frames are divided among instances, and here among workers beside each other. No
order."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from bus.errors import Unavailable
from bus.message import Subscription
from bus.router import Router
from bus.subscriber.beside import BesideEachOther
from bus.subscriber.handling import Failure
from bus.transport import Delivered

if TYPE_CHECKING:
    from bus.connect import Bus


class SharedSubscriber(BesideEachOther):
    def __init__(self, router: Router, subscription: Subscription, bus: Bus) -> None:
        super().__init__(router, subscription, bus)
        self.workers = router.concurrency

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
                outcome = await self._wait_out(outcome, partial(handle, event, frame.attempt))
                if isinstance(outcome, Unavailable):
                    await self._settler.hand_back_events(events[index:], frame)
                    break
            if isinstance(outcome, Failure):
                await self._settler.settle_failed(event, frame, outcome)
        delivered.done()
