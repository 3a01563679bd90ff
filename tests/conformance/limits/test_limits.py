"""What every engine of limits promises."""

from __future__ import annotations

import asyncio
import itertools
import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bus.clock import SystemClock
from bus.errors import Unavailable
from bus.testing import ManualClock
from deploy.stack import Stack
from services.chassis.limits import Rate, Taken, open_limits
from services.chassis.limits.memory import MemoryLimits
from services.chassis.limits.redis import PREFIX
from services.chassis.redis import RedisUrlInvalid, open_client
from tests.conformance.limits.conftest import Limited

SLOW = Rate(per_s=0.01, burst=3)  # slow enough that the time a test takes is nothing
NAMES = itertools.count()


async def takes(
    limited: Limited, count: int, rate: Rate = SLOW, name: str = "n", cost: int = 1
) -> list[bool]:
    return [(await limited.limits.take(name, rate, cost)).allowed for _ in range(count)]


async def test_a_bucket_starts_full_and_gives_until_it_is_empty(limited: Limited) -> None:
    told = [await limited.limits.take("n", SLOW) for _ in range(4)]
    assert [each.allowed for each in told] == [True, True, True, False]
    assert [each.remaining for each in told] == [2, 1, 0, 0]
    assert [each.retry_after_s for each in told] == [0, 0, 0, pytest.approx(100, abs=5)]
    assert [each.reset_after_s for each in told] == pytest.approx([100, 200, 300, 300], abs=5)


async def test_it_fills_again_at_its_rate_and_to_its_burst(limited: Limited) -> None:
    await takes(limited, 3)
    await limited.advance(90)
    assert await takes(limited, 1) == [False]
    await limited.advance(11)
    assert await takes(limited, 2) == [True, False]
    await limited.advance(1_000_000)
    assert await takes(limited, 4) == [True, True, True, False]


async def test_after_the_time_that_was_told_it_is_allowed(limited: Limited) -> None:
    await takes(limited, 2)
    refused = await limited.limits.take("n", SLOW, cost=3)
    assert not refused.allowed
    await limited.advance(refused.retry_after_s - 10)
    assert not (await limited.limits.take("n", SLOW, cost=3)).allowed
    await limited.advance(10)
    assert (await limited.limits.take("n", SLOW, cost=3)).allowed


async def test_a_refusal_takes_nothing_and_a_look_neither(limited: Limited) -> None:
    assert await limited.limits.take("n", SLOW, cost=0) == Taken(True, 3, 0, 0)
    assert await takes(limited, 1, cost=2) == [True]
    assert await takes(limited, 5, cost=2) == [False] * 5
    assert (await limited.limits.take("n", SLOW, cost=0)).remaining == 1
    assert await takes(limited, 2) == [True, False]


async def test_names_do_not_share(limited: Limited) -> None:
    assert await takes(limited, 4, name="a") == [True, True, True, False]
    assert await takes(limited, 4, name="b:* ü\n") == [True, True, True, False]


async def test_a_rate_may_change(limited: Limited) -> None:
    await takes(limited, 3)
    wider = Rate(per_s=1000, burst=5)
    assert (await limited.limits.take("n", Rate(per_s=0.01, burst=5))).allowed is False, (
        "more room is not more"
    )
    await limited.advance(0.01)
    assert (await limited.limits.take("n", wider, cost=5)).allowed
    await limited.advance(10)
    assert (await limited.limits.take("n", Rate(per_s=1000, burst=100))).remaining == 99
    narrower = await limited.limits.take("n", Rate(per_s=0.01, burst=2))
    assert (narrower.allowed, narrower.remaining) == (True, 1)


async def test_of_many_at_once_as_many_as_there_are_tokens(limited: Limited) -> None:
    rate = Rate(per_s=0.01, burst=20)
    told = await asyncio.gather(*(limited.limits.take("n", rate) for _ in range(100)))
    assert sum(each.allowed for each in told) == 20
    assert sorted(each.remaining for each in told if each.allowed) == list(range(20))


@pytest.mark.parametrize("cost", [-1, 4])
async def test_a_cost_that_could_never_be_allowed_is_a_mistake(limited: Limited, cost: int) -> None:
    with pytest.raises(ValueError, match=rf"^cost is {cost}; with a burst of 3 it is from 0 to 3"):
        await limited.limits.take("n", SLOW, cost)


@pytest.mark.parametrize(("per_s", "burst"), [(0, 1), (-1, 1), (math.inf, 1), (math.nan, 1), (1, 0)])
def test_a_rate_that_makes_no_sense(per_s: float, burst: int) -> None:
    with pytest.raises(ValueError, match=r"per_s is|burst is"):
        Rate(per_s, burst)


