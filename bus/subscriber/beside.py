"""What subscriptions whose workers run beside each other share: a suspect is handled alone, and the first
worker to find a dependency away pauses them all."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from bus.errors import Unavailable
from bus.message import Subscription
from bus.router import Router
from bus.subscriber.handling import Outcome, log
from bus.subscriber.running import Subscriber
from bus.transport import Delivered

if TYPE_CHECKING:
    from bus.connect import Bus


class BesideEachOther(Subscriber):
    """Subclasses say what a worker does with what it takes."""

    def __init__(self, router: Router, subscription: Subscription, bus: Bus) -> None:
        super().__init__(router, subscription, bus)
        self._alone = False
        self._flowing = asyncio.Event()
        self._flowing.set()

    @abstractmethod
    async def _take(self, delivered: Delivered) -> None:
        """Handle and settle it. Raises Unavailable when the bus itself is away, so that nothing can be
        settled: it is then given back."""

    async def _next(self) -> Delivered:
        return await self._queue.get()

    def _is_suspect(self, delivered: Delivered) -> bool:
        return delivered.frame.suspect

    async def _work(self) -> None:
        while True:
            if not self._flowing.is_set():
                await self._flowing.wait()
            delivered = await self._next()
            suspect = self._is_suspect(delivered)
            if self._alone or suspect:
                await self._pass_gate(suspect)
            self._in_hand += 1
            try:
                if self._closing:
                    await self._settler.hand_back(delivered)
                else:
                    await self._take(delivered)
            except Unavailable as error:
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

    async def _wait_out(self, error: Unavailable, attempt: Callable[[], Awaitable[Outcome]]) -> Outcome:
        """A dependency is away: pause, `attempt` again until it answers, and return how that ended. Only the
        first worker to find out does; to the others, and when it takes too long, the answer is Unavailable,
        and what they have in hand is to be handed back."""
        if not self._flowing.is_set():
            return error
        assert self._consumer is not None
        self._flowing.clear()
        self.metrics.paused += 1
        log.warning("paused: a dependency is away", subscription=self.subscription.name, error=str(error))
        try:
            await self._consumer.pause()
            await self._hand_back_waiting()
            return await self._probe(attempt)
        finally:
            self._flowing.set()
            if not self._closing:
                await self._consumer.resume()
