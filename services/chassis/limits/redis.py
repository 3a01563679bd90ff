"""Limits that all processes share: a key for each bucket, one script, the server's clock. Opened by
`open_limits`.

A key holds `<tokens> <microseconds since 1970>` and expires when its bucket is full again, so that Redis
keeps those in use and no others."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from bus.errors import Unavailable
from services.chassis.limits.rates import EPSILON, Rate, Taken, check, taken
from services.chassis.redis import translated

if TYPE_CHECKING:
    from redis.asyncio import Redis

PREFIX = "trunkline:limit:"
WAIT_S = 0.5  # somebody waits for an answer behind this

# KEYS: the bucket. ARGV: per_s, burst, cost, epsilon. Numbers go back as text: Redis would cut off fractions.
# A clock that was set back gives nothing for the time between.
_TAKE = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local per_s, burst, cost = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local tokens = burst
local held = redis.call('GET', KEYS[1])
if held then
  local had, at = string.match(held, '^(%S+) (%S+)$')
  tokens = math.min(burst, tonumber(had) + math.max(0, now - tonumber(at)) / 1000000 * per_s)
end
local allowed = tokens + tonumber(ARGV[4]) >= cost
if allowed and cost > 0 then
  tokens = math.max(0, tokens - cost)
  local full_ms = math.ceil((burst - tokens) / per_s * 1000)
  redis.call('SET', KEYS[1], string.format('%.17g %.0f', tokens, now), 'PX',
    string.format('%.0f', math.min(full_ms + 1, 1e12)))
end
return {allowed and 1 or 0, string.format('%.17g', tokens)}
"""


class RedisLimits:
    """See `Limits`. One round trip for each take, but for a server that does not know the script yet."""

    def __init__(self, client: Redis) -> None:
        self._take = client.register_script(_TAKE)

    async def take(self, name: str, rate: Rate, cost: int = 1) -> Taken:
        check(rate, cost)
        arguments: list[str | int] = [repr(float(rate.per_s)), rate.burst, cost, repr(EPSILON)]
        try:
            async with asyncio.timeout(WAIT_S):
                with translated():
                    allowed, tokens = await self._take(keys=[f"{PREFIX}{name}"], args=arguments)
        except TimeoutError as error:
            raise Unavailable(f"redis: no answer within {WAIT_S:g} s") from error
        return taken(bool(allowed), float(tokens), rate, cost)
