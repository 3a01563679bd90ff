"""What happens around every handler, one concern a file. A middleware is `wrap(proceed) -> handle`: it gets
the next handling function once, when the subscriber is built, and returns its own, so that nothing is
assembled per event."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from bus.event import Event


class Handled(Protocol):
    """What a middleware may know of the delivery it wraps."""

    event: Event
    attempt: int
    subscription: str


Handle = Callable[[Handled], Awaitable[None]]
Middleware = Callable[[Handle], Handle]
