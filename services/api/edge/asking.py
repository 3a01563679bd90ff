"""Asks on behalf of a client: with a deadline, and with every failure turned into a problem that names the
service."""

from __future__ import annotations

from typing import Protocol, TypeVar

from bus.errors import BusError
from bus.message import Ask
from services.api.edge.failing import from_ask

R = TypeVar("R")


class Asks(Protocol):
    """What the API needs of a bus."""

    async def ask(self, ask: Ask[R], *, timeout_s: float = 5.0) -> R: ...


class Asker:
    def __init__(self, bus: Asks, timeout_s: float) -> None:
        self._bus = bus
        self._timeout_s = timeout_s

    async def ask(self, service: str, ask: Ask[R]) -> R:
        """The reply of `service`. Raises Problem."""
        try:
            return await self._bus.ask(ask, timeout_s=self._timeout_s)
        except BusError as error:
            raise from_ask(service, error) from error
