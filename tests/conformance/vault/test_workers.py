"""Retention and erasure as the vault's workers do them, over every engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bus import codec
from bus.testing import Harness, ManualClock, harness
from schemas.identity import BucketCreated, Retention
from schemas.request_vault import ANY_VERSION, CallAnnotated, CallsExpired, CallStarred, Erasure
from schemas.traffic_gateway import CallCaptured
from services.request_vault.domain.calls import CallQuery
from services.request_vault.domain.erasing import Order
from services.request_vault.store.bodies import DirectoryBodies
from services.request_vault.store.erasures import Erasures
from services.request_vault.store.port import Selection, Store
from services.request_vault.worker.erasing import Erasing
from services.request_vault.worker.keeping import Keeping
from tests.conformance.vault.vaults import decoded
from tests.services.request_vault.running import inline
from tests.services.request_vault.samples import BUCKET, call, call_event, captured, event_of

OTHER = "anotherbuckt"


class LeapingClock(ManualClock):
    """Whoever sleeps is at once where he wanted to be."""

    async def sleep(self, delay_s: float) -> None:
        await self.advance(delay_s)


@pytest.fixture
def clock() -> LeapingClock:
    return LeapingClock()


@pytest.fixture
async def b(clock: LeapingClock) -> AsyncIterator[Harness]:
    async with harness(source="request_vault", clock=clock) as running:
        yield running


@asynccontextmanager
async def erasing(store: Store, b: Harness, folder: Path) -> AsyncIterator[Erasing]:
    async def purged() -> None:
        """Nothing is indexed here."""

    erasures = Erasures(folder / "erasures")
    bodies = DirectoryBodies(folder / "bodies", b.clock)
    worker = Erasing(store, bodies, erasures, b, b.clock, decided=lambda: None, purged=purged)
    await worker.resume()
    running = asyncio.ensure_future(worker.run())
    yield worker
    running.cancel()
    await asyncio.wait([running])


async def carried_out(store: Store, worker: Erasing, order: Order) -> Erasure:
    await worker.order(order)
    return await worker.finished(order.id)


async def upto(store: Store) -> dict[int, int]:
    return {end.partition: end.number for end in await store.ends()}


async def calls(store: Store, bucket: str = BUCKET) -> list[str]:
    return [each.id for each in (await store.search_calls(CallQuery(bucket, limit=500))).calls]


def sent(id: str, mail: str, bucket: str = BUCKET) -> CallCaptured:
    return call(id, bucket=bucket, response_body=inline(b'{"user": {"mail": "%s"}}' % mail.encode()))


async def test_a_round_takes_what_is_too_much(
    store: Store, b: Harness, clock: LeapingClock, tmp_path: Path
) -> None:
    limits = Retention(max_calls=5)
    made = event_of(BucketCreated(BUCKET, "b", "default", retention=limits), "made", source="identity")
    await store.append(f"identity.bucket-{BUCKET}", ANY_VERSION, [codec.encode_event(made)])
    await store.record([captured(f"c-{n:03}") for n in range(400)])
    await store.record([captured("o-1", bucket=OTHER)])
    starred = event_of(CallStarred("c-000", BUCKET), "star", key=BUCKET, subject="c-000")
    await store.append("vault.call-c-000", ANY_VERSION, [codec.encode_event(starred)])
    bodies = DirectoryBodies(tmp_path / "bodies", clock)
    keeping = Keeping(store, bodies, b, clock, Retention(), interval_s=60, decided=lambda: None)
    done = await keeping.keep()
    assert (done.records, done.calls) == (395, 395)
    assert await calls(store) == ["c-399", "c-398", "c-397", "c-396", "c-000"]
    assert await calls(store, OTHER) == ["o-1"]
    (record,) = (await store.read_stream(f"vault.retention-{BUCKET}", 0, 10)).records
    told = decoded(record).read(CallsExpired)
    assert (told.reason, told.calls, told.first, told.last) == ("count", 395, (1, 2), (1, 396))
    assert (await keeping.keep()).records == 0
    assert await store.check() == []


async def test_a_subject_is_erased_and_then_a_bucket(store: Store, b: Harness, tmp_path: Path) -> None:
    await store.record([call_event(sent(f"c-{n}", "alice" if n % 3 == 0 else "bob")) for n in range(240)])
    await store.record([call_event(sent("o-1", "alice", OTHER))])
    said = event_of(CallAnnotated("c-3", BUCKET, "of alice"), "said", key=BUCKET, subject="c-3")
    await store.append("vault.call-c-3", ANY_VERSION, [codec.encode_event(said)])
    order = Order(
        "e-1", BUCKET, "subject", b.clock.now(), "json $['user']['mail']", "alice", path="$.user.mail",
        upto=await upto(store),
    )  # fmt: skip
    async with erasing(store, b, tmp_path) as worker:
        erasure = await carried_out(store, worker, order)
        assert (erasure.state, erasure.calls) == ("finished", 80)
        assert len(await calls(store)) == 160
        assert (await store.read_stream("vault.call-c-3", 0, 10)).records == ()
        left = await store.read_log(Selection(subject="c-3"), {}, 10)
        assert left.records == ()
        erasure = await carried_out(
            store, worker, Order("e-2", BUCKET, "bucket", b.clock.now(), upto=await upto(store))
        )
        assert (erasure.state, erasure.calls) == ("finished", 160)
    assert await calls(store) == []
    assert await calls(store, OTHER) == ["o-1"]
    assert list((tmp_path / "erasures").iterdir()) == []
    assert await store.check() == []
