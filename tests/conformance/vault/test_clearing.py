"""What a share names, what still names a body, and a bucket that is erased step by step."""

from __future__ import annotations

from bus import codec
from bus.message import Fact
from schemas.request_vault import (
    ANY_VERSION,
    CallAnnotated,
    CallDeleted,
    CallRestored,
    CallShared,
    CallStarred,
    CallUnshared,
)
from schemas.traffic_gateway import Body
from services.request_vault.domain.calls import CallQuery
from services.request_vault.domain.cursors import Vector
from services.request_vault.store.port import Scope, Store
from tests.conformance.vault.vaults import Open, ids, whole_log
from tests.services.request_vault.samples import BUCKET, captured, event_of, order

OTHER = "anotherbuckt"
HASHES = [f"{number:064x}" for number in range(4)]


async def decide(store: Store, id: str, *facts: Fact, bucket: str = BUCKET) -> None:
    for fact in facts:
        event = event_of(fact, f"{id}-{fact.TYPE}", key=bucket, subject=id)
        await store.append(f"vault.call-{id}", ANY_VERSION, [codec.encode_event(event)])


def body(number: int) -> Body:
    return Body(20_000, 20_000, HASHES[number])


async def upto(store: Store) -> Vector:
    return {end.partition: end.number for end in await store.ends()}


async def erase_all(store: Store, bucket: str, until: Vector, most: int = 3) -> tuple[set[str], set[str]]:
    """The calls that went, and the bodies that nobody names any more."""
    calls: set[str] = set()
    bodies: set[str] = set()
    while (erased := await store.erase_bucket(bucket, until, most, by="t-1", why="by law")).records:
        calls |= set(erased.calls)
        bodies |= {name.sha256 for name in erased.bodies}
    return calls, bodies


async def test_a_share_names_its_call(store: Store) -> None:
    await store.record([captured("c-1"), captured("c-2")])
    assert await store.get_shared("s-1") is None
    await decide(store, "c-2", CallShared("c-2", BUCKET, "s-1"))
    found = await store.get_shared("s-1")
    assert found is not None
    assert found.position == (1, 2)
    assert found.marks is not None
    assert (found.marks.id, found.marks.share) == ("c-2", "s-1")
    await decide(store, "c-2", CallDeleted("c-2", BUCKET))
    assert await store.get_shared("s-1") is None
    await decide(store, "c-2", CallRestored("c-2", BUCKET))
    assert await store.get_shared("s-1") is not None
    await decide(store, "c-2", CallUnshared("c-2", BUCKET))
    assert await store.get_shared("s-1") is None


async def test_a_body_is_named_as_long_as_a_call_of_its_bucket_does(store: Store) -> None:
    await store.record(
        [
            captured("c-1", request_body=body(0), response_body=body(1)),
            captured("c-2", response_body=body(1)),
            captured("c-3", bucket=OTHER, response_body=body(2)),
        ]
    )
    assert await store.named(BUCKET, HASHES) == {HASHES[0], HASHES[1]}
    assert await store.named(OTHER, HASHES) == {HASHES[2]}
    assert await store.named("nobody", HASHES) == await store.named(BUCKET, []) == set()
    trimmed = await store.trim(Scope(BUCKET, keep_calls=1), 10)
    assert [name.sha256 for name in trimmed.bodies] == [HASHES[0]]
    assert await store.named(BUCKET, HASHES) == {HASHES[1]}
    await store.erase(BUCKET, ["c-2"], by="", why="")
    assert await store.named(BUCKET, HASHES) == set()


async def test_a_bucket_is_erased_with_what_was_said_of_its_calls(opens: Open) -> None:
    async with opens() as store:
        await store.record([captured(f"c-{n}", response_body=body(n % 2)) for n in range(8)])
        await store.record([captured("o-1", bucket=OTHER, response_body=body(0))])
        await store.record([order(1, key=BUCKET), order(2, key="eu")])
        await decide(store, "c-1", CallStarred("c-1", BUCKET), CallAnnotated("c-1", BUCKET, "a note"))
        await decide(store, "gone", CallAnnotated("gone", BUCKET, "of a call that has expired"))
        await decide(store, "o-1", CallStarred("o-1", OTHER), bucket=OTHER)
        until = await upto(store)
        await store.record([captured("later", response_body=body(1))])
        calls, bodies = await erase_all(store, BUCKET, until)
        assert calls == {f"c-{n}" for n in range(8)}
        assert bodies == {HASHES[0]}
        left = ids(await whole_log(store))
        assert len(left) == 4
        assert {"order-2", "o-1-vault.call.starred"} < set(left)
        assert [each.id for each in (await store.search_calls(CallQuery(BUCKET))).calls] == ["later"]
        assert (await store.stats()).calls == 2
        # What is erased does not rise, and its numbers stay used.
        again = await store.record([captured("c-3", response_body=body(1)), captured("new")])
        assert (again.recorded, again.repeated) == (1, 1)
        assert again.calls[BUCKET][1] == (1, 13)
        assert await store.check() == []
    async with opens() as store:
        assert await erase_all(store, BUCKET, until) == (set(), set())
        assert await store.check() == []


async def test_nothing_is_erased_of_a_bucket_that_nobody_knows(store: Store) -> None:
    await store.record([captured("c-1")])
    assert await erase_all(store, "nobody", await upto(store)) == (set(), set())
    assert await erase_all(store, BUCKET, {}) == (set(), set())
    assert (await store.stats()).calls == 1


async def test_a_checkpoint_is_taken_at_any_time(store: Store) -> None:
    assert await store.checkpoint()
    await store.record([captured(f"c-{n}") for n in range(50)])
    await store.trim(Scope(BUCKET, keep_calls=1), 100)
    assert await store.checkpoint()
    assert len((await store.search_calls(CallQuery(BUCKET))).calls) == 1
