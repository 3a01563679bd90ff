"""Tokens over a bus: secrets, their rotation, and whose they are."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import msgspec

from bus.ids import derived
from schemas.identity import (
    CreateToken,
    DeleteBucket,
    GetToken,
    ListTokens,
    PutBucket,
    RenameToken,
    RevokeToken,
    RotateToken,
    Token,
)
from services.chassis.access import Access
from services.chassis.access.tokens import digest_of, is_mistyped
from tests.services.grounds import a_ground
from tests.services.identity.place import Place

KEY = "7xzcnsgbwox2"
CREATE = CreateToken("c1", "laptop", ("calls:read",))


def without_secret(token: Token) -> Token:
    return msgspec.structs.replace(token, secret=None)


async def test_a_secret_is_shown_sealed_and_kept_nowhere(place: Place) -> None:
    async with place.identity():
        made = await place.bus.ask(CREATE)
        secret = place.secret_in(made)
        assert secret.startswith("tl_")
        assert not is_mistyped(secret)
        assert made.secret is not None
        assert secret not in made.secret
        events = b"".join(recorded.event for recorded in place.log.records)
        assert digest_of(secret).encode() in events
        assert secret.encode() not in events
        assert await place.bus.ask(GetToken(made.id)) == without_secret(made)
        assert (await place.bus.ask(ListTokens())).tokens == (await place.bus.ask(GetToken(made.id)),)


async def test_the_same_command_is_one_token_and_one_secret(place: Place) -> None:
    """On each of two instances, at once and one after the other."""
    async with place.identity("a"), place.identity("b"):
        async with asyncio.TaskGroup() as tasks:
            asking = [tasks.create_task(place.bus.ask(CREATE)) for _ in range(6)]
        answers = [task.result() for task in asking] + [await place.bus.ask(CREATE) for _ in range(2)]
        assert len({place.secret_in(answer) for answer in answers}) == 1
        assert len({answer.id for answer in answers}) == 1
        assert len(place.log.records) == 1
        other = await place.bus.ask(CreateToken("c2", "laptop", ("calls:read",)))
        assert place.secret_in(other) != place.secret_in(answers[0])


async def test_nobody_makes_a_token_that_may_more(place: Place) -> None:
    async with place.identity():
        await place.bus.ask(PutBucket("b1", "shop", key=KEY))
        await place.bus.ask(PutBucket("b2", "rivals", key="k2xzcnsgbwox", team="rivals"))
        for ask, slug in (
            (CreateToken("c", "t", ("data:delete",), actor_scopes=("tokens:write",)), "scope-forbidden"),
            (CreateToken("c", "t", ("calls:read",), allowed_buckets=(KEY,)), "scope-forbidden"),
            (CreateToken("c", "t", ("calls:read",), buckets=("k2xzcnsgbwox",)), "token-invalid"),
            (CreateToken("c", "t", ("calls:read",), buckets=("nobodysbuckt",)), "token-invalid"),
        ):
            assert await place.refused(ask) == slug, ask
        assert len(place.log.records) == 2


async def test_many_unknown_buckets_cost_no_more_than_one(place: Place) -> None:
    async with place.identity():
        reads = place.log.reads
        many = tuple(f"bucket{number:06}" for number in range(100))
        assert await place.refused(CreateToken("c", "t", ("calls:read",), buckets=many)) == "token-invalid"
        assert place.log.reads <= reads + 2


async def test_a_bucket_that_was_just_made_elsewhere_can_be_named(place: Place) -> None:
    async with place.identity("a"), place.identity("b"):
        for number in range(4):
            key = f"bucket{number:06}"
            await place.bus.ask(PutBucket(f"b{number}", "b", key=key))
            await place.bus.ask(CreateToken(f"c{number}", "t", ("calls:read",), buckets=(key,)))


async def test_a_rotated_token_works_by_both_secrets_for_a_while(place: Place) -> None:
    ground = a_ground(place.bus.as_source("api"), place.data_dir)
    async with place.identity(), Access.open(ground) as access:
        first = await place.bus.ask(CREATE)
        rotate = RotateToken("c2", first.id, overlap_s=60)
        second = await place.bus.ask(rotate)
        assert second.id == first.id
        assert second.overlap_ends_at == place.bus.clock.now() + timedelta(seconds=60)
        old, new = place.secret_in(first), place.secret_in(second)
        assert old != new
        await place.log.tell()
        await place.bus.settled()
        assert await access.grant(old) == await access.grant(new) is not None
        await place.bus.clock.advance(30)
        again = await place.bus.ask(rotate)
        assert place.secret_in(again) == new
        assert without_secret(again) == without_secret(second), "a repeat rotates nothing"
        await place.bus.clock.advance(30)
        assert await access.grant(old) is None
        assert await access.grant(new) is not None
        assert (await place.bus.ask(GetToken(first.id))).overlap_ends_at is None
        assert await place.refused(CREATE) == "token-invalid", "its secret is another by now"
        assert len(place.log.records) == 2


async def test_a_token_is_renamed(place: Place) -> None:
    async with place.identity():
        made = await place.bus.ask(CREATE)
        renamed = await place.bus.ask(RenameToken("c2", made.id, "desktop"))
        assert (renamed.name, renamed.secret) == ("desktop", None)
        assert await place.bus.ask(RenameToken("c2", made.id, "desktop")) == renamed
        assert await place.refused(RenameToken("c2", made.id, "phone")) == "command-conflict"
        assert await place.refused(RenameToken("c3", made.id, "")) == "token-invalid"
        assert len(place.log.records) == 2


async def test_commands_in_the_wrong_order(place: Place) -> None:
    """A revocation that comes before the creation, and changes of what is revoked."""
    async with place.identity():
        id = derived("c1", "token")
        assert await place.refused(RevokeToken("c2", id)) == "token-unknown"
        made = await place.bus.ask(CREATE)
        assert made.id == id
        await place.bus.ask(RevokeToken("c2", id))
        for ask in (RenameToken("c3", id, "x"), RotateToken("c4", id)):
            assert await place.refused(ask) == "token-unknown"
        assert await place.refused(CREATE) == "token-invalid"
        assert (await place.bus.ask(ListTokens())).tokens == ()
        assert await place.refused(GetToken(id)) == "token-unknown"


async def test_a_change_that_was_made_before_the_end_is_answered_after_it(place: Place) -> None:
    async with place.identity():
        made = await place.bus.ask(CREATE)
        renamed = await place.bus.ask(RenameToken("c2", made.id, "desktop"))
        await place.bus.ask(RevokeToken("c3", made.id))
        assert await place.bus.ask(RenameToken("c2", made.id, "desktop")) == renamed


async def test_another_teams_token_is_unknown_everywhere(place: Place) -> None:
    async with place.identity():
        made = await place.bus.ask(CREATE)
        for ask in (
            GetToken(made.id, team="rivals"),
            RenameToken("c1", made.id, "mine", team="rivals"),
            RotateToken("c1", made.id, team="rivals"),
            RevokeToken("c1", made.id, team="rivals"),
        ):
            assert await place.refused(ask) == "token-unknown"
        assert (await place.bus.ask(ListTokens(team="rivals"))).tokens == ()
        assert len(place.log.records) == 1


async def test_pages_of_tokens(place: Place) -> None:
    async with place.identity():
        made = []
        for number in range(5):
            made.append(await place.bus.ask(CreateToken(f"c{number}", f"t{number}", ("calls:read",))))
            await place.bus.clock.advance(0.5)
        first = await place.bus.ask(ListTokens(limit=2))
        assert [token.name for token in first.tokens] == ["t0", "t1"]
        assert first.next_cursor is not None
        await place.bus.ask(RevokeToken("r", made[1].id))
        rest = await place.bus.ask(ListTokens(cursor=first.next_cursor))
        assert [token.name for token in rest.tokens] == ["t2", "t3", "t4"]
        assert await place.refused(ListTokens(cursor=first.next_cursor, team="them")) == "cursor-invalid"


async def test_a_token_for_a_bucket_that_ends_stays_and_reaches_nothing_else(place: Place) -> None:
    async with place.identity():
        await place.bus.ask(PutBucket("b1", "shop", key=KEY))
        made = await place.bus.ask(CreateToken("c1", "t", ("calls:read",), buckets=(KEY,)))
        await place.bus.ask(DeleteBucket("b2", KEY))
        assert (await place.bus.ask(GetToken(made.id))).buckets == (KEY,)


async def test_a_secret_belongs_to_one_token_for_ever(place: Place) -> None:
    async with place.identity():
        token = await place.bus.ask(CREATE)
        digest = digest_of(place.secret_in(token))
        again = CreateToken("c2", "twin", ("calls:read",), digest)
        assert await place.refused(again) == "token-conflict"
        rotated = await place.bus.ask(RotateToken("c3", token.id, overlap_s=0))
        assert await place.refused(again) == "token-conflict"
        await place.bus.ask(RevokeToken("c4", token.id))
        assert await place.refused(again) == "token-invalid"
        now = CreateToken("c5", "twin", ("calls:read",), digest_of(place.secret_in(rotated)))
        assert await place.refused(now) == "token-invalid"
