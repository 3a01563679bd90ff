"""Limits of one process: what `up` uses, and tests. Opened by `open_limits`."""

from __future__ import annotations

from collections import OrderedDict

from bus.clock import Clock
from services.chassis.limits.rates import EPSILON, Rate, Taken, check, taken

MAX_NAMES = 100_000


class MemoryLimits:
    """See `Limits`. Of more than `max_names` the ones that were longest untouched are forgotten, which fills
    them: whoever can take under names of its own choice needs a limit on something that it cannot choose."""

    def __init__(self, clock: Clock, max_names: int = MAX_NAMES) -> None:
        self._clock = clock
        self._max_names = max_names
        self._held: OrderedDict[str, tuple[float, float]] = OrderedDict()  # -> tokens, and when

    def __len__(self) -> int:
        return len(self._held)

    async def take(self, name: str, rate: Rate, cost: int = 1) -> Taken:
        check(rate, cost)
        now = self._clock.monotonic()
        tokens = float(rate.burst)
        held = self._held.get(name)
        if held is not None:
            tokens = min(tokens, held[0] + max(0.0, now - held[1]) * rate.per_s)
            self._held.move_to_end(name)
        allowed = tokens + EPSILON >= cost
        if allowed and cost:
            tokens = max(0.0, tokens - cost)
            self._held[name] = (tokens, now)
            if len(self._held) > self._max_names:
                self._held.popitem(last=False)
        return taken(allowed, tokens, rate, cost)
