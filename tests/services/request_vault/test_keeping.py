"""Retention end to end: the folder shrinks, what is marked stays, ingest goes on."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bus import codec
from bus.clock import Clock, SystemClock
from bus.errors import Refused, Unavailable
from bus.ids import derived
from bus.message import Fact
from bus.testing import Harness, ManualClock, harness
from schemas.identity import BucketCreated, BucketDeleted, Retention
from schemas.request_vault import (
    ANY_VERSION,
    Append,
    CallsExpired,
    DeleteCall,
    GetCall,
    GetVaultStats,
    ReadLog,
    ReadStream,
    RestoreCall,
    SearchCalls,
    ShareCall,
    StarCall,
)
from services.request_vault.config import Config
from services.request_vault.store import open_store
from services.request_vault.store.bodies import DirectoryBodies
from services.request_vault.store.port import Scope, Store, Trimmed
from services.request_vault.worker.keeping import BODY_REST_S, ORPHAN_S, SWEEP_S, Keeping
from tests.services.request_vault.running import apart, send_body, vault
from tests.services.request_vault.samples import BUCKET, captured
from tests.services.request_vault.test_bodies import chunks_of

ROUND_S = 60.0
EMPTY_BYTES = 1_000_000
"""More than a vault takes that holds next to nothing."""
DAY_S = 86_400.0


@pytest.fixture
def clock() -> ManualClock:
    """Files have real times."""
    return ManualClock(datetime.now(UTC))


async def rounds(b: Harness, *, count: int = 1) -> None:
    """Time goes on by rounds until each has ended."""
    for _ in range(count):
        due = b.clock.now() + timedelta(seconds=ROUND_S)
        await b.clock.advance(ROUND_S)
        async with asyncio.timeout(20):
            while True:
                seen = (await b.ask(GetVaultStats())).retention
                if seen is not None and seen.began_at >= due and seen.took_ms is not None:
                    break
                await b.clock.advance(0.05)  # its pauses


async def decide(b: Harness, *facts: Fact) -> None:
    for fact in facts:
        key: str = fact.key  # type: ignore[attr-defined]
        id = derived(key, fact.TYPE, b.clock.now().isoformat())
        event = b.envelop(fact, key=key, subject=key, id=id)
        await b.ask(Append(f"identity.bucket-{key}", ANY_VERSION, (codec.encode_event(event),)))


async def calls(b: Harness) -> list[str]:
    return [call.id for call in (await b.ask(SearchCalls(BUCKET, limit=500))).calls]


def folder_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


async def expired(b: Harness, bucket: str = BUCKET) -> list[CallsExpired]:
    records = (await b.ask(ReadStream(f"vault.retention-{bucket}"))).records
    events = codec.decode_batch(codec.join_batch([record.event for record in records]))
    return [event.read(CallsExpired) for event in events]


async def test_disk_comes_back_and_what_is_marked_stays(tmp_path: Path, clock: ManualClock) -> None:
    count, kept = 120, 20
    async with vault(tmp_path, clock=clock) as b:
        await decide(b, BucketCreated(BUCKET, "orders", "default", retention=Retention(max_calls=kept)))
        for number in range(count):
            data = os.urandom(40_000)
            await send_body(b, data)
            await b.emit(captured(f"c-{number:03}", response_body=apart(data)))
        await b.settled()
        await b.ask(StarCall("one", BUCKET, "c-000"))
        await b.ask(ShareCall("two", BUCKET, "c-001"))
        full = folder_bytes(tmp_path)
        assert full > count * 40_000
        # The bodies have rested when the second round comes.
        await rounds(b)
        await b.clock.advance(BODY_REST_S)
        await rounds(b)
        left = await calls(b)
        assert len(left) == kept
        assert left == ["c-119", *[f"c-{n:03}" for n in range(118, 101, -1)], "c-001", "c-000"]
        assert folder_bytes(tmp_path) < kept * 40_000 + EMPTY_BYTES
        for id in ("c-000", "c-001", "c-119"):
            assert (await b.ask(GetCall(id))).body_missing == ()
        (told,) = await expired(b)
        assert (told.reason, told.records, told.calls) == ("count", 100, 100)
        assert (told.first, told.last) == ((1, 3), (1, 102))
        stats = await b.ask(GetVaultStats())
        assert stats.bodies == kept
        assert stats.calls == kept
        assert stats.published_to == stats.partitions[0], "what retention did is published as it is told"
    assert folder_bytes(tmp_path) < kept * 40_000 + EMPTY_BYTES


async def test_the_oldest_go_for_their_age_and_for_their_bytes(tmp_path: Path, clock: ManualClock) -> None:
    config = Config(retention_bytes=20_000)
    async with vault(tmp_path, clock=clock, config=config) as b:
        await decide(b, BucketCreated(BUCKET, "orders", "default", retention=Retention(max_age_s=3600)))
        await b.emit(*(captured(f"old-{number}") for number in range(3)))
        await b.settled()
        await b.clock.advance(3000)
        await b.emit(*(captured(f"new-{number}") for number in range(3)))
        await b.settled()
        await b.clock.advance(700)
        await rounds(b)
        assert sorted(await calls(b)) == ["new-0", "new-1", "new-2"]
        await b.emit(*(captured(f"more-{number:02}") for number in range(60)))
        await b.settled()
        await rounds(b)
        left = await calls(b)
        assert 10 < len(left) < 60
        assert left == [f"more-{number:02}" for number in range(59, 59 - len(left), -1)]
        assert [(each.bucket, each.reason) for each in await expired(b)] == [(BUCKET, "age")]
        (told,) = await expired(b, "_")
        assert (told.reason, told.calls) == ("bytes", 63 - len(left))
        usage = {each.bucket: each.bytes for each in (await b.ask(GetVaultStats())).usage}
        assert usage[BUCKET] <= 20_000


def later(clock: ManualClock, seconds: float) -> ManualClock:
    return ManualClock(clock.now() + timedelta(seconds=seconds))


async def test_a_deleted_call_can_be_restored_for_a_day(tmp_path: Path, clock: ManualClock) -> None:
    async with vault(tmp_path, clock=clock) as b:
        await b.emit(captured("c-1"), captured("c-2"), captured("c-3"))
        await b.settled()
        await b.ask(StarCall("star", BUCKET, "c-1"))
        for id in ("c-1", "c-2"):
            await b.ask(DeleteCall(f"delete-{id}", BUCKET, id))
    async with vault(tmp_path, clock=later(clock, DAY_S - 2 * ROUND_S)) as b:
        await rounds(b)
        await b.ask(RestoreCall("restore", BUCKET, "c-2"))
        await rounds(b, count=2)
        # A star does not keep what somebody has deleted.
        with pytest.raises(Refused) as refused:
            await b.ask(RestoreCall("too late", BUCKET, "c-1"))
        assert refused.value.reason == "call-unknown"
        assert sorted(await calls(b)) == ["c-2", "c-3"]
        assert [(each.reason, each.calls) for each in await expired(b, "_")] == [("deleted", 1)]


async def test_what_a_deleted_bucket_held_is_kept_a_week_and_decisions_for_ever(
    tmp_path: Path, clock: ManualClock
) -> None:
    async with vault(tmp_path, clock=clock) as b:
        await decide(b, BucketCreated(BUCKET, "orders", "default"))
        data = os.urandom(20_000)
        await send_body(b, data)
        await b.emit(captured("c-1", response_body=apart(data)), captured("c-2"))
        await b.settled()
        await b.ask(StarCall("star", BUCKET, "c-2"))
        await decide(b, BucketDeleted(BUCKET))
    async with vault(tmp_path, clock=later(clock, 7 * DAY_S - 2 * ROUND_S)) as b:
        await rounds(b)
        assert len(await calls(b)) == 2
        await rounds(b)
        assert await calls(b) == ["c-2"]
        assert (await b.ask(GetVaultStats())).bodies == 0
        types = [
            codec.decode_event(record.event).type for record in (await b.ask(ReadLog(key=BUCKET))).records
        ]
        assert sorted(types) == [
            "identity.bucket.created",
            "identity.bucket.deleted",
            "traffic.call.captured",
            "vault.call.expired",
            "vault.call.starred",
        ]


class LeapingClock(ManualClock):
    """Whoever sleeps is at once where he wanted to be."""

    async def sleep(self, delay_s: float) -> None:
        await self.advance(delay_s)


Kept = tuple[Store, DirectoryBodies, Keeping]


@asynccontextmanager
async def keeping_in(folder: Path, clock: Clock, limits: Retention) -> AsyncIterator[Kept]:
    async with (
        harness(source="request_vault") as b,
        open_store("sqlite:", folder, clock, partitions=1, readers=2) as store,
    ):
        bodies = DirectoryBodies(folder / "bodies", clock)
        yield (
            store,
            bodies,
            Keeping(store, bodies, b, clock, limits, interval_s=ROUND_S, decided=lambda: None),
        )


async def put(bodies: DirectoryBodies, data: bytes) -> str:
    (chunk,) = chunks_of(data, len(data), BUCKET)
    assert await bodies.put([chunk]) == [None]
    return chunk.sha256


async def test_a_body_goes_when_no_call_can_be_on_its_way_to_it(tmp_path: Path) -> None:
    clock = LeapingClock(datetime.now(UTC))
    async with keeping_in(tmp_path, clock, Retention(max_calls=1)) as (store, bodies, keeping):
        data, other = os.urandom(20_000), os.urandom(20_000)
        again, gone = await put(bodies, data), await put(bodies, other)
        await store.record(
            [
                captured("c-1", request_body=apart(data), response_body=apart(other)),
                captured("c-2"),
            ]
        )
        assert (await keeping.keep()).calls == 1
        assert await bodies.missing(BUCKET, [again, gone]) == set()
        # A call with the same bytes comes, before they have rested: its body is young again, or named.
        await store.record([captured("c-3", response_body=apart(data))])
        await clock.advance(BODY_REST_S + 60)
        assert (await keeping.keep()).bodies == 1
        assert await bodies.missing(BUCKET, [again, gone]) == {gone}


async def test_a_body_that_is_put_again_has_to_rest_again(tmp_path: Path) -> None:
    clock = LeapingClock(datetime.now(UTC))
    async with keeping_in(tmp_path, clock, Retention(max_calls=1)) as (store, bodies, keeping):
        data = os.urandom(20_000)
        sha256 = await put(bodies, data)
        await store.record([captured("c-1", response_body=apart(data)), captured("c-2")])
        await keeping.keep()
        await clock.advance(BODY_REST_S + 60)
        for path in (tmp_path / "bodies").rglob(f"{sha256}*"):
            moment = (clock.now() - timedelta(seconds=5)).timestamp()
            os.utime(path, (moment, moment))
        await keeping.keep()
        assert await bodies.missing(BUCKET, [sha256]) == set()


async def test_bodies_that_nothing_names_are_swept(tmp_path: Path) -> None:
    clock = LeapingClock(datetime.now(UTC))
    async with keeping_in(tmp_path, clock, Retention()) as (store, bodies, keeping):
        named, orphan = os.urandom(20_000), os.urandom(20_000)
        hashes = [await put(bodies, named), await put(bodies, orphan)]
        await store.record([captured("c-1", response_body=apart(named))])
        await clock.advance(ORPHAN_S - 60)
        await keeping.keep()
        assert await bodies.missing(BUCKET, hashes) == set()
        await clock.advance(SWEEP_S)
        done = await keeping.keep()
        assert await bodies.missing(BUCKET, hashes) == {hashes[1]}
        assert (done.bodies, done.records) == (1, 0)


async def test_identities_of_what_went_are_forgotten_in_the_end(tmp_path: Path) -> None:
    clock = LeapingClock()
    async with keeping_in(tmp_path, clock, Retention(max_calls=1)) as (store, _, keeping):
        await store.record([captured("c-1"), captured("c-2")])
        await keeping.keep()
        assert (await store.record([captured("c-1")])).repeated == 1
        await clock.advance(91 * DAY_S)
        await keeping.keep()
        # It is refused for its age then: nothing rises again.
        (refused,) = (await store.record([captured("c-1")])).refused
        assert "may not be new" in str(refused[1])
        assert (await store.stats()).calls == 1


@pytest.mark.slow
async def test_ingest_is_not_held_up(tmp_path: Path) -> None:
    """50 ms is what a step may take; the bound here leaves room for a slow disk and a busy machine."""
    clock = SystemClock()
    async with keeping_in(tmp_path, clock, Retention(max_calls=100)) as (store, _, keeping):
        for at in range(0, 6000, 500):
            await store.record([captured(f"c-{number}") for number in range(at, at + 500)])
        waits: list[float] = []
        working = asyncio.ensure_future(keeping.keep())
        number = 0
        while not working.done():
            began_s = clock.monotonic()
            await store.record([captured(f"more-{number}-{each}") for each in range(20)])
            waits.append(clock.monotonic() - began_s)
            number += 1
        done = await working
        assert done.calls >= 5900
        assert done.steps >= 30
        waits.sort()
        assert waits[len(waits) // 2] < 0.1
        assert waits[-1] < 0.5
        assert done.longest_step_ms < 500


async def test_a_round_that_breaks_off_tells_what_it_took(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with keeping_in(tmp_path, LeapingClock(), Retention(max_calls=100)) as (store, _, keeping):
        await store.record([captured(f"c-{number}") for number in range(600)])
        trim, trims = store.trim, itertools.count(1)

        async def third_fails(scope: Scope, most: int) -> Trimmed:
            if next(trims) == 3:  # the first found no deleted calls
                raise Unavailable("the disk is full")
            return await trim(scope, most)

        monkeypatch.setattr(store, "trim", third_fails)
        with pytest.raises(Unavailable, match="the disk is full"):
            await keeping.keep()
        page = await store.read_stream("vault.retention-_", 0, 10)
        (event,) = codec.decode_batch(codec.join_batch([record.event for record in page.records]))
        assert event.read(CallsExpired).calls == 600 - (await store.stats()).calls > 0
        # The next round goes on.
        await keeping.keep()
        assert (await store.stats()).calls == 100
