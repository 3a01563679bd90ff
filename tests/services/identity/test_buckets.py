"""Buckets over a bus: settings, versions, addresses, guards, lists, and whose they are."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from bus.message import Ask
from schemas.identity import (
    BucketDeleted,
    BucketRekeyed,
    DeleteBucket,
    GetBucket,
    ListBuckets,
    PatchBucket,
    PutBucket,
    Redaction,
    RemoveBucketAuth,
    Retention,
    RotateBucketKey,
    SetBucketAuth,
    TeamCreated,
    TeamDeleted,
)
from schemas.operation import Scope
from services.chassis.access.tokens import digest_of, is_mistyped
from services.identity.domain.buckets import key_from
from tests.services.identity.place import Place

KEY = "7xzcnsgbwox2"
STREAM = f"identity.bucket-{KEY}"
SETTINGS: dict[str, Any] = {
    "capture": "strict",
    "body_cap_bytes": 2048,
    "retention": Retention(86_400, 1000, 10**9),
    "sampling": 0.25,
    "redaction": Redaction("strict", ("x-internal",)),
    "verify_tls": False,
    "allowed_hosts": ("api.example.com",),
    "denied_hosts": ("admin.example.org",),
    "rewrite_location": True,
    "notes": "what the shop orders",
}


async def test_every_setting_is_kept(place: Place) -> None:
    async with place.identity():
        made = await place.bus.ask(PutBucket("c1", "shop", key=KEY, **SETTINGS))
        assert {name: getattr(made, name) for name in SETTINGS} == SETTINGS
        patched = await place.bus.ask(PatchBucket("c2", KEY, notes="moved"))
        assert (patched.notes, patched.capture, patched.version) == ("moved", "strict", 2)
        assert await place.bus.ask(GetBucket(KEY)) == patched
        reset = await place.bus.ask(PutBucket("c3", "shop", key=KEY))
        assert (reset.notes, reset.retention, reset.version) == ("", Retention(), 3)


async def test_a_version_that_is_not_the_present_one_changes_nothing(place: Place) -> None:
    async with place.identity():
        made = await place.bus.ask(PutBucket("c1", "shop", key=KEY))
        change = PatchBucket("c2", KEY, notes="x", if_version=made.version)
        changed = await place.bus.ask(change)
        assert await place.bus.ask(change) == changed, "repeated, it is what it did"
        for ask in (
            PatchBucket("c3", KEY, notes="y", if_version=made.version),
            PutBucket("c4", "tea", key=KEY, if_version=made.version),
            DeleteBucket("c5", KEY, if_version=made.version),
        ):
            assert await place.refused(ask) == "bucket-conflict"
        assert len(place.log.records) == 2
        await place.bus.ask(DeleteBucket("c6", KEY, if_version=changed.version))


async def test_a_version_counts_what_another_instance_decided(place: Place) -> None:
    """The instance that is asked has heard of nothing."""
    async with place.identity():
        await place.bus.ask(PutBucket("c1", "shop", key=KEY))
        place.log.record(BucketRekeyed(KEY, "k2xzcnsgbwox", place.bus.clock.now()), STREAM)
        assert await place.refused(PatchBucket("c2", KEY, notes="x", if_version=1)) == "bucket-conflict"
        assert (await place.bus.ask(PatchBucket("c3", KEY, notes="x", if_version=2))).version == 3


async def test_rotating_keeps_the_old_address_for_a_while(place: Place) -> None:
    async with place.identity():
        await place.bus.ask(PutBucket("c1", "shop", key=KEY))
        rotate = RotateBucketKey("c2", KEY, overlap_s=60)
        rotated = await place.bus.ask(rotate)
        assert rotated.key == KEY
        assert rotated.address != KEY
        ends_at = place.bus.clock.now() + timedelta(seconds=60)
        assert [(each.address, each.ends_at) for each in rotated.former_addresses] == [(KEY, ends_at)]
        await place.bus.clock.advance(30)
        assert await place.bus.ask(rotate) == rotated, "a repeat rotates nothing"
        assert len(place.log.records) == 2
        await place.bus.clock.advance(30)
        assert (await place.bus.ask(GetBucket(KEY))).former_addresses == ()
        again = await place.bus.ask(RotateBucketKey("c3", KEY, overlap_s=0))
        assert again.address not in (KEY, rotated.address)
        assert again.former_addresses == ()


async def test_rotating_leads_to_no_other_buckets_address(place: Place) -> None:
    async with place.identity():
        await place.bus.ask(PutBucket("c1", "mine", key=KEY))
        await place.bus.ask(PutBucket("c2", "theirs", key=key_from("rotate", "address"), team="rivals"))
        assert await place.refused(RotateBucketKey("rotate", KEY)) == "bucket-invalid"


async def test_no_address_that_a_bucket_ever_had_is_anothers_key(place: Place) -> None:
    async with place.identity():
        await place.bus.ask(PutBucket("c1", "shop", key=KEY))
        first = (await place.bus.ask(RotateBucketKey("c2", KEY, overlap_s=60))).address
        second = (await place.bus.ask(RotateBucketKey("c3", KEY, overlap_s=0))).address
        await place.bus.clock.advance(3600)
        for number, address in enumerate((first, second)):
            ask = PutBucket(f"p{number}", "mine", key=address, team="rivals")
            assert await place.refused(ask) == "bucket-invalid"
        await place.bus.ask(DeleteBucket("c4", KEY))
        for number, address in enumerate((first, second, KEY)):
            ask = PutBucket(f"q{number}", "mine", key=address, team="rivals")
            assert await place.refused(ask) == "bucket-invalid"


async def test_a_guards_secret_is_shown_sealed_and_the_same_again(place: Place) -> None:
    async with place.identity("a"), place.identity("b"):
        await place.bus.ask(PutBucket("c1", "shop", key=KEY))
        secrets = set()
        for _ in range(4):  # both instances answer in turn
            answer = await place.bus.ask(SetBucketAuth("c2", KEY))
            secret = place.secret_in(answer)
            assert secret not in answer.secret
            secrets.add(secret)
        (secret,) = secrets
        assert secret.startswith("tlb_")
        assert not is_mistyped(secret)
        assert len(place.log.records) == 2
        assert digest_of(secret).encode() in place.log.records[-1].event
        assert secret.encode() not in b"".join(recorded.event for recorded in place.log.records)
        await place.heard()
        assert (await place.bus.ask(GetBucket(KEY))).guarded
        other = place.secret_in(await place.bus.ask(SetBucketAuth("c3", KEY)))
        assert other != secret
        assert not (await place.bus.ask(RemoveBucketAuth("c4", KEY))).guarded
        assert place.secret_in(await place.bus.ask(SetBucketAuth("c3", KEY))) == other, "a repeat"
        await place.heard()
        assert not (await place.bus.ask(GetBucket(KEY))).guarded, "which changes nothing"


@pytest.mark.parametrize(
    "ask",
    [
        PatchBucket("c1", KEY, name="tea"),
        RotateBucketKey("c1", KEY),
        SetBucketAuth("c1", KEY),
        DeleteBucket("c1", KEY),
    ],
    ids=lambda ask: str(ask.TYPE),
)
async def test_a_command_id_that_did_something_else_is_refused(place: Place, ask: Ask[Any]) -> None:
    async with place.identity():
        await place.bus.ask(PutBucket("c1", "shop", key=KEY))
        assert await place.refused(ask) == "command-conflict"
        assert len(place.log.records) == 1


async def test_a_change_by_the_command_of_another_change_is_refused(place: Place) -> None:
    async with place.identity():
        await place.bus.ask(PutBucket("c1", "shop", key=KEY))
        await place.bus.ask(PatchBucket("c2", KEY, notes="x"))
        assert await place.refused(PatchBucket("c2", KEY, notes="y")) == "command-conflict"


async def test_another_teams_bucket_is_unknown_everywhere(place: Place) -> None:
    async with place.identity():
        await place.bus.ask(PutBucket("c1", "shop", key=KEY))
        recorded = len(place.log.records)
        for number, command_id in enumerate(("c1", "x")):  # knowing the command's id opens nothing either
            asks: list[Ask[Any]] = [
                PatchBucket(command_id, KEY, team="rivals", name="mine"),
                RotateBucketKey(command_id, KEY, team="rivals"),
                SetBucketAuth(command_id, KEY, team="rivals"),
                RemoveBucketAuth(command_id, KEY, team="rivals"),
                DeleteBucket(command_id, KEY, team="rivals"),
                GetBucket(KEY, team="rivals"),
            ]
            for ask in asks:
                assert await place.refused(ask) == "bucket-unknown", (number, ask)
            assert await place.refused(PutBucket(command_id, "shop", key=KEY, team="rivals")) == (
                "bucket-invalid"
            )
        assert (await place.bus.ask(ListBuckets(team="rivals"))).buckets == ()
        assert len(place.log.records) == recorded


async def test_retention_is_the_owners(place: Place) -> None:
    async with place.identity():
        editing: tuple[Scope, ...] = ("buckets:write",)
        limits = Retention(max_calls=5)
        ask = PutBucket("c1", "shop", key=KEY, retention=limits, actor_scopes=editing)
        assert await place.refused(ask) == "scope-forbidden"
        await place.bus.ask(PutBucket("c2", "shop", key=KEY, actor_scopes=editing))
        assert await place.refused(PatchBucket("c3", KEY, retention=limits, actor_scopes=editing)) == (
            "scope-forbidden"
        )
        owning: tuple[Scope, ...] = (*editing, "data:delete")
        changed = await place.bus.ask(PatchBucket("c4", KEY, retention=limits, actor_scopes=owning))
        assert changed.retention == limits


async def test_a_deleted_team_makes_no_buckets(place: Place) -> None:
    async with place.identity():
        await place.happens(TeamCreated("shop", "The shop"), "identity.team-shop")
        await place.bus.ask(PutBucket("c1", "orders", key=KEY, team="shop"))
        await place.happens(TeamDeleted("shop"), "identity.team-shop")
        assert await place.refused(PutBucket("c2", "more", team="shop")) == "team-unknown"


async def test_pages_stay_right_while_buckets_come_and_go(place: Place) -> None:
    async with place.identity():
        keys = [f"bucket{number:06}" for number in (5, 3, 9, 1, 7, 2)]
        for number, key in enumerate(keys):
            await place.bus.ask(PutBucket(f"c{number}", "b", key=key))
            await place.bus.clock.advance(0.5)
        first = await place.bus.ask(ListBuckets(limit=2))
        assert [bucket.key for bucket in first.buckets] == keys[:2]
        assert first.next_cursor is not None
        await place.bus.ask(DeleteBucket("d1", keys[1]))  # the one that the cursor stands at
        await place.bus.ask(DeleteBucket("d2", keys[3]))
        await place.bus.ask(PutBucket("new", "b", key="bucket000000"))
        second = await place.bus.ask(ListBuckets(limit=2, cursor=first.next_cursor))
        assert [bucket.key for bucket in second.buckets] == [keys[2], keys[4]]
        assert second.next_cursor is not None
        third = await place.bus.ask(ListBuckets(limit=2, cursor=second.next_cursor))
        assert [bucket.key for bucket in third.buckets] == [keys[5], "bucket000000"]
        assert third.next_cursor is None
        for ask in (
            ListBuckets(cursor=first.next_cursor, team="rivals"),
            ListBuckets(cursor=first.next_cursor, allowed_buckets=(keys[0],)),
            ListBuckets(cursor="nonsense"),
            ListBuckets(cursor="Ä"),
            ListBuckets(cursor=first.next_cursor[:-3]),
        ):
            assert await place.refused(ask) == "cursor-invalid", ask
        for limit in (0, -1, 501):
            assert await place.refused(ListBuckets(limit=limit)) == "list-invalid"


async def test_a_bucket_that_was_deleted_elsewhere_is_gone_here(place: Place) -> None:
    async with place.identity():
        await place.bus.ask(PutBucket("c1", "shop", key=KEY))
        await place.happens(BucketDeleted(KEY), STREAM)
        assert await place.refused(GetBucket(KEY)) == "bucket-unknown"
        assert await place.refused(PatchBucket("c2", KEY, name="x")) == "bucket-unknown"
        assert await place.refused(PutBucket("c3", "x", key=KEY)) == "bucket-invalid"
