"""What follows the end of a bucket or a team, whoever dies in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bus import codec
from bus.testing import Harness, harness
from schemas import identity as contract
from schemas.identity import (
    BucketDeleted,
    CreateToken,
    DeleteBucket,
    GetBucket,
    GetToken,
    ListBuckets,
    ListTokens,
    PutBucket,
    TeamCreated,
    TeamDeleted,
    TokenCreated,
)
from schemas.request_vault import Append, SearchCalls
from services.identity.config import Config
from services.identity.handlers.endings import LOOKS_AGAIN_AFTER_S
from services.identity.service import build
from tests.services.grounds import a_ground
from tests.services.identity.place import Place
from tests.services.request_vault.running import vault
from tests.services.request_vault.samples import captured

KEY = "7xzcnsgbwox2"
OTHER = "k2xzcnsgbwox"
LATER_S = 1.3  # of a delay, so that its jitter is over too


@asynccontextmanager
async def identity(b: Harness, folder: Path) -> AsyncIterator[None]:
    """On a real vault."""
    async with build(Config(), a_ground(b.as_source("identity"), folder)):
        yield


async def calls_in(b: Harness, key: str = KEY) -> list[str]:
    return [call.id for call in (await b.ask(SearchCalls(key))).calls]


async def erased(b: Harness, key: str = KEY) -> None:
    """Returns when the bucket has no calls any more; the vault's pace needs time to go on."""
    async with asyncio.timeout(20):
        while await calls_in(b, key):
            await b.clock.advance(0.05)
            await b.settled()


async def test_a_deleted_buckets_calls_are_erased_and_those_that_were_on_their_way_too(
    tmp_path: Path,
) -> None:
    async with vault(tmp_path) as b:
        await b.declare(*contract.SUBSCRIPTIONS)
        async with identity(b, tmp_path):
            await b.ask(PutBucket("c1", "shop", key=KEY))
            await b.ask(PutBucket("c2", "tea", key=OTHER))
            await b.emit(captured("early"), captured("theirs", bucket=OTHER))
            await b.settled()
            assert await calls_in(b) == ["early"]
            await b.ask(DeleteBucket("c3", KEY))
            await b.settled()
            await erased(b)
            for number, after_s in enumerate(LOOKS_AGAIN_AFTER_S):
                # An edge that had not heard of the end yet.
                await b.emit(captured(f"late-{number}"))
                await b.settled()
                assert await calls_in(b) == [f"late-{number}"]
                await b.clock.advance(after_s * LATER_S)
                await b.settled()
                await erased(b)
            assert await calls_in(b, OTHER) == ["theirs"]


async def test_who_dies_between_the_decision_and_the_erasure_leaves_it_to_the_next(tmp_path: Path) -> None:
    async with vault(tmp_path) as b:
        await b.declare(*contract.SUBSCRIPTIONS)
        async with identity(b, tmp_path):
            await b.ask(PutBucket("c1", "shop", key=KEY))
            await b.emit(captured("early"))
            await b.settled()
        # Decided, and nobody is there to follow it up: what a process that died leaves behind.
        event = b.as_source("identity").envelop(BucketDeleted(KEY), key=KEY, subject=KEY)
        await b.ask(Append(f"identity.bucket-{KEY}", 1, (codec.encode_event(event),)))
        await b.settled()
        assert await calls_in(b) == ["early"]
        async with identity(b, tmp_path):
            await b.settled()
            await erased(b)


async def test_while_nobody_erases_it_waits(tmp_path: Path) -> None:
    """Which is no failure of the event's own, so that it is never parked."""
    async with harness(subscriptions=contract.SUBSCRIPTIONS) as b:
        place = Place(b, tmp_path)
        async with b.serve(place.log.router()), place.identity():
            await b.ask(PutBucket("c1", "shop", key=KEY))
            await b.ask(DeleteBucket("c2", KEY))
            await place.log.tell()
            for _ in range(30):
                await b.clock.advance(60)
            async with b.serve(place.vault()):
                await b.clock.advance(60)
                await b.settled()
                assert {ask.bucket for ask in place.erasures} == {KEY}
                assert await b.parked() == []


