"""A vault that is killed again and again, at another point each time, over the same data: nothing that was
promised is lost, nothing is there twice, and what was published is what was recorded. Retention takes what it
may and nothing else, and what has a backup's name is one.

TRUNKLINE_TEST_ROUNDS sets how often on each engine (`make test-reliability`: 200), and has the test say what
it did; TRUNKLINE_TEST_SEED sets where and when.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from pathlib import Path
from random import Random

import pytest

import bus
from bus.embedded import open_embedded
from bus.event import Event
from bus.router import Router
from bus.testing import Harness, ManualClock, over
from schemas.request_vault import GetVaultStats
from schemas.traffic_gateway import CallCaptured
from services.request_vault import service
from services.request_vault.config import Config
from services.request_vault.store import open_store
from services.request_vault.store.bodies import DirectoryBodies
from services.request_vault.store.port import Store
from services.request_vault.worker import keeping
from tests.conformance.vault.vaults import decoded
from tests.services.grounds import a_ground
from tests.services.request_vault.rounds.points import POINTS, Engine
from tests.services.request_vault.rounds.proofs import (
    Decisions,
    Sightings,
    check_backups,
    check_bodies,
    check_stars,
    read_observations,
)
from tests.services.request_vault.rounds.victim import BACKUPS, FOLLOWER, JOURNAL, Round
from tests.services.request_vault.rounds.victims import Victims, victims
from tests.services.request_vault.rounds.workload import DECISIONS_TOGETHER
from tests.services.request_vault.vault_schemas import vault_urls

TOLD = "TRUNKLINE_TEST_ROUNDS" in os.environ
ROUNDS: Mapping[Engine, int] = {
    "sqlite": int(os.environ.get("TRUNKLINE_TEST_ROUNDS", "20")),
    "postgres": int(os.environ.get("TRUNKLINE_TEST_ROUNDS", "10")),
}
SEED = int(os.environ.get("TRUNKLINE_TEST_SEED", "20260101"))
LATER = timedelta(seconds=keeping.ORPHAN_S + 86_400)
RETRIED_WITHIN_S = 60.0
PASSES = 3


class Rounds:
    """observed, decided: every number below was promised. starred: calls that were promised to stay.
    backed_up: the newest backup that the last round promised. backups: how many were whole."""

    def __init__(self, engine: Engine, url: str, folder: Path) -> None:
        self.engine: Engine = engine
        self.url = url
        self.folder = folder
        self.random = Random(SEED)
        self.began = bus.SystemClock().now()
        self.observed = 0
        self.decided = 0
        self.starred: set[str] = set()
        self.backed_up: int | None = None
        self.decisions = Decisions()
        self.sightings = Sightings()
        self.kills: Counter[str] = Counter()
        self.backups = self.stars = self.gone = self.held = self.heard = self.bodies = 0

    async def kill_at(self, victim: Victims, point: str) -> None:
        this = Round(
            engine=self.engine,
            url=self.url,
            folder=str(self.folder),
            point=point,
            hits=self.random.randint(1, POINTS[self.engine][point].most_hits),
            seed=self.random.getrandbits(32),
            began=self.began,
            observed=self.observed,
            decided=self.decided,
        )
        self.backed_up = None
        for words in await victim.kill(this):
            match words:
                case "promised", kind, number:
                    setattr(self, kind, int(number))
                case "starred", id:
                    self.starred.add(id)
                    self.stars += 1
                case "unstarring", id:
                    self.starred.discard(id)
        self.kills[point] += 1

    async def check_round(self) -> None:
        await self.check_log()
        self.backups += await check_backups(self.folder / BACKUPS, len(self.decisions), self.backed_up)

    async def check_log(self) -> None:
        """Whatever was promised is there, once."""
        async with self.opened() as store:
            await self.decisions.look(store, self.decided)
            await self.sightings.look(store)
            await check_stars(store, self.starred)

    async def check_everything(self) -> None:
        """What the vault holds, and what a follower hears of it, when it was left alone to finish."""
        heard = await self.finish()
        await self.check_log()
        async with self.opened() as store:
            records = await read_observations(store, {})
            stats = await store.stats()
            assert store.published_to() == len(self.decisions)
            assert await store.check() == []
        events = [decoded(record) for record in records]
        ever_starred = self.decisions.ever_starred
        self.gone = self.sightings.check(records, stats.partitions[1], self.observed, ever_starred)
        assert self.decisions.told_gone <= self.gone
        assert stats.calls == sum(event.type == CallCaptured.TYPE for event in events)
        self.decisions.check_published(heard)
        bodies = DirectoryBodies(self.folder / "request_vault" / "bodies", bus.SystemClock())
        self.bodies = await check_bodies(bodies, events)
        self.held, self.heard = len(records), len(heard)

    async def finish(self) -> list[Event]:
        """Run the vault until nothing is left to do; what the follower was delivered, over all rounds.

        What was in the vault's hands at several kills is parked, because it might have been the cause: it is
        redriven, as a person would."""
        heard: list[Event] = []

        async def hear(events: list[Event]) -> None:
            heard.extend(event for event in events if event.stamp is not None)

        follower = Router(FOLLOWER)
        follower.on_batch(hear)
        clock = ManualClock(bus.SystemClock().now() + LATER)  # whatever was to wait is due
        async with (
            open_embedded(self.folder / JOURNAL, clock=clock) as transport,
            over(transport, source="request_vault", clock=clock) as b,
        ):
            ground = a_ground(b, self.folder, clock=clock)
            async with service.build(Config(url=self.url), ground), b.serve(follower):
                for _ in range(PASSES):
                    await b.settled(30)
                    await clock.advance(RETRIED_WITHIN_S)
                    await b.settled(30)
                    for parked in await b.parked():
                        await b.redrive(parked.id)
                assert await b.parked() == []
                await sweep(b)
                await b.settled(30)
                stats = await b.ask(GetVaultStats())
                assert stats.published_to == stats.partitions[0]
        return heard

    def opened(self) -> AbstractAsyncContextManager[Store]:
        folder = self.folder / "request_vault"
        return open_store(self.url, folder, bus.SystemClock(), partitions=1, readers=1)

    def told(self, took_s: float) -> str:
        kills = "".join(f"\n    {count:3} {point}" for point, count in sorted(self.kills.items()))
        return (
            f"\n{self.engine}: {self.kills.total()} kills in {took_s:.0f} s{kills}"
            f"\n  observations: {self.observed} promised, {self.held} there, {self.gone} gone for retention"
            f"\n  decisions: {DECISIONS_TOGETHER * self.decided} promised, {len(self.decisions)} there with "
            f"the vault's own, {self.heard} heard, some again"
            f"\n  stars: {self.stars} promised, {len(self.starred)} not taken back"
            f"\n  bodies: {self.bodies} there, as calls name them"
            f"\n  backups: {self.backups} whole"
        )


async def sweep(b: Harness) -> None:
    """Time goes on until a round of retention has looked at all bodies."""
    keeping.SWEEP_S, before = 0.0, keeping.SWEEP_S
    try:
        began_at = b.clock.now()
        async with asyncio.timeout(30):
            while True:
                await b.clock.advance(1.0)
                seen = (await b.ask(GetVaultStats())).retention
                if seen is not None and seen.began_at > began_at and seen.took_ms is not None:
                    return
    finally:
        keeping.SWEEP_S = before


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def rounds(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rounds]:
    if request.param == "sqlite":
        yield Rounds("sqlite", "sqlite:", tmp_path)
        return
    with vault_urls(request.getfixturevalue("postgres_url")) as fresh:
        yield Rounds("postgres", next(fresh), tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(60 + 8 * max(ROUNDS.values()))
async def test_a_vault_that_is_killed_again_and_again_keeps_its_promises(
    rounds: Rounds, capsys: pytest.CaptureFixture[str]
) -> None:
    began_s = time.monotonic()
    count = ROUNDS[rounds.engine]
    points: list[str] = []
    async with victims() as victim:
        for _ in range(count):
            if not points:
                points = list(POINTS[rounds.engine])
                rounds.random.shuffle(points)
            await rounds.kill_at(victim, points.pop())
            await rounds.check_round()
    await rounds.check_everything()
    if TOLD:
        with capsys.disabled():
            print(rounds.told(time.monotonic() - began_s))
    assert rounds.observed > count
    assert rounds.decided > count // 2
    assert rounds.backups > count // 8
    assert rounds.gone > count // 4
    assert rounds.stars > count // 8
