"""Rate limits: who sends too much is told when to come again, and told before how much is left."""

from __future__ import annotations

import aiohttp
import pytest
import structlog

from bus import SystemClock
from bus.errors import Unavailable
from services.api.config import Config
from services.api.edge import limiting
from services.chassis.host import Shared
from services.chassis.limits import Rate, Taken
from tests.services.api.standing import OURS, standing
from tests.services.api.test_operations import problem

FEW = Config(rate_per_s=0.01, rate_burst=3, public_rate_per_s=0.01, public_rate_burst=2)
CALLS = f"/v1/buckets/{OURS}/calls"


async def test_a_token_that_asks_too_often_is_told_when_to_come_again() -> None:
    async with standing(FEW) as api:
        for left in (2, 1, 0):
            async with api.client.get(CALLS) as answer:
                assert answer.status == 200
                assert answer.headers["RateLimit-Policy"] == '"token";q=3;w=300'
                assert answer.headers["RateLimit"].startswith(f'"token";r={left};t=')
        async with api.client.get(CALLS) as answer:
            said = await problem(answer, 429, "rate-limited")
            assert 1 <= int(answer.headers["Retry-After"]) <= 100
            assert answer.headers["RateLimit"].startswith('"token";r=0;')
            assert "tl_all" not in str(said)
        async with api.client.get(CALLS, headers={"Authorization": "Bearer tl_limited"}) as answer:
            assert answer.status == 200  # each has a limit of its own


async def test_problems_carry_the_headers_too() -> None:
    async with standing(FEW) as api:
        async with api.client.get("/v1/calls/none") as answer:
            assert (answer.status, answer.headers["RateLimit"][:12]) == (404, '"token";r=2;')
        async with api.client.get(CALLS, headers={"Authorization": "Bearer tl_blind"}) as answer:
            assert (answer.status, answer.headers["RateLimit"][:12]) == (403, '"token";r=2;')


async def test_without_a_good_token_the_address_is_what_counts() -> None:
    async with standing(FEW) as api, aiohttp.ClientSession(api.client._base_url) as nobody:
        async with nobody.get(CALLS) as answer:
            await problem(answer, 401, "token-missing")
            assert answer.headers["RateLimit-Policy"] == '"address";q=2;w=200'
        async with nobody.get(CALLS, headers={"Authorization": "Bearer tl_guess"}) as answer:
            await problem(answer, 401, "token-refused")
        for path in (CALLS, "/v1/openapi.json", "/v1/shared/x"):
            async with nobody.get(path) as answer:
                await problem(answer, 429, "rate-limited")
        async with api.client.get(CALLS) as answer:
            assert answer.status == 200


class Away:
    """Limits whose server is down."""

    def __init__(self) -> None:
        self.tried = 0

    async def take(self, name: str, rate: Rate, cost: int = 1) -> Taken:
        self.tried += 1
        raise Unavailable("redis: no answer within 0.5 s")


async def test_without_what_counts_them_requests_go_on() -> None:
    away = Away()
    shared = Shared(Shared.alone(SystemClock()).secrets, away)
    with structlog.testing.capture_logs() as logs:
        async with standing(FEW, shared=shared) as api:
            for _ in range(10):
                async with api.client.get(CALLS) as answer:
                    assert answer.status == 200
                    assert "RateLimit" not in answer.headers
    assert len([log for log in logs if log["log_level"] == "warning"]) == 1
    assert away.tried < 10  # not every answer waits for a server that is away


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("fe80::1%eth0", "fe80::"),
        ("", ""),
    ],
)
def test_an_ipv6_customer_is_one_caller(address: str, name: str) -> None:
    assert limiting._network(address) == name
