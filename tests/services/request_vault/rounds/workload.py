"""What happens in a vault until it is killed: a shop publishes, decides, and says each thing that it was
promised. Meanwhile calls of one bucket are starred, go when they are too many, models are rebuilt, and
backups are made.

Numbers run on from round to round. A round begins with what the one before it was not answered for, so that
everything is done again that may have been done already.
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from pathlib import Path
from random import Random

from bus import codec
from bus.clock import SystemClock
from bus.connect import Bus
from bus.event import Event
from schemas.identity import BucketCreated, Retention
from schemas.request_vault import ANY_VERSION, Append, BodyChunk, RebuildModel, StarCall, UnstarCall
from services.request_vault.domain.calls import CallQuery
from services.request_vault.domain.queries import narrowed
from services.request_vault.store.port import Store
from tests.services.request_vault.running import apart
from tests.services.request_vault.samples import START, captured, decision, event_of, order

STREAMS = 5
DECISIONS_TOGETHER = 2
MOST_TOGETHER = 16
PAUSE_S = 0.01
PASSING = "passingorder"
"""The only bucket whose observations go."""

KEPT = 20
STARRED = 12
STARRED_EACH = 32
"""Numbers: many stars are as old as a day that is over, so that it has survivors."""

OBSERVED_A_DAY = 120
"""So that days end while a vault runs, and retention's age is long over what its count leaves."""

KEPT_DAYS = 30
BODY_BYTES = 3000


class Calendar:
    """The time that the vault writes down: it goes on with what is observed. Waiting is in real time."""

    def __init__(self, began: datetime, observed: int) -> None:
        self._real = SystemClock()
        self._began = began
        self.observed = observed

    def now(self) -> datetime:
        return self._began + timedelta(days=self.observed / OBSERVED_A_DAY)

    def monotonic(self) -> float:
        return self._real.monotonic()

    async def sleep(self, delay_s: float) -> None:
        await self._real.sleep(delay_s)


def observation(number: int) -> Event:
    """Every other one is a call; of each eight, three are of the bucket whose observations go: two orders,
    and a call with a body of its own."""
    if number % 8 == 1:
        return captured(call_id(number), bucket=PASSING, response_body=apart(body_of(number)))
    if number % 2:
        return captured(call_id(number))
    return order(number, key=PASSING if number % 4 == 0 else "eu")


def call_id(number: int) -> str:
    return f"c-{number}"


def number_of(call_id: str) -> int:
    return int(call_id.removeprefix("c-"))


def body_of(number: int) -> bytes:
    return Random(number).randbytes(BODY_BYTES)


def decisions(number: int) -> tuple[bytes, ...]:
    """Of the append with this number."""
    return tuple(decision(name) for name in names_decided(number))


def names_decided(number: int) -> list[str]:
    return [f"d-{number}-{part}" for part in range(DECISIONS_TOGETHER)]


def told(what: str, *which: object) -> None:
    """`promised KIND NUMBER`: the bus or the vault has promised everything of this kind below it. `starred
    ID`: that this call stays. `unstarring ID`: that promise is given back."""
    print(what, *which, flush=True)


class Workload:
    def __init__(
        self, bus: Bus, store: Store, calendar: Calendar, backups: Path, random: Random, decided: int
    ) -> None:
        self._shop = bus.as_source("shop")
        self._store = store
        self._calendar = calendar
        self._backups = backups
        self._random = random
        self._decided = decided

    async def run(self) -> None:
        limits = Retention(max_calls=KEPT, max_age_s=KEPT_DAYS * 86_400)
        made = event_of(
            BucketCreated(PASSING, "passing", "default", retention=limits),
            "made",
            key=PASSING,
            source="identity",
        )
        await self._shop.ask(Append(f"identity.bucket-{PASSING}", ANY_VERSION, (codec.encode_event(made),)))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._observe())
            tasks.create_task(self._decide())
            tasks.create_task(self._star())
            tasks.create_task(self._rebuild())
            tasks.create_task(self._back_up())

    async def _observe(self) -> None:
        while True:
            first = self._calendar.observed
            until = first + self._random.randint(1, MOST_TOGETHER)
            bodies = [self._body(number) for number in range(first, until) if number % 8 == 1]
            await self._shop.emit(*bodies, exchange="bodies")
            await self._shop.emit(*[observation(number) for number in range(first, until)])
            self._calendar.observed = until
            told("promised", "observed", until)
            await self._shop.clock.sleep(PAUSE_S)
            if await self._passing_calls() > 2 * KEPT:
                while await self._passing_calls() > KEPT:  # retention comes to its end, too
                    await self._shop.clock.sleep(2 * PAUSE_S)

    async def _passing_calls(self) -> int:
        usage = {each.bucket: each.calls for each in (await self._store.stats()).usage}
        return usage.get(PASSING, 0)

    def _body(self, number: int) -> Event:
        data = body_of(number)
        sha256 = apart(data).sha256 or ""
        chunk = BodyChunk(PASSING, sha256, 0, 1, len(data), data)
        return self._shop.envelop(chunk, key=PASSING, subject=sha256)

    async def _star(self) -> None:
        """The newest call now and then, while the oldest of many stars goes."""
        while True:
            await self._shop.clock.sleep(5 * PAUSE_S)
            starred = await self._calls("is:starred", limit=10 * STARRED)
            for id in reversed(starred[STARRED - 1 :]):
                told("unstarring", id)
                await self._shop.ask(UnstarCall(f"unstar-{id}", PASSING, id))
            for id in await self._calls("", limit=1):
                if number_of(id) >= max(map(number_of, starred), default=0) + STARRED_EACH:
                    await self._shop.ask(StarCall(f"star-{id}", PASSING, id))
                    told("starred", id)

    async def _calls(self, query: str, *, limit: int) -> list[str]:
        found = await self._store.search_calls(narrowed(CallQuery(PASSING, limit=limit), query, START))
        return [call.id for call in found.calls]

    async def _rebuild(self) -> None:
        while True:
            await self._shop.clock.sleep(20 * PAUSE_S)
            for model in ("calls", "events"):
                await self._shop.ask(RebuildModel(model))

    async def _back_up(self) -> None:
        """A backup's name is what it holds at least: so many appends. No day goes while one is made, so they
        leave time for that."""
        while True:
            began_s = self._calendar.monotonic()
            decided = self._decided
            target = self._backups / f"{decided}.db"
            if not target.exists():
                await self._store.backup(target)
                told("promised", "backed_up", decided)
            took_s = self._calendar.monotonic() - began_s
            await self._shop.clock.sleep(30 * PAUSE_S + 4 * took_s)

    async def _decide(self) -> None:
        while True:
            stream = f"shop.thing-{self._decided % STREAMS}"
            await self._shop.ask(Append(stream, ANY_VERSION, decisions(self._decided)))
            self._decided += 1
            told("promised", "decided", self._decided)
            await self._shop.clock.sleep(PAUSE_S)
