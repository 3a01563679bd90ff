"""Identity over a bus: commands that are repeated, overtaken, cut off, and what is read right after them."""

from __future__ import annotations

import asyncio
import hashlib
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from bus.errors import Refused, Unavailable
from bus.message import Ask
from bus.testing import harness
from schemas.identity import (
    BucketChanged,
    CreateToken,
    DeleteBucket,
    GetBucket,
    ListBuckets,
    PutBucket,
    RevokeToken,
)
from tests.services.identity.place import Place

KEY = "7xzcnsgbwox2"
DIGEST = hashlib.sha256(b"tl_secret").hexdigest()


async def test_a_bucket_is_put_and_read_at_once(place: Place) -> None:
    async with place.identity():
        made = await place.bus.ask(PutBucket("c1", "shop", key=KEY))
        assert (made.key, made.name, made.capture) == (KEY, "shop", "relaxed")
        assert await place.bus.ask(GetBucket(KEY)) == made
        assert (await place.bus.ask(ListBuckets())).buckets == (made,)


async def test_a_bucket_without_a_key_gets_one_and_the_same_on_a_repeat(place: Place) -> None:
    async with place.identity():
        first = await place.bus.ask(PutBucket("c1", "shop"))
        assert await place.bus.ask(PutBucket("c1", "shop")) == first
        assert (await place.bus.ask(PutBucket("c2", "shop"))).key != first.key
        assert len(place.log.records) == 2


async def test_a_repeat_is_answered_with_what_the_command_did(place: Place) -> None:
    async with place.identity():
        await place.bus.ask(PutBucket("c1", "shop", key=KEY))
        await place.bus.ask(PutBucket("c2", "tea shop", key=KEY))
        assert (await place.bus.ask(PutBucket("c1", "shop", key=KEY))).name == "shop"
        assert (await place.bus.ask(GetBucket(KEY))).name == "tea shop", "the repeat changed nothing"
        assert len(place.log.records) == 2


async def test_a_repeat_is_known_after_a_restart_without_a_snapshot(place: Place) -> None:
    async with place.identity("a"):
        await place.bus.ask(PutBucket("c1", "shop", key=KEY))
        await place.bus.ask(PutBucket("c2", "tea shop", key=KEY))
    async with place.identity("b"):
        assert (await place.bus.ask(PutBucket("c1", "shop", key=KEY))).name == "shop"
        assert len(place.log.records) == 2


async def test_a_command_id_for_something_else_is_refused(place: Place) -> None:
    async with place.identity():
        await place.bus.ask(PutBucket("c1", "shop", key=KEY))
        with pytest.raises(Refused, match="command_id") as caught:
            await place.bus.ask(PutBucket("c1", "other", key=KEY))
        assert caught.value.reason == "command-conflict"


async def test_a_repeated_deletion_is_answered_alike(place: Place) -> None:
    async with place.identity():
        made = await place.bus.ask(PutBucket("c1", "shop", key=KEY))
        assert await place.bus.ask(DeleteBucket("c2", KEY)) == made
        assert await place.bus.ask(DeleteBucket("c2", KEY)) == made
        for command_id in ("c3", "c4"):
            with pytest.raises(Refused) as caught:
                await place.bus.ask(DeleteBucket(command_id, KEY))
            assert caught.value.reason == "bucket-unknown"
        with pytest.raises(Refused) as caught:
            await place.bus.ask(GetBucket(KEY))
        assert caught.value.reason == "bucket-unknown"
        assert (await place.bus.ask(ListBuckets())).buckets == ()


async def test_a_decision_that_was_overtaken_is_made_again(place: Place) -> None:
    async with place.identity():
        await place.bus.ask(PutBucket("c1", "shop", key=KEY))
        # Another instance was quicker, and this one has not heard of it.
        theirs = BucketChanged(KEY, "theirs", capture="off", body_cap_bytes=5)
        place.log.record(theirs, f"identity.bucket-{KEY}")
        changed = await place.bus.ask(PutBucket("c2", "mine", key=KEY, body_cap_bytes=5))
        assert (changed.name, changed.capture) == ("mine", "relaxed")
        assert [recorded.version for recorded in place.log.records] == [1, 2, 3]


async def test_a_command_that_was_done_but_not_answered_is_answered_on_the_repeat(place: Place) -> None:
    async with place.identity():
        asks: list[Ask[Any]] = [
            PutBucket("c1", "shop", key=KEY),
            CreateToken("c2", "laptop", ("calls:read",), DIGEST),
        ]
        for ask in asks:
            place.log.answers_to_lose = 1
            with pytest.raises(Unavailable):
                await place.bus.ask(ask)
            recorded, when = len(place.log.records), place.bus.clock.now()
            await place.bus.clock.advance(5)
            answer = await place.bus.ask(ask)
            assert answer.name in ("shop", "laptop")
            assert answer.created_at == when, "as it was done, not as it would be done now"
            assert len(place.log.records) == recorded


async def test_many_at_once_on_one_bucket_all_hold(place: Place) -> None:
    async with place.identity("a"), place.identity("b"):
        await place.bus.ask(PutBucket("c0", "n0", key=KEY))
        async with asyncio.TaskGroup() as tasks:
            for number in range(1, 6):
                tasks.create_task(place.bus.ask(PutBucket(f"c{number}", f"n{number}", key=KEY)))
    assert [recorded.version for recorded in place.log.records] == list(range(1, 7))


