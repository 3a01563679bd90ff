"""Access: what the edges know of buckets and tokens, and when they say that they do not know."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from bus.connect import Bus
from bus.errors import Unavailable
from bus.testing import START, Harness, ManualClock, harness
from schemas.identity import Bucket, BucketChanged, BucketCreated, BucketDeleted, TokenCreated, TokenRevoked
from services.chassis.access import Access, Grant
from tests.services.a_log import ALog

KEY = "7xzcnsgbwox2"
SECRET = "tl_secret"


class Ground:
    def __init__(self, bus: Harness, data_dir: Path) -> None:
        self.bus: Bus = bus.as_source("api")
        self.clock: ManualClock = bus.clock
        self.data_dir = data_dir


class Place:
    def __init__(self, bus: Harness, data_dir: Path) -> None:
        self.bus = bus
        self.log = ALog(bus)
        self.ground = Ground(bus, data_dir)

    def bucket(self, key: str = KEY, team: str = "default") -> None:
        self.log.record(BucketCreated(key, "shop", team, "strict", 5), f"identity.bucket-{key}")

    def token(
        self,
        id: str = "t1",
        secret: str = SECRET,
        buckets: tuple[str, ...] = (),
        expires_at: datetime | None = None,
    ) -> None:
        digest = hashlib.sha256(secret.encode()).hexdigest()
        fact = TokenCreated(id, "laptop", "default", digest, ("calls:read",), buckets, expires_at)
        self.log.record(fact, f"identity.token-{id}")

    @asynccontextmanager
    async def access(self, max_stale_s: float = 300.0) -> AsyncIterator[Access]:
        async with (
            self.bus.serve(self.log.router()),
            Access.open(self.ground, max_stale_s=max_stale_s) as access,
        ):
            yield access


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    async with harness() as bus:
        yield Place(bus, tmp_path)


async def test_a_bucket_is_as_its_decisions_made_it(place: Place) -> None:
    place.bucket()
    place.log.record(BucketChanged(KEY, "tea shop", "off", 7), f"identity.bucket-{KEY}")
    async with place.access() as access:
        assert await access.bucket(KEY) == Bucket(KEY, "tea shop", "default", "off", 7, created_at=START)


async def test_a_deleted_bucket_is_none(place: Place) -> None:
    place.bucket()
    place.log.record(BucketDeleted(KEY), f"identity.bucket-{KEY}")
    async with place.access() as access:
        assert await access.bucket(KEY) is None


async def test_a_token_grants_what_it_says(place: Place) -> None:
    place.token(buckets=(KEY,))
    async with place.access() as access:
        wanted = Grant("t1", "default", frozenset({"calls:read"}), frozenset({KEY}))
        assert await access.grant(SECRET) == wanted
        assert await access.grant("tl_other") is None


async def test_a_revoked_token_grants_nothing(place: Place) -> None:
    place.token()
    async with place.access() as access:
        assert await access.grant(SECRET) is not None
        place.log.record(TokenRevoked("t1"), "identity.token-t1")
        await place.log.tell()
        await place.bus.settled()
        assert await access.grant(SECRET) is None


async def test_a_secret_that_was_given_to_a_second_token_outlives_the_first(place: Place) -> None:
    place.token("t1")
    place.token("t2")
    place.log.record(TokenRevoked("t1"), "identity.token-t1")
    async with place.access() as access:
        grant = await access.grant(SECRET)
        assert grant is not None
        assert grant.token_id == "t2"


async def test_a_token_expires_by_the_clock(place: Place) -> None:
    place.token(expires_at=START + timedelta(seconds=60))
    async with place.access() as access:
        await place.bus.clock.advance(59)
        assert await access.grant(SECRET) is not None
        await place.bus.clock.advance(1)
        assert await access.grant(SECRET) is None


async def test_what_is_new_is_found_without_waiting_for_it(place: Place) -> None:
    async with place.access() as access:
        place.bucket()
        place.token()
        assert await access.bucket(KEY) is not None
        assert await access.grant(SECRET) is not None


async def test_what_is_unknown_is_looked_for_once_a_second(place: Place) -> None:
    async with place.access() as access:
        reads = place.log.reads
        for _ in range(20):
            assert await access.bucket("nobodysbuckt") is None
        assert place.log.reads == reads + 1
        await place.bus.clock.advance(1.01)
        assert await access.bucket("nobodysbuckt") is None
        assert place.log.reads > reads + 1


async def test_tokens_fail_closed_when_what_is_known_is_too_old(place: Place) -> None:
    place.bucket()
    place.token()
    async with place.access(max_stale_s=300) as access:
        await place.bus.clock.advance(299)
        assert await access.grant(SECRET) is not None
        await place.bus.clock.advance(2)
        with pytest.raises(Unavailable, match="301 s old"):
            await access.grant(SECRET)
        assert await access.bucket(KEY) is not None, "buckets are answered from whatever is known"


async def test_without_any_state_nothing_is_denied_that_was_not_looked_up(place: Place) -> None:
    async with Access.open(place.ground) as access:
        with pytest.raises(Unavailable, match="infinitely"):
            await access.grant(SECRET)
        for _ in range(2):
            with pytest.raises(Unavailable, match="cannot be read"):
                await access.bucket(KEY)


def test_a_grant_covers_its_teams_buckets() -> None:
    mine, other = (Bucket(key, "b", "default", "relaxed", 1, created_at=START) for key in (KEY, "a" * 12))
    foreign = Bucket(KEY, "b", "rivals", "relaxed", 1, created_at=START)
    everything = Grant("t", "default", frozenset(), frozenset())
    only_mine = Grant("t", "default", frozenset(), frozenset({KEY}))
    assert everything.covers(mine)
    assert everything.covers(other)
    assert only_mine.covers(mine)
    assert not only_mine.covers(other)
    assert not everything.covers(foreign)
    assert not only_mine.covers(foreign)