async def test_each_look_is_a_command_of_its_own_and_the_same_when_repeated(place: Place) -> None:
    async with place.identity():
        await place.bus.ask(PutBucket("c1", "shop", key=KEY))
        await place.bus.ask(DeleteBucket("c2", KEY, actor="t-1"))
        await place.heard()
        for after_s in LOOKS_AGAIN_AFTER_S:
            await place.bus.clock.advance(after_s * LATER_S)
            await place.bus.settled()
        await place.bus.clock.advance(7200)
        await place.bus.settled()
        assert len(place.erasures) == 1 + len(LOOKS_AGAIN_AFTER_S)
        assert len({ask.command_id for ask in place.erasures}) == len(place.erasures)
        assert {(ask.bucket, ask.actor) for ask in place.erasures} == {(KEY, "t-1")}
        assert await place.bus.parked() == []


async def test_with_a_team_its_buckets_and_tokens_end(place: Place) -> None:
    async with place.identity():
        await place.happens(TeamCreated("shop", "The shop"), "identity.team-shop")
        await place.bus.ask(PutBucket("c1", "orders", key=KEY, team="shop"))
        await place.bus.ask(PutBucket("c2", "tea", key=OTHER))
        ours = await place.bus.ask(CreateToken("c3", "t", ("calls:read",), team="shop"))
        theirs = await place.bus.ask(CreateToken("c4", "t", ("calls:read",)))
        await place.happens(TeamDeleted("shop", "p-1"), "identity.team-shop")
        await place.heard()
        assert (await place.bus.ask(ListBuckets(team="shop"))).buckets == ()
        assert (await place.bus.ask(ListTokens(team="shop"))).tokens == ()
        assert await place.refused(GetBucket(KEY)) == "bucket-unknown"
        assert await place.refused(GetToken(ours.id, team="shop")) == "token-unknown"
        assert [ask.bucket for ask in place.erasures] == [KEY]
        assert place.erasures[0].actor == "p-1", "who deleted the team deleted its buckets"
        assert (await place.bus.ask(GetToken(theirs.id))).id == theirs.id
        assert (await place.bus.ask(GetBucket(OTHER))).key == OTHER


async def test_what_was_made_while_the_team_ended_ends_soon_after(place: Place) -> None:
    """By an instance that had not heard of the end yet."""
    async with place.identity():
        await place.happens(TeamCreated("shop", "The shop"), "identity.team-shop")
        await place.happens(TeamDeleted("shop"), "identity.team-shop")
        late = TokenCreated("t-late", "t", "shop", "ab" * 32, ("calls:read",))
        await place.happens(late, "identity.token-t-late")
        assert len((await place.bus.ask(ListTokens(team="shop"))).tokens) == 1
        await place.bus.clock.advance(LOOKS_AGAIN_AFTER_S[0] * LATER_S)
        await place.heard()
        assert (await place.bus.ask(ListTokens(team="shop"))).tokens == ()


@pytest.mark.parametrize("commands", [("c1", "c1"), ("c1", "c2")])
async def test_the_end_of_a_bucket_that_is_ordered_twice_is_one(
    place: Place, commands: tuple[str, str]
) -> None:
    async with place.identity():
        await place.bus.ask(PutBucket("c0", "shop", key=KEY))
        first = await place.bus.ask(DeleteBucket(commands[0], KEY))
        if commands[0] == commands[1]:
            assert await place.bus.ask(DeleteBucket(commands[1], KEY)) == first
        else:
            assert await place.refused(DeleteBucket(commands[1], KEY)) == "bucket-unknown"
        await place.heard()
        assert len(place.log.records) == 2
        assert len(place.erasures) == 1
