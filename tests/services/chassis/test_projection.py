"""Projections: following a category through gaps, losses, restarts and damaged snapshots."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import ClassVar

import msgspec
import pytest

from bus.errors import Unavailable
from bus.message import Fact
from bus.testing import Harness, ManualClock, harness
from schemas.request_vault import MAX_PAGE, LogPage
from services.chassis.projection import Fold, Projection
from tests.services.a_log import ALog


class Grown(Fact, frozen=True):
    TYPE: ClassVar[str] = "garden.tree.grown"
    ORDERED: ClassVar[bool] = True

    cm: int


class Felled(Fact, frozen=True):
    TYPE: ClassVar[str] = "garden.tree.felled"


class Painted(Fact, frozen=True):
    TYPE: ClassVar[str] = "garden.tree.painted"


class Tree(msgspec.Struct, frozen=True):
    cm: int
    since: datetime


def evolve(tree: Tree | None, fact: Fact, at: datetime) -> Tree | None:
    match fact:
        case Grown():
            return Tree((tree.cm if tree else 0) + fact.cm, tree.since if tree else at)
        case Felled():
            return None
    return tree


FOLD = Fold("garden", 1, Tree, (Grown, Felled), evolve)
OAK, ELM = "garden.tree-oak", "garden.tree-elm"


class Ground:
    """What a projection needs of a Ground."""

    def __init__(self, bus: Harness, data_dir: Path) -> None:
        self.bus = bus.as_source("gardener")
        self.clock = bus.clock
        self.data_dir = data_dir


class Place:
    def __init__(self, bus: Harness, log: ALog, ground: Ground) -> None:
        self.bus = bus
        self.log = log
        self.ground = ground

    @asynccontextmanager
    async def vault(self) -> AsyncIterator[None]:
        async with self.bus.serve(self.log.router()):
            yield

    @property
    def snapshot(self) -> Path:
        return self.ground.data_dir / "gardener" / "garden.projection"


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    async with harness() as bus:
        yield Place(bus, ALog(bus), Ground(bus, tmp_path))


async def until(met: Callable[[], bool], clock: ManualClock) -> None:
    """Let things happen, the clock moving on, until `met`."""
    async with asyncio.timeout(10):
        while not met():
            await clock.advance(0.01)
            await asyncio.sleep(0.001)


def cm(projection: Projection[Tree], stream: str = OAK) -> int | None:
    state = projection.get(stream).state
    return state.cm if state else None


async def test_it_begins_with_what_is_in_the_log(place: Place) -> None:
    for size in (3, 4):
        place.log.record(Grown(size), OAK)
    place.log.record(Grown(1), ELM)
    async with place.vault(), Projection.open(place.ground, FOLD) as projection:
        assert (cm(projection), cm(projection, ELM)) == (7, 1)
        assert projection.get(OAK).version == 2
        assert projection.position == 3
        assert projection.age_s() == 0


async def test_it_goes_on_with_what_is_published(place: Place) -> None:
    async with place.vault(), Projection.open(place.ground, FOLD) as projection:
        reads = place.log.reads
        place.log.record(Grown(3), OAK)
        place.log.record(Grown(4), OAK)
        await place.log.tell()
        await until(lambda: cm(projection) == 7, place.bus.clock)
        assert place.log.reads == reads, "nothing was missing, so nothing had to be read"


async def test_more_than_a_page_is_read_whole(place: Place) -> None:
    for _ in range(1203):
        place.log.record(Grown(1), OAK)
    async with place.vault(), Projection.open(place.ground, FOLD) as projection:
        assert cm(projection) == 1203


async def test_a_gap_is_read_from_the_log(place: Place) -> None:
    async with place.vault(), Projection.open(place.ground, FOLD) as projection:
        for size in (1, 10, 100, 1000):
            place.log.record(Grown(size), OAK)
        events = list(place.log.untold())
        for event in (events[0], events[2], events[3]):
            await place.bus.emit(event)
        await until(lambda: projection.position == 4, place.bus.clock)
        assert cm(projection) == 1111


async def test_events_of_other_categories_leave_no_gap(place: Place) -> None:
    async with place.vault(), Projection.open(place.ground, FOLD) as projection:
        reads = place.log.reads
        place.log.record(Grown(1), OAK)
        place.log.record(Grown(5), "meadow.tree-elm")
        place.log.record(Grown(10), OAK)
        await place.log.tell()
        await until(lambda: cm(projection) == 11, place.bus.clock)
        assert place.log.reads == reads
        assert projection.position == 3


async def test_events_in_any_order_and_number_fold_once_and_in_order(place: Place) -> None:
    async with place.vault(), Projection.open(place.ground, FOLD) as projection:
        place.log.record(Grown(1), OAK)
        place.log.record(Felled(), OAK)
        place.log.record(Grown(10), OAK)
        events = list(place.log.untold())
        for event in (events[2], events[1], events[0], events[1], events[2]):
            await place.bus.emit(event)
        await until(lambda: projection.position == 3, place.bus.clock)
        await place.bus.settled()
        assert cm(projection) == 10


async def test_a_missed_last_event_is_seen_by_the_heads(place: Place) -> None:
    async with place.vault(), Projection.open(place.ground, FOLD) as projection:
        place.log.record(Grown(3), OAK)
        list(place.log.untold())
        await place.log.beat()
        await until(lambda: cm(projection) == 3, place.bus.clock)


async def test_events_that_are_no_decisions_are_not_folded(place: Place) -> None:
    async with place.vault(), Projection.open(place.ground, FOLD) as projection:
        await place.bus.publish(Grown(3), key="oak")
        await place.bus.settled()
        assert cm(projection) is None


async def test_its_age_grows_until_the_heads_say_that_it_is_complete(place: Place) -> None:
    async with place.vault(), Projection.open(place.ground, FOLD) as projection:
        await place.bus.clock.advance(30)
        assert projection.age_s() >= 30
        await place.log.beat()
        await until(lambda: projection.age_s() < 1, place.bus.clock)


async def test_without_log_and_snapshot_it_is_ready_but_stale(place: Place) -> None:
    async with Projection.open(place.ground, FOLD, ready_within_s=0.05) as projection:
        assert projection.age_s() == math.inf
        place.log.record(Grown(3), OAK)
        async with place.vault():
            await until(lambda: cm(projection) == 3, place.bus.clock)
            assert projection.age_s() < 1


async def test_a_snapshot_lets_it_start_while_the_vault_is_down(place: Place) -> None:
    place.log.record(Grown(3), OAK)
    async with place.vault(), Projection.open(place.ground, FOLD):
        pass
    await place.bus.clock.advance(100)
    async with Projection.open(place.ground, FOLD, ready_within_s=60) as projection:
        assert cm(projection) == 3
        assert projection.get(OAK).version == 1
        assert projection.age_s() == pytest.approx(100, abs=1)
        place.log.record(Grown(4), OAK)
        async with place.vault():
            await until(lambda: cm(projection) == 7, place.bus.clock)


async def test_a_snapshot_is_written_while_it_runs(place: Place) -> None:
    async with place.vault(), Projection.open(place.ground, FOLD):
        place.log.record(Grown(3), OAK)
        await place.log.tell()
        await until(place.snapshot.exists, place.bus.clock)
        assert place.snapshot.stat().st_mode & 0o077 == 0, "others have no business with it"


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "other format", "other fold"])
async def test_a_snapshot_that_cannot_be_trusted_is_ignored(place: Place, damage: str) -> None:
    place.log.record(Grown(3), OAK)
    async with place.vault(), Projection.open(place.ground, FOLD):
        pass
    content = bytearray(place.snapshot.read_bytes())
    fold = FOLD
    match damage:
        case "cut":
            del content[-5:]
        case "flipped":
            content[-3] ^= 1
        case "empty":
            content.clear()
        case "other format":
            content[content.index(b"\n") + 1] = 99
        case "other fold":
            fold = msgspec.structs.replace(FOLD, version=2)
    place.snapshot.write_bytes(content)
    async with Projection.open(place.ground, fold, ready_within_s=0.05) as projection:
        assert projection.position == 0
        assert projection.age_s() == math.inf


async def test_a_snapshot_of_another_log_is_read_anew(place: Place) -> None:
    place.log.record(Grown(3), OAK)
    place.log.record(Grown(4), ELM)
    seen: list[tuple[str, int | None]] = []
    async with place.vault(), Projection.open(place.ground, FOLD):
        pass
    other = ALog(place.bus)
    other.record(Grown(50), OAK)
    other.record(Grown(60), OAK)
    other.record(Grown(70), OAK)

    def changed(stream: str, before: Tree | None, after: Tree | None) -> None:
        seen.append((stream, after.cm if after else None))

    fold = msgspec.structs.replace(FOLD, changed=changed)
    async with place.bus.serve(other.router()), Projection.open(place.ground, fold) as projection:
        await until(lambda: cm(projection) == 180, place.bus.clock)
        assert cm(projection, ELM) is None
        assert (ELM, None) in seen


async def test_a_log_that_was_put_back_is_read_anew(place: Place) -> None:
    for size in (1, 10, 100):
        place.log.record(Grown(size), OAK)
    async with place.vault(), Projection.open(place.ground, FOLD) as projection:
        del place.log.records[1:]
        await place.log.beat()
        await until(lambda: projection.position == 1, place.bus.clock)
        assert cm(projection) == 1


async def test_a_decision_of_a_newer_version_stops_it_visibly(place: Place) -> None:
    class GrownNow(Grown, frozen=True):
        VERSION: ClassVar[int] = 2

    async with place.vault(), Projection.open(place.ground, FOLD) as projection:
        place.log.record(Grown(1), OAK)
        place.log.record(GrownNow(10), OAK)
        place.log.record(Grown(100), OAK)
        await place.log.tell()
        await place.bus.settled()
        assert cm(projection) == 1
        await place.bus.clock.advance(30)
        await place.log.beat()
        await place.bus.settled()
        assert projection.age_s() >= 30
        assert projection.position == 1


async def test_a_type_it_does_not_know_is_passed_over(place: Place) -> None:
    async with place.vault(), Projection.open(place.ground, FOLD) as projection:
        place.log.record(Grown(1), OAK)
        place.log.record(Painted(), OAK)
        place.log.record(Grown(10), OAK)
        await place.log.tell()
        await until(lambda: cm(projection) == 11, place.bus.clock)
        assert projection.get(OAK).version == 3


async def test_a_deleted_stream_keeps_its_version(place: Place) -> None:
    place.log.record(Grown(1), OAK)
    place.log.record(Felled(), OAK)
    async with place.vault(), Projection.open(place.ground, FOLD) as projection:
        assert projection.get(OAK).state is None
        assert projection.get(OAK).version == 2
        assert list(projection.states()) == []


async def test_reach_reads_what_was_written(place: Place) -> None:
    async with place.vault(), Projection.open(place.ground, FOLD) as projection:
        place.log.record(Grown(3), OAK)
        await projection.reach(1)
        assert cm(projection) == 3


async def test_refresh_says_when_the_vault_is_down(place: Place) -> None:
    async with place.vault(), Projection.open(place.ground, FOLD) as projection:
        pass
    with pytest.raises(Unavailable, match="request vault"):
        await projection.refresh(1)


async def test_many_refreshes_share_few_readings(place: Place) -> None:
    async with place.vault(), Projection.open(place.ground, FOLD) as projection:
        reads = place.log.reads
        async with asyncio.TaskGroup() as tasks:
            for _ in range(100):
                tasks.create_task(projection.refresh())
        assert place.log.reads - reads <= 2


async def test_starting_and_stopping_over_and_over(place: Place) -> None:
    async with place.vault():
        for turn in range(1, 31):
            async with Projection.open(place.ground, FOLD) as projection:
                place.log.record(Grown(1), OAK)
                await place.log.tell()
                await projection.refresh()
                assert cm(projection) == turn


GOLDEN = Path(__file__).parents[2] / "golden" / "projection-1.snapshot"


async def test_a_snapshot_of_format_1_is_read_for_ever(place: Place) -> None:
    """The file was written once and is never edited: oak grew to 7 cm, elm was felled."""
    place.snapshot.parent.mkdir(parents=True)
    place.snapshot.write_bytes(GOLDEN.read_bytes())
    async with Projection.open(place.ground, FOLD, ready_within_s=0.05) as projection:
        assert projection.position == 4
        assert (projection.get(OAK).version, cm(projection)) == (2, 7)
        assert (projection.get(ELM).version, projection.get(ELM).state) == (2, None)
        assert projection.age_s() == 0
        await place.bus.clock.advance(5)
    assert place.snapshot.read_bytes() == GOLDEN.read_bytes(), "and is written the same"


async def test_an_event_may_overtake_the_answer_that_does_not_know_it(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.log.record(Grown(1), OAK)
    gone: list[str] = []

    def changed(stream: str, before: Tree | None, after: Tree | None) -> None:
        if after is None:
            gone.append(stream)

    fold = msgspec.structs.replace(FOLD, changed=changed)
    async with place.vault(), Projection.open(place.ground, fold) as projection:
        await place.log.tell()
        read = projection._read

        async def overtaken(*, after: int, limit: int = MAX_PAGE) -> LogPage:
            page = await read(after=after, limit=limit)
            place.log.record(Grown(10), OAK)
            await place.log.tell()
            await place.bus.settled()
            return page

        monkeypatch.setattr(projection, "_read", overtaken)
        await projection.refresh()
        assert cm(projection) == 11
        assert gone == [], "nothing was forgotten meanwhile"