STEPS = st.lists(st.tuples(st.floats(0, 1000), st.floats(0, 1)), max_size=12)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
@given(per_s=st.sampled_from((0.003, 0.01, 0.05, 1 / 3)), burst=st.integers(1, 20), steps=STEPS)
async def test_it_behaves_as_a_bucket_with_tokens(
    limited: Limited, per_s: float, burst: int, steps: list[tuple[float, float]]
) -> None:
    """The model knows how much there is at least, and at most if time also went on by itself."""
    name, rate = f"model-{next(NAMES)}", Rate(per_s, burst)
    least = most = float(burst)
    before_s = limited.real_s()
    for wait_s, share in steps:
        cost = round(share * burst)
        await limited.advance(wait_s)
        began_s = limited.real_s()
        told = await limited.limits.take(name, rate, cost)
        least = min(burst, least + (wait_s - 1e-3) * per_s)  # Redis counts microseconds
        most = min(burst, most + (wait_s + 1e-3 + limited.real_s() - before_s) * per_s)
        before_s = began_s
        if told.allowed:
            assert most + 1e-6 >= cost
            least, most = max(least, cost) - cost, max(0.0, most - cost)
            assert told.retry_after_s == 0
        else:
            assert least < cost + 1e-6
            most = min(most, cost)
            assert (cost - most) / per_s - 1e-3 <= told.retry_after_s <= (cost - least) / per_s + 1e-3
        assert math.floor(least + 1e-9) - 1e-9 <= told.remaining <= math.floor(most + 1e-6)
        assert (burst - most) / per_s - 1e-3 <= told.reset_after_s <= (burst - least) / per_s + 1e-3


# --- memory alone


async def test_memory_keeps_so_many_names_and_forgets_the_longest_untouched() -> None:
    limits = MemoryLimits(ManualClock(), max_names=2)
    rate = Rate(per_s=0.01, burst=1)
    for name in ("a", "b"):
        await limits.take(name, rate)
    assert not (await limits.take("a", rate)).allowed  # touched, so b goes
    await limits.take("c", rate)
    assert len(limits) == 2
    assert not (await limits.take("a", rate)).allowed
    assert (await limits.take("b", rate)).allowed


async def test_what_is_only_looked_at_is_not_kept() -> None:
    limits = MemoryLimits(ManualClock())
    await limits.take("a", SLOW, cost=0)
    assert len(limits) == 0


# --- Redis alone


async def test_two_processes_share_what_redis_holds(redis_url: str) -> None:
    rate = Rate(per_s=0.01, burst=50)
    async with open_limits(redis_url, SystemClock()) as one, open_limits(redis_url, SystemClock()) as other:
        told = await asyncio.gather(*(each.take("n", rate) for _ in range(50) for each in (one, other)))
    assert sum(each.allowed for each in told) == 50


async def test_a_key_goes_when_its_bucket_is_full(redis_url: str) -> None:
    async with open_limits(redis_url, SystemClock()) as limits, open_client(redis_url) as client:
        await limits.take("n", Rate(per_s=0.01, burst=10), cost=3)
        left_ms = await client.pttl(f"{PREFIX}n")
        assert 290_000 < left_ms <= 300_002
        await limits.take("quick", Rate(per_s=1e9, burst=10))
        async with asyncio.timeout(5):
            while await client.exists(f"{PREFIX}quick"):
                pass


async def test_a_server_that_forgot_the_script_is_told_again(redis_url: str) -> None:
    async with open_limits(redis_url, SystemClock()) as limits, open_client(redis_url) as client:
        await limits.take("n", SLOW)
        await client.script_flush()
        assert (await limits.take("n", SLOW)).remaining == 1


async def test_a_redis_that_is_away_is_unavailable_at_once_and_then_goes_on(
    redis_url: str, stack: Stack
) -> None:
    server = stack["redis"]
    async with open_limits(redis_url, SystemClock()) as limits:
        assert (await limits.take("n", SLOW)).allowed
        await asyncio.to_thread(server.pause)
        try:
            async with asyncio.timeout(2):
                with pytest.raises(Unavailable, match=r"redis: no answer within 0\.5 s"):
                    await limits.take("n", SLOW)
        finally:
            await asyncio.to_thread(server.resume)
        assert (await limits.take("n", SLOW)).remaining <= 1


async def test_nobody_listening_is_unavailable() -> None:
    async with open_limits("redis://127.0.0.1:9/0", SystemClock()) as limits:
        with pytest.raises(Unavailable, match="redis: "):
            await limits.take("n", SLOW)


async def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(RedisUrlInvalid):
        async with open_limits("http://127.0.0.1", SystemClock()):
            pass
