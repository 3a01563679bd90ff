"""How often something may be done: token buckets by name, in this process or shared on Redis.

A bucket holds `burst` tokens at most, starts full, and gets `per_s` of them each second. Whoever does
something takes tokens; without enough of them it is told when to come again, and nothing is taken.

    async with open_limits(redis_url, clock) as limits:
        taken = await limits.take(f"token:{token_id}", Rate(per_s=10, burst=50))
        if not taken.allowed:
            ...  # 429, Retry-After: ceil(taken.retry_after_s)

Names are short, say who is meant and by what rule, and hold no secrets: Redis keeps them as they are. A rate
may change between two takes; what the bucket holds stays, up to the new burst."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

from bus.clock import Clock
from services.chassis.limits.rates import Rate, Taken
from services.chassis.redis import open_client


class Limits(Protocol):
    """`memory.MemoryLimits` and `redis.RedisLimits`; both pass one suite (tests/conformance/limits)."""

    async def take(self, name: str, rate: Rate, cost: int = 1) -> Taken:
        """Take `cost` tokens of the bucket `name`, or none; 0 only looks. Raises ValueError for a cost below
        0 or above the burst, which would never be allowed, and Unavailable when what the bucket stands on
        does not answer: the caller decides whether that means yes or no."""
        ...


@asynccontextmanager
async def open_limits(url: str, clock: Clock) -> AsyncIterator[Limits]:
    """`url`: the setting `redis_url`, `memory:` or a Redis. A Redis that is down is met at the first `take`.
    Raises RedisUrlInvalid."""
    if url == "memory:":
        from services.chassis.limits.memory import MemoryLimits

        yield MemoryLimits(clock)
        return
    from services.chassis.limits.redis import RedisLimits

    async with open_client(url) as client:
        yield RedisLimits(client)


__all__ = ["Limits", "Rate", "Taken", "open_limits"]
