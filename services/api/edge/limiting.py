"""How often a token, or an address without one, may ask; and the headers that tell it.

RateLimit and RateLimit-Policy as in draft-ietf-httpapi-ratelimit-headers-10: `q` requests in `w` seconds, `r`
left, all back in `t` seconds.
"""

from __future__ import annotations

import math
from ipaddress import IPv6Network
from typing import Literal

import msgspec
from aiohttp import web

from bus.clock import Clock
from bus.errors import Unavailable
from services.api.config import Config
from services.api.edge.problems import RATE_LIMITED
from services.api.edge.seldom import Seldom
from services.chassis.limits import Limits, Rate, Taken
from services.chassis.limits.places import place_of

AWAY_S = 1.0

Policy = Literal["token", "address"]


class Rated(msgspec.Struct, frozen=True):
    policy: Policy
    rate: Rate
    taken: Taken


RATED = web.RequestKey("rated", Rated)


class Limiter:
    def __init__(self, limits: Limits, clock: Clock, config: Config) -> None:
        self._limits = limits
        self._clock = clock
        self._rates: dict[Policy, Rate] = {
            "token": Rate(config.rate_per_s, config.rate_burst),
            "address": Rate(config.public_rate_per_s, config.public_rate_burst),
        }
        self._seldom = Seldom(clock, "requests are not limited: what counts them does not answer")
        self._away_until_s = float("-inf")

    async def take_token(self, request: web.Request, id: str) -> None:
        """Count a request of this token or session. Raises Problem when there are too many."""
        await self._take(request, "token", id)

    async def take_address(self, request: web.Request) -> None:
        """Count a request that no token vouches for. Raises Problem when its address sends too many."""
        await self._take(request, "address", _network(request.remote or ""))

    async def _take(self, request: web.Request, policy: Policy, name: str) -> None:
        # While the counts are away, requests go on. The limit keeps one caller from crowding out the others;
        # to refuse everybody because it cannot be counted would do that thoroughly.
        if self._clock.monotonic() < self._away_until_s:
            return
        rate = self._rates[policy]
        try:
            taken = await self._limits.take(f"api:{policy}:{name}", rate)
        except Unavailable as error:
            self._away_until_s = self._clock.monotonic() + AWAY_S
            self._seldom.warn(error)
            return
        request[RATED] = Rated(policy, rate, taken)
        if not taken.allowed:
            after_s = max(1, math.ceil(taken.retry_after_s))
            whose = "this token" if policy == "token" else "this address"
            raise RATE_LIMITED.of(
                f"Too many requests of {whose}: {rate.per_s:g} a second go on for long, and {rate.burst} at "
                f"once; the next is taken in {after_s} s.",
                headers={"Retry-After": str(after_s)},
            )


async def tell(request: web.Request, response: web.StreamResponse) -> None:
    """Put the headers on an answer, whatever it is."""
    rated = request.get(RATED)
    if rated is None:
        return
    rate, taken = rated.rate, rated.taken
    window_s = max(1, math.ceil(rate.burst / rate.per_s))
    response.headers["RateLimit-Policy"] = f'"{rated.policy}";q={rate.burst};w={window_s}'
    response.headers["RateLimit"] = f'"{rated.policy}";r={taken.remaining};t={math.ceil(taken.reset_after_s)}'


def _network(address: str) -> str:
    place = place_of(address)
    if place is None:
        return address
    return str(place.network_address if isinstance(place, IPv6Network) else place)