async def test_what_another_instance_decided_is_known_when_asked(place: Place) -> None:
    async with place.identity("a"):
        await place.bus.ask(PutBucket("c1", "shop", key=KEY))
        async with place.identity("b"):
            for _ in range(4):  # both instances answer in turn
                assert (await place.bus.ask(GetBucket(KEY))).name == "shop"


async def test_a_team_sees_its_buckets_and_a_limited_token_its_own(place: Place) -> None:
    async with place.identity():
        for number, team in enumerate(("default", "default", "rivals")):
            await place.bus.ask(PutBucket(f"c{number}", "b", key=f"bucket{number:06}", team=team))
        mine = await place.bus.ask(ListBuckets())
        assert [bucket.key for bucket in mine.buckets] == ["bucket000000", "bucket000001"]
        limited = await place.bus.ask(ListBuckets(allowed_buckets=("bucket000001", "bucket000002")))
        assert [bucket.key for bucket in limited.buckets] == ["bucket000001"]


async def test_a_token_is_created_once_and_revoked(place: Place) -> None:
    async with place.identity():
        await place.bus.ask(PutBucket("c1", "shop", key=KEY))
        create = CreateToken("c2", "laptop", ("calls:read",), DIGEST, buckets=(KEY,))
        made = await place.bus.ask(create)
        assert await place.bus.ask(create) == made
        assert made.secret is None
        assert len(place.log.records) == 2
        assert await place.bus.ask(RevokeToken("c3", made.id)) == made
        assert await place.bus.ask(RevokeToken("c3", made.id)) == made
        assert len(place.log.records) == 3
        with pytest.raises(Refused, match="revoked"):
            await place.bus.ask(create)


async def test_refusals_carry_the_contracts_slugs(place: Place) -> None:
    async with place.identity():
        refused: list[tuple[Ask[Any], str]] = [
            (PutBucket("c", "", key=KEY), "bucket-invalid"),
            (GetBucket(KEY), "bucket-unknown"),
            (CreateToken("c", "t", ("calls:raed",), DIGEST), "token-invalid"),
            (RevokeToken("c", "nobody"), "token-unknown"),
            (PutBucket("", "shop", key=KEY), "command-invalid"),
        ]
        for ask, slug in refused:
            with pytest.raises(Refused) as caught:
                await place.bus.ask(ask)
            assert caught.value.reason == slug


async def test_without_the_vault_it_says_so_and_decides_nothing(tmp_path: Path) -> None:
    async with harness() as bus:
        place = Place(bus, tmp_path)
        async with bus.serve(place.log.router()), place.identity():
            made = await bus.ask(PutBucket("c1", "shop", key=KEY))
        async with place.identity():
            assert await bus.ask(GetBucket(KEY)) == made, "what is known is answered"
            with pytest.raises(Unavailable, match="vault"):
                await bus.ask(PutBucket("c2", "tea shop", key=KEY))
            with pytest.raises(Unavailable, match="vault"):
                await bus.ask(GetBucket("nobodysbuckt"))


async def test_starting_and_stopping_over_and_over(place: Place) -> None:
    for number in range(20):
        async with place.identity():
            await place.bus.ask(PutBucket(f"c{number}", f"n{number}", key=KEY))
    assert len(place.log.records) == 20


async def test_a_bucket_as_it_was(place: Place) -> None:
    async with place.identity():
        before = place.bus.clock.now()
        await place.bus.clock.advance(60)
        made = await place.bus.ask(PutBucket("c1", "shop", key=KEY))
        created = place.bus.clock.now()
        await place.bus.clock.advance(60)
        changed = await place.bus.ask(PutBucket("c2", "tea shop", key=KEY, capture="strict"))
        await place.bus.clock.advance(60)
        await place.bus.ask(DeleteBucket("c3", KEY))
        deleted = place.bus.clock.now()
        assert await place.bus.ask(GetBucket(KEY, at=created)) == made
        assert await place.bus.ask(GetBucket(KEY, at=deleted - timedelta(microseconds=1))) == changed
        assert await place.bus.ask(GetBucket(KEY, at=created, team="default", allowed_buckets=(KEY,))) == made
        for ask, reason in (
            (GetBucket(KEY, at=before), "bucket-unknown"),
            (GetBucket(KEY, at=deleted), "bucket-gone"),
            (GetBucket(KEY, at=deleted + timedelta(days=900)), "bucket-gone"),
            (GetBucket(KEY), "bucket-unknown"),
            (GetBucket(KEY, at=created, team="them"), "bucket-unknown"),
            (GetBucket(KEY, at=deleted, team="them"), "bucket-unknown"),
            (GetBucket(KEY, at=created, allowed_buckets=("other0000001",)), "bucket-unknown"),
            (GetBucket("no key", at=created), "bucket-unknown"),
            (GetBucket(KEY, at=created.replace(tzinfo=None)), "bucket-invalid"),
        ):
            with pytest.raises(Refused) as caught:
                await place.bus.ask(ask)
            assert caught.value.reason == reason, ask


async def test_who_asks_for_another_teams_bucket_learns_nothing(place: Place) -> None:
    async with place.identity():
        made = await place.bus.ask(PutBucket("c1", "shop", key=KEY))
        assert await place.bus.ask(GetBucket(KEY, team="default")) == made
        for ask in (GetBucket(KEY, team="them"), GetBucket(KEY, allowed_buckets=("other0000001",))):
            with pytest.raises(Refused, match="there is no bucket"):
                await place.bus.ask(ask)
