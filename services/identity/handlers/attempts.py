"""How often a password may be tried: by whom it is for, and by where it comes from.

The address is looked at first, since nobody chooses it freely: of IPv6 the /64, which is what one customer
has. When the shared limits cannot be reached, this process counts alone: to let everybody in would open the
door to guessing, to let nobody in would make signing in depend on Redis; so guesses are limited all the same,
per instance instead of all together."""

from __future__ import annotations

import math

import structlog

from bus.clock import Clock
from bus.errors import Refused, Unavailable
from services.chassis.limits import Limits, Rate
from services.chassis.limits.memory import MemoryLimits
from services.chassis.limits.places import place_of

PERSON_RATE = Rate(per_s=1 / 30, burst=10)
ADDRESS_RATE = Rate(per_s=1 / 5, burst=40)

_log = structlog.get_logger("identity")


class Attempts:
    def __init__(self, limits: Limits, clock: Clock) -> None:
        self._limits = limits
        self._own = MemoryLimits(clock)

    async def take(self, *, address: str, person: str = "") -> None:
        """One attempt. address: where it comes from, empty on the bus. person: whose password it is for.
        Raises Refused(session-limited)."""
        if address:
            await self._take(f"password:from:{network_of(address)}", ADDRESS_RATE)
        if person:
            await self._take(f"password:for:{person}", PERSON_RATE)

    async def _take(self, name: str, rate: Rate) -> None:
        try:
            taken = await self._limits.take(name, rate)
        except Unavailable as error:
            _log.warning("password attempts are counted by this process alone", trouble=str(error))
            taken = await self._own.take(name, rate)
        if not taken.allowed:
            seconds = math.ceil(taken.retry_after_s)
            raise Refused("session-limited", f"too many attempts; try again in {seconds} s")


def network_of(address: str) -> str:
    """What is counted as one place."""
    place = place_of(address)
    return address[:64] if place is None else str(place)
