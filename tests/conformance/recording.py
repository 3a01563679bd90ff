"""A subscription that remembers what it handled, and fails as the test says."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

from bus.event import Event
from bus.message import Fact, Mode, Subscription
from bus.router import Delivery, Router
from tests.conformance.houses import SECOND, until
from tests.conformance.messages import Drawn, Moved

DELAYS_S = tuple(seconds * SECOND for seconds in (1.0, 5.0, 30.0))


class Recorder:
    """Handles `Drawn` and `Moved`; `answers` says what happens at a number: an exception is raised, an event
    is waited for."""

    def __init__(
        self,
        subscription: str | Subscription = "numbers",
        *,
        mode: Mode = "shared",
        retry_delays_s: Sequence[float] = DELAYS_S,
        messages: Sequence[type[Fact]] = (Drawn, Moved),
        **options: Any,
    ) -> None:
        self.handled: list[int] = []
        self.tried: list[int] = []
        self.attempts: list[int] = []
        self.times: list[float] = []
        self.events: list[Event] = []
        self.answers: dict[int, Exception | asyncio.Event] = {}
        self.running = self.most_running = 0
        self.router = Router(subscription, mode=mode, retry_delays_s=retry_delays_s, **options)
        for message in messages:
            self.router.on(message, self.on_number)

    async def on_number(self, drawn: Any, delivery: Delivery) -> None:
        self.tried.append(drawn.number)
        self.attempts.append(delivery.attempt)
        self.times.append(asyncio.get_running_loop().time())
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            answer = self.answers.get(drawn.number)
            if isinstance(answer, asyncio.Event):
                await answer.wait()
            elif answer is not None:
                raise answer
        finally:
            self.running -= 1
        self.handled.append(drawn.number)
        self.events.append(delivery.event)

    async def has_handled(self, *numbers: int, timeout_s: float = 20.0) -> None:
        await until(lambda: set(numbers) <= set(self.handled), timeout_s)

    async def has_tried(self, number: int, times: int = 1) -> None:
        await until(lambda: self.tried.count(number) >= times)

    @property
    def counts(self) -> Counter[int]:
        return Counter(self.handled)
