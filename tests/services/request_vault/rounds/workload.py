"""What happens in a vault until it is killed: a shop publishes, decides, and says each thing that it was
promised. Meanwhile models are rebuilt, old orders of one key go, and backups are made.

Numbers run on from round to round. A round begins with what the one before it was not answered for, so that
everything is done again that may have been done already.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random

from bus.connect import Bus
from bus.event import Event
from schemas.request_vault import ANY_VERSION, Append, RebuildModel
from services.request_vault.store.port import Scope, Store
from tests.services.request_vault.samples import captured, decision, order

STREAMS = 5
DECISIONS_TOGETHER = 2
MOST_TOGETHER = 40
PAUSE_S = 0.01
PASSING = "us"
"""The only key whose observations go."""

KEPT = 8
TRIMMED_TOGETHER = 3
PAGES_TOGETHER = 16


def observation(number: int) -> Event:
    """Every other one is a call, every fourth an order that may go."""
    if number % 2:
        return captured(f"c-{number}")
    return order(number, key=PASSING if number % 4 == 0 else "eu")


def decisions(number: int) -> tuple[bytes, ...]:
    """Of the append with this number."""
    return tuple(decision(name) for name in names_decided(number))


def names_decided(number: int) -> list[str]:
    return [f"d-{number}-{part}" for part in range(DECISIONS_TOGETHER)]


def told(what: str, number: int) -> None:
    """The bus or the vault has promised everything of this kind below `number`."""
    print("promised", what, number, flush=True)


class Workload:
    def __init__(
        self, bus: Bus, store: Store, backups: Path, random: Random, observed: int, decided: int
    ) -> None:
        self._shop = bus.as_source("shop")
        self._store = store
        self._backups = backups
        self._random = random
        self._observed = observed
        self._decided = decided

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._observe())
            tasks.create_task(self._decide())
            tasks.create_task(self._rebuild())
            tasks.create_task(self._retain())
            tasks.create_task(self._back_up())

    async def _observe(self) -> None:
        while True:
            until = self._observed + self._random.randint(1, MOST_TOGETHER)
            await self._shop.emit(*[observation(number) for number in range(self._observed, until)])
            self._observed = until
            told("observed", until)
            await self._shop.clock.sleep(PAUSE_S)

    async def _rebuild(self) -> None:
        while True:
            await self._shop.clock.sleep(5 * PAUSE_S)
            for model in ("calls", "events"):
                await self._shop.ask(RebuildModel(model))

    async def _retain(self) -> None:
        scope = Scope(PASSING, keep_records=KEPT)
        while True:
            await self._shop.clock.sleep(2 * PAUSE_S)
            while (await self._store.trim(scope, TRIMMED_TOGETHER)).more:
                pass
            while await self._store.reclaim(PAGES_TOGETHER):
                pass
            await self._store.checkpoint()

    async def _back_up(self) -> None:
        """A backup's name is what it holds at least: so many appends."""
        while True:
            await self._shop.clock.sleep(5 * PAUSE_S)
            decided = self._decided
            target = self._backups / f"{decided}.db"
            if not target.exists():
                await self._store.backup(target)
                told("backed_up", decided)

    async def _decide(self) -> None:
        while True:
            stream = f"shop.thing-{self._decided % STREAMS}"
            await self._shop.ask(Append(stream, ANY_VERSION, decisions(self._decided)))
            self._decided += 1
            told("decided", self._decided)
            await self._shop.clock.sleep(PAUSE_S)
