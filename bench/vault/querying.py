"""A person's searches in a vault that takes calls meanwhile: `python -m bench.vault.querying store|bus URL
FOLDER COUNT FIRST`: calls 0 to COUNT are there; those that are taken meanwhile are numbered from FIRST on.

store: through the port, in a process that holds nothing but the store and what indexes its text. bus: as asks
to the service, over an embedded bus. Prints `{"latencies_ms": {kind: [...]}, "rss_mb", "rss_end_mb",
"ingested_per_s", "indexed_s"}`, the last being how long the text index took to have everything.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import uvloop

import bus
from bench.vault import traffic
from bench.vault.sides import POLL_S, opened, resident_mb, say, vault
from bus.event import Event
from bus.message import Ask
from schemas.request_vault import LOG, GetCall, GetVaultStats, SearchCalls
from services.request_vault.domain.calls import call_query
from services.request_vault.domain.queries import narrowed
from services.request_vault.store.bodies import DirectoryBodies
from services.request_vault.worker.indexing import Indexing

ROUNDS = 400
WARM_UP = 20
RATE = 1000
TOGETHER = 20

Asked = SearchCalls | GetCall
Answer = Callable[[Asked], Awaitable[Any]]
Record = Callable[[Sequence[Event]], Awaitable[Any]]
Behind = Callable[[], Awaitable[int]]
"""How many calls the text index does not have yet."""


def questions(count: int, random: Random) -> dict[str, Asked]:
    """One of each kind."""
    bucket = random.choice(traffic.BUCKETS)
    host = random.choice(traffic.HOSTS)
    filtered = random.choice(
        (
            SearchCalls(bucket, status="5xx", method="POST", host=host),
            SearchCalls(bucket, status="404", method="GET", path="/v1/orders"),
            SearchCalls(bucket, status="2xx", host=host, method="DELETE"),
        )
    )
    number = random.randrange(count)
    return {
        "newest page": SearchCalls(bucket),
        "three filters": filtered,
        "text": SearchCalls(bucket, query=f'body:"{random.choice(traffic.PHRASES[:3])}"'),
        "get": GetCall(traffic.id_of(number), traffic.bucket_of(number)),
    }


async def ask(answer: Answer, count: int) -> dict[str, list[float]]:
    random = Random(traffic.SEED)
    latencies: dict[str, list[float]] = {}
    for round in range(WARM_UP + ROUNDS):
        for kind, question in questions(count, random).items():
            began = time.monotonic()
            await answer(question)
            if round >= WARM_UP:
                latencies.setdefault(kind, []).append(1000 * (time.monotonic() - began))
    return latencies


class Ingest:
    """RATE calls a second, numbered from `first` on, until it is cancelled; a late batch is made up for."""

    def __init__(self, record: Record, first: int) -> None:
        self._record = record
        self._first = first
        self.count = 0

    async def run(self) -> None:
        began = time.monotonic()
        for batch in traffic.batches(traffic.calls(10**9, self._first), TOGETHER):
            await self._record(batch)
            self.count += len(batch)
            await asyncio.sleep(max(0.0, began + self.count / RATE - time.monotonic()))


@asynccontextmanager
async def ingesting(record: Record, first: int) -> AsyncIterator[Ingest]:
    ingest = Ingest(record, first)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(ingest.run())
        yield ingest
        task.cancel()


async def measure(answer: Answer, record: Record, behind: Behind, count: int, first: int) -> None:
    began = time.monotonic()
    while await behind():
        await asyncio.sleep(POLL_S)
    indexed_s = time.monotonic() - began
    rss_mb = resident_mb()
    began = time.monotonic()
    async with ingesting(record, first) as ingest:
        latencies = await ask(answer, count)
        rate = ingest.count / (time.monotonic() - began)
    say(
        latencies_ms=latencies,
        rss_mb=rss_mb,
        rss_end_mb=resident_mb(),
        ingested_per_s=rate,
        indexed_s=indexed_s,
    )


async def through_store(url: str, folder: Path, count: int, first: int) -> None:
    clock = bus.SystemClock()
    async with opened(url, folder) as store, asyncio.TaskGroup() as tasks:
        indexing = Indexing(store, DirectoryBodies(folder / "bodies", clock), clock)
        task = tasks.create_task(indexing.run())

        async def answer(asked: Asked) -> None:
            if isinstance(asked, GetCall):
                found = await store.get_call(asked.id, asked.bucket)
                if found is None:
                    raise SystemExit(f"call {asked.id} is not there")
            else:
                query = narrowed(call_query(asked), asked.query, datetime.now(UTC))
                await store.search_calls(query)

        async def record(events: Sequence[Event]) -> None:
            await store.record(events)
            indexing.wake()

        async def behind() -> int:
            return store.texts_behind()

        await measure(answer, record, behind, count, first)
        task.cancel()


async def through_bus(url: str, folder: Path, count: int, first: int) -> None:
    journal = f"embedded:{folder / 'bus.db'}"
    async with (
        bus.connect(journal, source="traffic_gateway", subscriptions=(LOG,)) as b,
        vault(b, url, folder),
    ):

        async def answer(asked: Asked) -> None:
            found: Ask[Any] = asked
            await b.ask(found)

        async def record(events: Sequence[Event]) -> None:
            await b.emit(*events)

        async def behind() -> int:
            return (await b.ask(GetVaultStats(), timeout_s=30)).text_behind

        await measure(answer, record, behind, count, first)


if __name__ == "__main__":
    through = through_store if sys.argv[1] == "store" else through_bus
    uvloop.run(through(sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5])))
