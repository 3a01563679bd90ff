"""Retention and erasure: what goes, what stays, and that the log can be proved afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta

import pytest

from bus import codec
from bus.errors import Refused, Reject
from schemas.request_vault import ANY_VERSION, NO_STREAM, CallDeleted, CallShared, CallStarred
from schemas.traffic_gateway import Body
from services.request_vault.domain.calls import CallQuery
from services.request_vault.domain.links import Gone
from services.request_vault.domain.recording import to_us
from services.request_vault.store.port import Scope, Selection, Store, Trimmed
from tests.conformance.vault.proofs import problems
from tests.conformance.vault.vaults import Clock, Open, decoded, ids, whole_log
from tests.services.request_vault.samples import (
    BUCKET,
    START,
    call,
    call_event,
    captured,
    decision,
    event_of,
    order,
)

OTHER = "9abcdefghijk"
EVERYTHING = Scope(keep_records=0)
DAY_US = 86_400 * 1_000_000


def apart(sha256: str) -> Body:
    """A body that does not ride in the event."""
    return Body(size_bytes=50_000, captured_bytes=50_000, sha256=sha256, inline=None)


def mark(fact: CallStarred | CallShared | CallDeleted, name: str, *, at_s: float = 0.0) -> bytes:
    return codec.encode_event(event_of(fact, name, key=fact.bucket, subject=fact.id, at_s=at_s))


async def calls_of(store: Store, bucket: str) -> list[str]:
    return [call.id for call in (await store.search_calls(CallQuery(bucket, limit=500))).calls]


async def trim_all(store: Store, scope: Scope, most: int = 200) -> list[Trimmed]:
    steps = [await store.trim(scope, most)]
    while steps[-1].more:
        steps.append(await store.trim(scope, most))
    return steps


# --- what a trim takes


async def test_the_oldest_go_first_and_only_as_many_as_a_step_may_take(store: Store) -> None:
    await store.record([captured(f"c-{n}") for n in range(10)])
    step = await store.trim(Scope(BUCKET, keep_records=3), 4)
    assert (step.records, step.calls, step.first, step.last, step.more) == (4, 4, (1, 1), (1, 4), True)
    step = await store.trim(Scope(BUCKET, keep_records=3), 4)
    assert (step.records, step.first, step.last, step.more) == (3, (1, 5), (1, 7), False)
    assert (await store.trim(Scope(BUCKET, keep_records=3), 4)).records == 0
    assert await calls_of(store, BUCKET) == ["c-9", "c-8", "c-7"]
    assert await problems(store) == []


async def test_age_is_the_time_of_recording(store: Store, clock: Clock) -> None:
    await store.record([captured("old", at_s=5000)])
    clock.at_s = 100
    await store.record([captured("young", at_s=-5000)])
    step = await store.trim(Scope(BUCKET, before_us=to_us(START) + 50_000_000), 100)
    assert step.records == 1
    assert await calls_of(store, BUCKET) == ["young"]


async def test_what_is_beyond_a_count_of_calls_goes_with_what_is_older(store: Store) -> None:
    await store.record(
        [order(1, key=BUCKET), captured("c-1"), order(2, key=BUCKET), captured("c-2"), captured("c-3")]
    )
    await trim_all(store, Scope(BUCKET, keep_calls=2))
    assert [decoded(record).subject for record in await whole_log(store)] == ["o-2", "c-2", "c-3"]


async def test_what_is_beyond_so_many_bytes_goes(store: Store) -> None:
    await store.record([captured(f"c-{n}") for n in range(10)])
    (usage,) = (await store.stats()).usage
    await trim_all(store, Scope(BUCKET, keep_bytes=usage.bytes // 2))
    (after,) = (await store.stats()).usage
    assert after.bytes <= usage.bytes // 2 < after.bytes + usage.bytes // 10 + 1
    assert (after.records, after.calls) == (5, 5)


async def test_a_scope_takes_only_its_own(store: Store) -> None:
    await store.record([captured("mine"), captured("theirs", bucket=OTHER), order(1)])
    await trim_all(store, Scope(BUCKET, keep_records=0))
    assert await calls_of(store, OTHER) == ["theirs"]
    assert [usage.bucket for usage in (await store.stats()).usage] == [OTHER, "eu"]


async def test_the_whole_installation_is_a_scope_too(opens: Open, clock: Clock) -> None:
    async with opens(partitions=3) as store:
        for n in range(12):
            clock.at_s += 1
            await store.record([order(n, key=f"key-{n % 5}")])
        await trim_all(store, Scope(keep_records=4), most=3)
        assert sorted(decoded(record).subject or "" for record in await whole_log(store)) == [
            "o-10", "o-11", "o-8", "o-9",
        ]  # fmt: skip
        assert await problems(store) == []


async def test_decisions_are_never_trimmed(store: Store) -> None:
    await store.append("shop.thing-a", NO_STREAM, [decision("a1"), decision("a2", key=BUCKET)])
    await store.record([order(1)])
    await trim_all(store, EVERYTHING)
    assert ids(await whole_log(store)) == ["a1", "a2"]


async def test_starred_and_shared_calls_survive(store: Store) -> None:
    await store.record([captured(f"c-{n}") for n in range(6)])
    await store.append("vault.call-c-1", NO_STREAM, [mark(CallStarred("c-1", BUCKET), "m-1")])
    await store.append("vault.call-c-4", NO_STREAM, [mark(CallShared("c-4", BUCKET, "link"), "m-2")])
    assert sum(step.records for step in await trim_all(store, EVERYTHING, most=2)) == 4
    assert await calls_of(store, BUCKET) == ["c-4", "c-1"]
    assert (await store.stats()).usage[0].records == 2
    assert await problems(store) == []


async def test_a_share_that_has_ended_keeps_nothing(store: Store, clock: Clock) -> None:
    await store.record([captured(f"c-{n}") for n in range(4)])
    ends_at = START + timedelta(seconds=100)
    facts: list[CallShared | CallStarred] = [
        CallShared("c-0", BUCKET, "ends", ends_at),
        CallShared("c-1", BUCKET, "lasts"),
        CallShared("c-2", BUCKET, "ends, but is starred", ends_at),
        CallStarred("c-2", BUCKET),
    ]
    for number, fact in enumerate(facts):
        await store.append(f"vault.call-{fact.id}", ANY_VERSION, [mark(fact, f"m-{number}")])
    clock.at_s = 99
    await trim_all(store, Scope(BUCKET, keep_records=0))
    assert await calls_of(store, BUCKET) == ["c-2", "c-1", "c-0"]
    clock.at_s = 100  # the moment from which it is not shown any more
    await trim_all(store, Scope(BUCKET, keep_records=0))
    assert await calls_of(store, BUCKET) == ["c-2", "c-1"]
    await trim_all(store, EVERYTHING)
    assert await calls_of(store, BUCKET) == ["c-2", "c-1"]
    assert await problems(store) == []


async def test_deleted_calls_go_when_their_time_has_come(store: Store, clock: Clock) -> None:
    await store.record([captured(f"c-{n}") for n in range(4)])
    await store.append("vault.call-c-1", NO_STREAM, [mark(CallDeleted("c-1", BUCKET), "m-1", at_s=10)])
    await store.append("vault.call-c-3", NO_STREAM, [mark(CallDeleted("c-3", BUCKET), "m-2", at_s=20)])
    step = await store.trim(Scope(deleted_before_us=to_us(START) + 15_000_000), 100)
    assert (step.records, step.first) == (1, (1, 2))
    assert await store.get_call("c-1", BUCKET, deleted=True) is None
    assert await store.get_call("c-3", BUCKET, deleted=True) is not None
    step = await store.trim(Scope(OTHER, deleted_before_us=to_us(START) + 50_000_000), 100)
    assert step.records == 0


async def test_bodies_are_named_once_no_call_names_them(store: Store) -> None:
    shared, own = "aa" * 32, "bb" * 32
    await store.record(
        [
            call_event(call("c-1", request_body=apart(shared), response_body=apart(own))),
            call_event(call("c-2", response_body=apart(shared))),
            call_event(call("c-3", bucket=OTHER, response_body=apart(own))),
        ]
    )
    assert (await store.trim(Scope(BUCKET, keep_records=1), 100)).bodies == ((BUCKET, own),)
    assert (await store.trim(Scope(BUCKET, keep_records=0), 100)).bodies == ((BUCKET, shared),)
    assert (await store.erase(OTHER, ["c-3"], by="p", why="")).bodies == ((OTHER, own),)


# --- what stays


async def test_what_was_trimmed_does_not_rise_again(opens: Open) -> None:
    events = [captured(f"c-{n}") for n in range(5)]
    async with opens() as store:
        await store.record(events)
        await trim_all(store, EVERYTHING)
        assert (await store.record(events)).repeated == 5
    async with opens() as store:
        answer = await store.record([*events, captured("c-9")])
        assert (answer.repeated, answer.recorded, answer.calls) == (5, 1, {BUCKET: (1, (1, 6))})
        assert await calls_of(store, BUCKET) == ["c-9"]
        assert len((await store.record([captured("c-1", status=500)])).refused) == 1


async def test_a_trimmed_log_is_proved_whatever_went_in_whatever_order(opens: Open) -> None:
    """Runs that meet, whole segments, keys in turn, an unfinished segment; each step is proved."""
    async with opens() as store:
        for n in range(5):
            await store.record([order(n * 500 + i, key=f"k-{i % 3}") for i in range(500)])
        for key, keep, most in (("k-0", 200, 170), ("k-1", 0, 90), ("k-0", 0, 333), ("k-2", 100, 401)):
            await trim_all(store, Scope(key, keep_records=keep), most)
            assert await problems(store, limit=77) == []
        await store.record([order(10_000 + i, key="k-1") for i in range(700)])
        assert await problems(store) == []
    async with opens() as store:
        await trim_all(store, EVERYTHING)
        assert await problems(store, limit=1) == []
        assert (await store.record([order(0, key="k-0")])).repeated == 1
        assert (await store.record([order(20_000)])).recorded == 1
        assert (await store.read_log(Selection(), {}, 500)).records[0].position == (1, 3201)
        assert await problems(store) == []


async def test_a_follower_of_the_log_passes_what_went(store: Store) -> None:
    await store.record([order(n, key="ab"[n % 2]) for n in range(20)])
    await trim_all(store, Scope("a", keep_records=0))
    found: list[str | None] = []
    reached: dict[int, int] = {}
    more = True
    while more:
        page = await store.read_log(Selection(), reached, 3)
        found += [decoded(record).subject for record in page.records]
        reached, more = page.reached, page.more
    assert found == [f"o-{n}" for n in range(20) if n % 2]


@pytest.mark.parametrize("model", ["calls", "events"])
async def test_what_goes_leaves_a_model_that_is_being_built_too(store: Store, model: str) -> None:
    await store.record([captured(f"c-{n}") for n in range(40)])
    await store.append("vault.call-c-30", NO_STREAM, [mark(CallStarred("c-30", BUCKET), "m-1")])
    await store.rebuild(model, 10)
    await store.rebuild(model, 10)
    await store.trim(Scope(BUCKET, keep_records=25), 100)
    await store.erase(BUCKET, ["c-30", "c-35"], by="", why="")
    await store.record([captured("c-40")])
    while (await store.rebuild(model, 7)).state == "rebuilding":
        await store.trim(Scope(BUCKET, keep_records=22), 1)
    await trim_all(store, Scope(BUCKET, keep_records=20))
    assert await calls_of(store, BUCKET) == [f"c-{n}" for n in range(40, 18, -1) if n not in (30, 35)]
    assert await problems(store) == []


# --- forgetting


async def test_what_was_forgotten_and_anything_as_old_is_refused(opens: Open, clock: Clock) -> None:
    async with opens() as store:
        await store.record([order(1, at_s=10), order(2, at_s=20), order(3, at_s=30)])
        await trim_all(store, Scope(keep_records=1))
        clock.at_s = 1000
        horizon = to_us(START) + 500 * 1_000_000
        assert await store.forget(horizon, 1) == 1
        assert await store.forget(horizon, 100) == 1
        assert await store.forget(horizon, 100) == 0
    async with opens() as store:
        answer = await store.record(
            [order(1, at_s=10), order(9, at_s=20), order(10, at_s=21), order(3, at_s=30)]
        )
        assert (answer.recorded, answer.repeated) == (1, 1)
        assert [index for index, _ in answer.refused] == [0, 1]
        for _, error in answer.refused:
            assert isinstance(error, Reject)
            assert "may not be new" in str(error)
        assert await problems(store) == []


async def test_what_another_vault_of_the_log_has_forgotten_is_refused_here(opens: Open) -> None:
    async with opens() as store:
        assert await store.floor_us() == 0
        await store.raise_floor(to_us(START) + 20_000_000)
        await store.raise_floor(to_us(START) + 10_000_000)
        assert [index for index, _ in (await store.record([order(1, at_s=20)])).refused] == [0]
    async with opens() as store:
        assert await store.floor_us() == to_us(START) + 20_000_000
        answer = await store.record([order(1, at_s=20), order(2, at_s=21)])
        assert [index for index, _ in answer.refused] == [0]
        assert answer.recorded == 1
        assert await store.check() == []


async def test_what_went_lately_is_not_forgotten(store: Store, clock: Clock) -> None:
    clock.at_s = 1000
    await store.record([order(1, at_s=10)])
    await trim_all(store, EVERYTHING)
    assert await store.forget(to_us(START) + 1000 * 1_000_000, 100) == 0
    assert (await store.record([order(1, at_s=10)])).repeated == 1


async def test_an_event_from_the_future_shuts_nobody_out(store: Store, clock: Clock) -> None:
    await store.record([order(1, at_s=10 * 365 * 86_400)])
    await trim_all(store, EVERYTHING)
    clock.at_s = 100 * 86_400
    assert await store.forget(to_us(START) + 90 * DAY_US, 100) == 1
    assert (await store.record([order(2, at_s=99 * 86_400)])).recorded == 1


# --- erasure


async def test_an_erased_call_is_gone_with_all_that_says_something_of_it(opens: Open) -> None:
    async with opens() as store:
        await store.record([captured("c-1"), captured("c-2")])
        await store.append("vault.call-c-1", NO_STREAM, [mark(CallStarred("c-1", BUCKET), "m-1")])
        erased = await store.erase(BUCKET, ["c-1", "unknown"], by="token-7", why="asked to")
        assert (erased.calls, erased.records) == (("c-1",), 2)
        assert (await store.erase(BUCKET, ["c-1"], by="token-7", why="asked to")).records == 0
    async with opens() as store:
        assert await calls_of(store, BUCKET) == ["c-2"]
        assert await store.get_call("c-1", BUCKET, deleted=True) is None
        assert [decoded(record).subject for record in await whole_log(store)] == ["c-2"]
        with pytest.raises(Refused, match="no event"):
            await store.trace("c-1", 100)
        assert (await store.record([captured("c-1")])).repeated == 1
        assert (await store.stats()).usage[0].records == 1
        gone = [link for link in await store.links(1, 0, 100) if isinstance(link, Gone)]
        assert [(link.number, link.by, link.why, link.stream) for link in gone] == [
            (1, "token-7", "asked to", "traffic.call-c-1")
        ]
        assert await problems(store) == []


async def test_an_erasure_is_of_one_bucket(store: Store) -> None:
    await store.record([captured("c-1")])
    assert (await store.erase(OTHER, ["c-1"], by="", why="")).records == 0
    assert await calls_of(store, BUCKET) == ["c-1"]


async def test_an_erased_decision_keeps_its_version_its_position_and_its_answer(opens: Open) -> None:
    events = [mark(CallStarred("c-1", BUCKET), "m-1"), mark(CallDeleted("c-1", BUCKET), "m-2")]
    async with opens() as store:
        await store.record([captured("c-1")])
        first = await store.append("vault.call-c-1", NO_STREAM, events)
        await store.append("vault.call-c-2", NO_STREAM, [mark(CallStarred("c-2", BUCKET), "m-3")])
        await store.erase(BUCKET, ["c-1"], by="", why="")
    async with opens() as store:
        again = await store.append("vault.call-c-1", NO_STREAM, events)
        assert (again.repeated, again.positions, again.version) == (True, first.positions, first.version)
        assert (await store.read_stream("vault.call-c-1", 0, 10)).head == 2
        page = await store.read_category("vault", 0, 10)
        assert (ids(page.records), page.head) == (["m-3"], 3)
        with pytest.raises(Refused, match="version 2"):
            await store.append("vault.call-c-1", NO_STREAM, [mark(CallStarred("c-1", BUCKET), "m-4")])
        after = await store.append("vault.call-c-1", 2, [mark(CallStarred("c-1", BUCKET), "m-5")])
        assert after.positions == ((0, 4),)
        assert await problems(store) == []


async def test_an_erased_head_is_still_the_head_that_a_follower_has_reached(opens: Open) -> None:
    async with opens() as store:
        await store.record([captured("c-1")])
        await store.append("vault.call-x", NO_STREAM, [mark(CallStarred("x", BUCKET), "m-0")])
        await store.append("vault.call-c-1", NO_STREAM, [mark(CallStarred("c-1", BUCKET), "m-1")])
        await store.erase(BUCKET, ["c-1"], by="", why="")
        assert store.heads() == {"vault": 2}
        assert (await store.read_category("vault", 2, 10)).head == 2
    async with opens() as store:
        assert store.heads() == {"vault": 2}
        page = await store.read_decisions(0, 10)
        assert (ids(page.records), page.head) == (["m-0"], 2)
        await store.append("vault.call-x", 1, [mark(CallStarred("x", BUCKET), "m-2")])
        assert [record.prev for record in (await store.read_category("vault", 0, 10)).records] == [None, 2]


async def test_what_was_erased_can_be_forgotten_and_its_version_cannot(store: Store, clock: Clock) -> None:
    await store.record([captured("c-1")])
    await store.append("vault.call-c-1", NO_STREAM, [mark(CallStarred("c-1", BUCKET), "m-1")])
    await store.erase(BUCKET, ["c-1"], by="", why="")
    clock.at_s = 1000
    assert await store.forget(to_us(START) + 500 * 1_000_000, 100) == 2
    assert (await store.append("vault.call-c-1", 1, [mark(CallStarred("c-1", BUCKET), "m-2")])).version == 2
    assert await problems(store) == []


# --- beside ingest


async def test_ingest_and_retention_go_on_together(new_vault: Callable[[], Open]) -> None:
    async with new_vault()() as store:

        async def ingest() -> None:
            for n in range(40):
                await store.record([order(n * 50 + i, key=f"k-{i % 2}") for i in range(50)])

        async def retain() -> None:
            while (await store.stats()).events < 2000:
                await store.trim(Scope("k-1", keep_records=50), 64)
            await trim_all(store, Scope("k-1", keep_records=50))

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(ingest())
            tasks.create_task(retain())
        usage = {each.bucket: each.records for each in (await store.stats()).usage}
        assert usage == {"k-0": 1000, "k-1": 50}
        assert await problems(store) == []
