"""A vault that is killed again and again, at another point each time, over the same data: nothing that was
promised is lost, nothing is there twice, and what was published is what was recorded. Retention takes what it
may and nothing else, and what has a backup's name is one.

TRUNKLINE_TEST_ROUNDS sets how often (20 unless told otherwise; `make test-reliability`: 200),
TRUNKLINE_TEST_SEED where and when.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections import Counter
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from pathlib import Path
from random import Random

import pytest

import bus
from bus.embedded import open_embedded
from bus.event import Event, Stamp
from bus.router import Router
from bus.testing import ManualClock, over
from schemas.request_vault import GetVaultStats, Recorded
from schemas.traffic_gateway import CallCaptured
from services.chassis.host import Ground
from services.request_vault import service
from services.request_vault.config import Config
from services.request_vault.store import open_store
from services.request_vault.store.port import Store
from tests.conformance.vault.vaults import decoded
from tests.services.request_vault.rounds.points import POINTS
from tests.services.request_vault.rounds.proofs import Sightings, check_backups, read_observations
from tests.services.request_vault.rounds.victim import BACKUPS, FOLLOWER, JOURNAL
from tests.services.request_vault.rounds.workload import names_decided

ROUNDS = int(os.environ.get("TRUNKLINE_TEST_ROUNDS", "20"))
SEED = int(os.environ.get("TRUNKLINE_TEST_SEED", "20260101"))
MOST_HITS = 6
LATER = timedelta(days=1)
RETRIED_WITHIN_S = 60.0
PASSES = 3
ROOT = Path(__file__).parents[3]


class Rounds:
    """observed, decided: every number below was promised. backed_up: the newest backup that the last round
    promised. decisions: those that the log was seen to hold. backups: how many were whole."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.random = Random(SEED)
        self.observed = 0
        self.decided = 0
        self.backed_up: int | None = None
        self.decisions: list[Recorded] = []
        self.sightings = Sightings()
        self.backups = 0
        self.gone = 0

    async def kill_at(self, point: str) -> None:
        hits = self.random.randint(1, MOST_HITS)
        seed = self.random.getrandbits(32)
        what = (self.folder, point, hits, seed, self.observed, self.decided)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.services.request_vault.rounds.victim", *map(str, what), cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        self.backed_up = None
        output, _ = await process.communicate()
        assert process.returncode == -signal.SIGKILL, f"{point!r}, call {hits}: {process.returncode}"
        for line in output.decode().splitlines(keepends=True):
            match line.split():
                case "promised", kind, number if line.endswith("\n"):  # not cut off
                    setattr(self, kind, int(number))

    async def check_round(self) -> None:
        await self.check_decisions()
        self.backups += await check_backups(self.folder / BACKUPS, len(self.decisions), self.backed_up)

    async def check_decisions(self) -> None:
        """Whatever was answered is in the log, once, and the log only grew."""
        async with self.opened() as store:
            last = self.decisions[-1].position[1] if self.decisions else 0
            self.decisions += await _decisions(store, last)
            await self.sightings.look(store)
        assert [record.position for record in self.decisions] == [
            (0, number) for number in range(1, len(self.decisions) + 1)
        ]
        assert [record.prev or 0 for record in self.decisions] == list(range(len(self.decisions)))
        counted = Counter(decoded(record).id for record in self.decisions)
        promised = {name for number in range(self.decided) for name in names_decided(number)}
        assert promised <= counted.keys()
        assert set(counted.values()) <= {1}

    async def check_everything(self) -> None:
        """What the vault holds, and what a follower hears of it, when it was left alone to finish."""
        heard = await self.finish()
        await self.check_decisions()
        async with self.opened() as store:
            records = await read_observations(store, {})
            stats = await store.stats()
            assert store.published_to() == len(self.decisions)
            assert await store.check() == []
        events = [decoded(record) for record in records]
        self.gone = self.sightings.check(records, stats.partitions[1], self.observed)
        assert stats.calls == sum(event.type == CallCaptured.TYPE for event in events)
        told: dict[str, Event] = {}
        for event in heard:
            assert told.setdefault(event.id, event) == event, "published twice, and not the same"
        assert [(event.id, event.stamp) for event in told.values()] == [
            (decoded(each).id, Stamp(each.stream, each.version, each.position, each.prev))
            for each in self.decisions
        ]

    async def finish(self) -> list[Event]:
        """Run the vault until nothing is left to do; what the follower was delivered, over all rounds.

        What was in the vault's hands at several kills is parked, because it might have been the cause: it is
        redriven, as a person would."""
        heard: list[Event] = []

        async def hear(events: list[Event]) -> None:
            heard.extend(events)

        follower = Router(FOLLOWER)
        follower.on_batch(hear)
        clock = ManualClock(bus.SystemClock().now() + LATER)  # whatever was to wait is due
        async with (
            open_embedded(self.folder / JOURNAL, clock=clock) as transport,
            over(transport, source="request_vault", clock=clock) as b,
        ):
            ground = Ground(
                bus=b, clock=clock, ids=b.ids, data_dir=self.folder, announce=lambda name, value: None
            )
            async with service.build(Config(), ground), b.serve(follower):
                for _ in range(PASSES):
                    await b.settled(30)
                    await clock.advance(RETRIED_WITHIN_S)
                    await b.settled(30)
                    for parked in await b.parked():
                        await b.redrive(parked.id)
                stats = await b.ask(GetVaultStats())
                assert stats.published_to == stats.partitions[0]
                assert await b.parked() == []
        return heard

    def opened(self) -> AbstractAsyncContextManager[Store]:
        folder = self.folder / "request_vault"
        return open_store("sqlite:", folder, bus.SystemClock(), partitions=1, readers=1)


async def _decisions(store: Store, after: int) -> list[Recorded]:
    found: list[Recorded] = []
    while (page := await store.read_decisions(after, 500)).records:
        found += page.records
        after = page.next_after
    return found


@pytest.mark.slow
@pytest.mark.timeout(60 + 4 * ROUNDS)
async def test_a_vault_that_is_killed_again_and_again_keeps_its_promises(tmp_path: Path) -> None:
    rounds = Rounds(tmp_path)
    points: list[str] = []
    for _ in range(ROUNDS):
        if not points:
            points = list(POINTS)
            rounds.random.shuffle(points)
        await rounds.kill_at(points.pop())
        await rounds.check_round()
    await rounds.check_everything()
    assert rounds.observed > ROUNDS
    assert rounds.decided > ROUNDS // 2
    assert rounds.backups > ROUNDS // 4
    assert rounds.gone > ROUNDS // 4
