"""`limited`: every test of the suite that takes it runs once on each engine, and moves the engine's time."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

import pytest
from redis.asyncio import Redis

from bus.clock import SystemClock
from bus.testing import ManualClock
from services.chassis.limits import Limits, open_limits
from services.chassis.limits.redis import PREFIX

ENGINES = ("memory", pytest.param("redis", marks=pytest.mark.redis))

# Puts every key as far into the past as time is to move on.
_AGE = """
for _, key in ipairs(redis.call('KEYS', ARGV[1] .. '*')) do
  local tokens, at = string.match(redis.call('GET', key), '^(%S+) (%S+)$')
  local left = redis.call('PTTL', key) - ARGV[2] / 1000
  if left < 1 then
    redis.call('DEL', key)
  else
    redis.call('SET', key, tokens .. ' ' .. string.format('%.0f', at - ARGV[2]), 'PX',
      string.format('%.0f', left))
  end
end
"""


class Limited(Protocol):
    limits: Limits

    async def advance(self, seconds: float) -> None: ...

    def real_s(self) -> float:
        """A clock that runs by itself, if the engine's does too."""
        ...


class InMemory:
    def __init__(self) -> None:
        self._clock = ManualClock()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Limited]:
        async with open_limits("memory:", self._clock) as self.limits:
            yield self

    async def advance(self, seconds: float) -> None:
        await self._clock.advance(seconds)

    def real_s(self) -> float:
        return 0.0


class OnRedis:
    def __init__(self, url: str) -> None:
        self._url = url

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Limited]:
        async with (
            open_limits(self._url, SystemClock()) as self.limits,
            Redis.from_url(self._url) as self._side,
        ):
            yield self

    async def advance(self, seconds: float) -> None:
        await self._side.eval(_AGE, 0, PREFIX, str(round(seconds * 1_000_000)))

    def real_s(self) -> float:
        return time.monotonic()


@pytest.fixture(params=ENGINES)
async def limited(request: pytest.FixtureRequest) -> AsyncIterator[Limited]:
    engine = InMemory() if request.param == "memory" else OnRedis(request.getfixturevalue("redis_url"))
    async with engine.open() as found:
        yield found
