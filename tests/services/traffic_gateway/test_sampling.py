"""Buckets that keep a share of their calls."""

from __future__ import annotations

import re

import pytest

from bus.clock import SystemClock
from bus.ids import Ids
from services.traffic_gateway.domain.sampling import is_kept
from tests.services.loopback import dial, target
from tests.services.traffic_gateway.running import a_bucket, gateway

pytestmark = pytest.mark.uvloop

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
CALLS = 200


def test_all_or_nothing_is_meant_as_it_is_said() -> None:
    ids = [Ids(SystemClock()).new() for _ in range(100)]
    assert all(is_kept(id, 1.0) for id in ids)
    assert not any(is_kept(id, 0.0) for id in ids)


def test_ids_made_one_after_the_other_are_kept_in_their_share() -> None:
    ids = Ids(SystemClock())
    kept = sum(is_kept(ids.new(), 0.25) for _ in range(20_000))
    assert 4_700 < kept < 5_300  # five standard deviations


def test_a_call_that_a_smaller_share_keeps_is_kept_by_a_larger_one() -> None:
    ids = [Ids(SystemClock()).new() for _ in range(1000)]
    assert {id for id in ids if is_kept(id, 0.2)} <= {id for id in ids if is_kept(id, 0.6)}


@pytest.mark.parametrize("capture", ["relaxed", "strict"])
async def test_a_share_of_the_calls_is_kept_and_their_ids_are_told(capture: str) -> None:
    bucket = a_bucket(capture=capture, sampling=0.5)  # type: ignore[arg-type]
    told: list[str] = []
    async with target(OK) as api, gateway(bucket=bucket) as at, dial(at.port) as client:
        for _ in range(CALLS):
            await client.say(b"GET " + at.path(api) + b" HTTP/1.1\r\nHost: gw\r\n\r\n")
            head, body = await client.response()
            assert body == b"hi"
            named = re.search(rb"\r\nTrunkline-Call-Id: (\S+)\r\n", head)
            told += [named[1].decode()] if named is not None else []
        assert [call.id for call in at.relay.calls] == told
        assert all(is_kept(id, 0.5) for id in told)
        assert 0 < len(told) < CALLS
        assert len(api.heard) == CALLS


async def test_a_call_that_is_not_kept_waits_for_nobody() -> None:
    async with target(OK) as api, gateway(bucket=a_bucket(capture="strict", sampling=0.0)) as at:
        at.relay.open.clear()
        async with dial(at.port) as client:
            await client.say(b"GET " + at.path(api) + b" HTTP/1.1\r\nHost: gw\r\n\r\n")
            assert (await client.response())[1] == b"hi"
        assert at.relay.calls == []
