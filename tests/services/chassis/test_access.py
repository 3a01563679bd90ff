"""Access: what the edges know of buckets and tokens, and when they say that they do not know."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from bus.connect import Bus
from bus.errors import Unavailable
from bus.message import Fact
from bus.testing import START, Harness, ManualClock, harness
from schemas.identity import (
    Bucket,
    BucketChanged,
    BucketCreated,
    BucketDeleted,
    BucketGuarded,
    BucketRekeyed,
    MemberAdded,
    MemberChanged,
    MemberRemoved,
    PasswordSet,
    PersonInvited,
    SessionClosed,
    SessionOpened,
    TeamCreated,
    TeamDeleted,
    TokenCreated,
    TokenRevoked,
    TokenRotated,
)
from schemas.operation import ROLE_SCOPES, Role
from services.chassis.access import Access, Grant
from services.chassis.access.tokens import digest_of, secret_of
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
        self.log.record(
            BucketCreated(key, "shop", team, capture="strict", body_cap_bytes=5), f"identity.bucket-{key}"
        )

    def token(
        self,
        id: str = "t1",
        secret: str = SECRET,
        buckets: tuple[str, ...] = (),
        expires_at: datetime | None = None,
        team: str = "default",
    ) -> None:
        fact = TokenCreated(id, "laptop", team, digest_of(secret), ("calls:read",), buckets, expires_at)
        self.log.record(fact, f"identity.token-{id}")

    def session(self, role: Role = "owner") -> None:
        """Of the person p1 in the team shop, with SECRET."""
        ends_at = START + timedelta(days=14)
        for fact, stream in (
            (TeamCreated("shop", "The shop"), "identity.team-shop"),
            (MemberAdded("shop", "p1", "ann@example.com", role), "identity.team-shop"),
            (PersonInvited("p1", "ann@example.com", "shop", "i1", ends_at), "identity.person-p1"),
            (PasswordSet("p1", "sealed", team="shop"), "identity.person-p1"),
            (SessionOpened("p1", "s1", digest_of(SECRET), "shop", ends_at), "identity.person-p1"),
        ):
            self.log.record(fact, stream)

    async def happens(self, fact: Fact, stream: str) -> None:
        """It is decided, and everybody has heard of it."""
        self.log.record(fact, stream)
        await self.log.tell()
        await self.bus.settled()

    async def granted(self, access: Access) -> Grant:
        grant = await access.grant(SECRET)
        assert grant is not None
        return grant

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
    place.log.record(
        BucketChanged(KEY, "tea shop", capture="off", body_cap_bytes=7), f"identity.bucket-{KEY}"
    )
    async with place.access() as access:
        assert await access.bucket(KEY) == Bucket(
            KEY, "tea shop", "default", START, KEY, version=2, capture="off", body_cap_bytes=7
        )


async def test_a_deleted_bucket_is_none(place: Place) -> None:
    place.bucket()
    place.log.record(BucketDeleted(KEY), f"identity.bucket-{KEY}")
    async with place.access() as access:
        assert await access.bucket(KEY) is None


async def test_a_token_grants_what_it_says(place: Place) -> None:
    place.token(buckets=(KEY,))
    async with place.access() as access:
        wanted = Grant("token", "t1", "t1", "default", frozenset({"calls:read"}), frozenset({KEY}))
        assert await access.grant(SECRET) == wanted
        assert await access.grant("tl_other") is None


async def test_a_revoked_token_grants_nothing(place: Place) -> None:
    place.token()
    async with place.access() as access:
        assert await access.grant(SECRET) is not None
        await place.happens(TokenRevoked("t1"), "identity.token-t1")
        assert await access.grant(SECRET) is None


async def test_a_revocation_that_was_not_heard_is_found_by_the_next_beat(place: Place) -> None:
    """The vault beats every second."""
    place.token()
    async with place.access() as access:
        assert await access.grant(SECRET) is not None
        place.log.record(TokenRevoked("t1"), "identity.token-t1")
        await place.log.beat()
        await place.bus.settled()
        await place.bus.clock.advance(0.1)
        assert await access.grant(SECRET) is None


@pytest.mark.parametrize(("revoked", "left"), [("t1", "t2"), ("t2", "t1")])
async def test_a_secret_that_two_tokens_have_works_until_both_are_revoked(
    place: Place, revoked: str, left: str
) -> None:
    place.token("t1")
    place.token("t2")
    async with place.access() as access:
        assert (await place.granted(access)).id == "t2", "the newer one counts"
        await place.happens(TokenRevoked(revoked), f"identity.token-{revoked}")
        assert (await place.granted(access)).id == left
        await place.happens(TokenRevoked(left), f"identity.token-{left}")
        assert await access.grant(SECRET) is None


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


async def test_a_rotated_token_grants_by_both_secrets_until_the_overlap_ends(place: Place) -> None:
    place.token()
    async with place.access() as access:
        ends_at = START + timedelta(seconds=60)
        await place.happens(TokenRotated("t1", digest_of("tl_new"), ends_at), "identity.token-t1")
        assert await access.grant(SECRET) == await access.grant("tl_new") is not None
        await place.bus.clock.advance(60)
        assert await access.grant(SECRET) is None
        assert await access.grant("tl_new") is not None
        await place.happens(TokenRevoked("t1"), "identity.token-t1")
        assert await access.grant("tl_new") is None


async def test_a_mistyped_secret_is_not_looked_for(place: Place) -> None:
    secret = secret_of("tl", b"x" * 32)
    async with place.access() as access:
        reads = place.log.reads
        assert await access.grant(f"{secret[:-1]}{'0' if secret[-1] != '0' else '1'}") is None
        assert place.log.reads == reads
        assert await access.grant(secret) is None
        assert place.log.reads == reads + 1


async def test_a_session_allows_what_the_role_allows_at_the_time(place: Place) -> None:
    place.session(role="editor")
    async with place.access() as access:
        granted = await place.granted(access)
        assert granted == Grant("session", "s1", "p1", "shop", ROLE_SCOPES["editor"], frozenset(), "editor")
        await place.happens(MemberChanged("shop", "p1", "viewer"), "identity.team-shop")
        granted = await place.granted(access)
        assert (granted.role, granted.scopes) == ("viewer", ROLE_SCOPES["viewer"])
        await place.happens(MemberRemoved("shop", "p1"), "identity.team-shop")
        assert await access.grant(SECRET) is None


async def test_a_session_ends_by_the_clock_and_by_signing_out(place: Place) -> None:
    place.session()
    async with place.access() as access:
        assert await access.grant(SECRET) is not None
        await place.happens(SessionClosed("p1", "s1"), "identity.person-p1")
        assert await access.grant(SECRET) is None
        opened = SessionOpened("p1", "s2", digest_of("tls_2"), "shop", START + timedelta(seconds=60))
        await place.happens(opened, "identity.person-p1")
        assert await access.grant("tls_2") is not None
        await place.bus.clock.advance(60)
        assert await access.grant("tls_2") is None


async def test_with_a_team_its_tokens_sessions_and_buckets_end(place: Place) -> None:
    place.session()
    place.bucket(team="shop")
    place.token(secret="tl_team", team="shop")
    async with place.access() as access:
        assert await access.grant(SECRET) is not None
        assert await access.grant("tl_team") is not None
        assert await access.addressed(KEY) is not None
        await place.happens(TeamDeleted("shop"), "identity.team-shop")
        assert await access.grant(SECRET) is None
        assert await access.grant("tl_team") is None
        assert await access.bucket(KEY) is None
        assert await access.addressed(KEY) is None


async def test_a_bucket_is_found_by_its_addresses_while_they_work(place: Place) -> None:
    place.bucket()
    stream = f"identity.bucket-{KEY}"
    async with place.access() as access:
        assert (found := await access.addressed(KEY)) is not None
        assert (found.bucket.key, found.guard_sha256) == (KEY, "")
        await place.happens(BucketRekeyed(KEY, "k2xzcnsgbwox", START + timedelta(seconds=60)), stream)
        await place.happens(BucketGuarded(KEY, "g1"), stream)
        for address in (KEY, "k2xzcnsgbwox"):
            assert (found := await access.addressed(address)) is not None
            assert (found.bucket.key, found.guard_sha256) == (KEY, "g1")
        await place.bus.clock.advance(60)
        assert await access.addressed(KEY) is None
        assert await access.addressed("k2xzcnsgbwox") is not None
        assert await access.bucket(KEY) is not None, "the key is its name for ever"
        assert await access.bucket("k2xzcnsgbwox") is None
        await place.happens(BucketDeleted(KEY), stream)
        assert await access.addressed("k2xzcnsgbwox") is None


async def test_the_keys_of_a_team(place: Place) -> None:
    place.bucket()
    place.bucket("a" * 12)
    place.bucket("b" * 12, team="rivals")
    place.bucket("d" * 12)
    place.log.record(BucketDeleted("d" * 12), f"identity.bucket-{'d' * 12}")
    async with place.access() as access:
        assert sorted(access.keys_of("default")) == [KEY, "a" * 12]


async def test_a_state_that_is_begun_anew_keeps_no_secret(place: Place) -> None:
    """The indexes follow when the log turns out to be another one."""
    place.token()
    async with place.access() as access:
        assert await access.grant(SECRET) is not None
    place.log.records.clear()
    place.token("t2", secret="tl_other")
    async with place.access() as access:
        assert await access.grant("tl_other") is not None
        assert await access.grant(SECRET) is None


def test_a_grant_covers_its_teams_buckets() -> None:
    mine, other = (Bucket(key, "b", "default", START) for key in (KEY, "a" * 12))
    foreign = Bucket(KEY, "b", "rivals", START)
    everything = Grant("token", "t", "t", "default", frozenset())
    only_mine = Grant("token", "t", "t", "default", frozenset(), frozenset({KEY}))
    assert everything.covers(mine)
    assert everything.covers(other)
    assert only_mine.covers(mine)
    assert not only_mine.covers(other)
    assert not everything.covers(foreign)
    assert not only_mine.covers(foreign)
