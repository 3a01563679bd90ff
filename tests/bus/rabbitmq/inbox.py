"""What the tests of the RabbitMQ transport open, deliver into, and send."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta
from typing import Any

from bus.clock import SystemClock
from bus.message import Subscription
from bus.rabbitmq import RabbitTransport, open_rabbitmq
from bus.transport import Delivered, Frame

CLOCK = SystemClock()
BILLING = Subscription("billing", ("shop.#",))
TIER_UNIT_MS = 50


def opened(url: str, **options: Any) -> AbstractAsyncContextManager[RabbitTransport]:
    """A transport whose tiers are short and few (which also makes a virtual host quicker to delete)."""
    return open_rabbitmq(url, clock=CLOCK, **{"tier_unit_ms": TIER_UNIT_MS, "tiers": 5, **options})


def in_ms(delay_ms: float) -> datetime:
    """A due time."""
    return CLOCK.now() + timedelta(milliseconds=delay_ms)


def frame(body: str, *topics: str) -> Frame:
    return Frame(body.encode(), topics or ("shop.order.placed._",))


class Inbox:
    """A consumer's `deliver` that keeps everything; `settle` sees to each delivery at once. `timeout_s`
    bounds what went wrong, it is nothing to wait for."""

    def __init__(self, settle: Callable[[Delivered], None] | None = None) -> None:
        self.arrived: list[Delivered] = []
        self.settle = settle
        self._change = asyncio.Event()
        self._seen = 0

    def __call__(self, delivered: Delivered) -> None:
        self.arrived.append(delivered)
        if self.settle is not None:
            self.settle(delivered)
        self._change.set()

    @property
    def bodies(self) -> list[str]:
        return [delivered.frame.body.decode() for delivered in self.arrived]

    async def next(self, timeout_s: float = 15.0) -> Delivered:
        """The next delivery that this method has not returned yet."""
        await self.until(lambda: len(self.arrived) > self._seen, timeout_s)
        self._seen += 1
        return self.arrived[self._seen - 1]

    async def until(self, condition: Callable[[], bool], timeout_s: float = 15.0) -> None:
        """Return once the condition holds; it is looked at after every delivery."""
        async with asyncio.timeout(timeout_s):
            while not condition():
                self._change.clear()
                await self._change.wait()


def done(delivered: Delivered) -> None:
    delivered.done()
