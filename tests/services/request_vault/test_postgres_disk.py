"""Disk that removed records took comes back from PostgreSQL, tables of read models included, and what was
erased leaves its tables."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from bus.clock import SystemClock
from services.request_vault.domain.calls import CallQuery
from services.request_vault.domain.recording import to_us
from services.request_vault.store import open_archive, open_store
from services.request_vault.store.bodies import DirectoryBodies
from services.request_vault.store.port import Scope, Store
from services.request_vault.store.postgres import vacuuming, waste
from services.request_vault.store.postgres.connections import Address
from services.request_vault.worker import rebuilding
from tests.conformance.vault.library import Library, inline, made
from tests.conformance.vault.proofs import problems
from tests.conformance.vault.vaults import Clock
from tests.services.request_vault.samples import BUCKET, captured, order
from tests.services.request_vault.vault_schemas import vault_urls

DAY_S = 86_400
DAYS = 10
KEPT_DAYS = 3
CALLS_A_DAY = 350
WORDS = [f"w{number * 7919:x}" for number in range(4000)]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def url(postgres_url: str) -> Iterator[str]:
    with vault_urls(postgres_url) as fresh:
        yield next(fresh)


@pytest.fixture
async def database(postgres_url: str) -> AsyncIterator[str]:
    """A database of its own, whose folder holds nothing else."""
    name = f"vault_{uuid.uuid4().hex}"
    await run(postgres_url, f"CREATE DATABASE {name}")
    yield f"{postgres_url.rpartition('/')[0]}/{name}?search_path=vault"
    await run(postgres_url, f"DROP DATABASE {name} WITH (FORCE)")


async def run(url: str, *statements: str) -> list[object]:
    """What each says in its first column, as one list."""
    address = Address.parse(url)
    connection = await asyncpg.connect(address.url)
    try:
        if address.schema is not None:
            await connection.execute(f"SET search_path = {address.schema}")
        return [row[0] for statement in statements for row in await connection.fetch(statement)]
    finally:
        await connection.close()


async def folder_bytes(url: str) -> int:
    (size,) = await run(url, "SELECT pg_database_size(current_database())")
    assert isinstance(size, int)
    return size


async def generations(url: str) -> list[object]:
    return await run(
        url,
        """SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace
        AND relkind = 'r' AND relname ~ '^(call|event|text)_[0-9]+$' ORDER BY relname""",
    )


@asynccontextmanager
async def filled(url: str, clock: Clock, folder: Path) -> AsyncIterator[Library]:
    """DAYS days of calls, all indexed."""
    words = random.Random(1)
    async with open_store(url, folder, clock, partitions=1, readers=2) as store:
        store.retain({BUCKET: 7})
        library = Library(store, DirectoryBodies(folder, clock), clock)
        for day in range(DAYS):
            clock.at_s = day * DAY_S
            await library.record(
                *(
                    made(
                        f"c-{day}-{number}",
                        url=f"https://api.example.com/orders/{day}-{number}",
                        response=inline(" ".join(words.choices(WORDS, k=250))),
                    )
                    for number in range(CALLS_A_DAY)
                )
            )
            await library.index()
        yield library


async def trim_old(store: Store, clock: Clock, most: int = 150) -> None:
    before_us = to_us(clock.now()) - (KEPT_DAYS - 1) * DAY_S * 1_000_000
    while (await store.trim(Scope(BUCKET, before_us=before_us), most)).more:
        pass


async def test_of_seven_days_in_ten_that_go_more_than_half_the_disk_comes_back(
    database: str, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While calls come in and are looked for. What is left includes the identities, which stay by design."""
    monkeypatch.setattr(waste, "LEAST_BYTES", 256 * 1024)
    monkeypatch.setattr(rebuilding, "LOOK_S", 0.05)
    real = SystemClock()
    empty = await folder_bytes(database)
    async with filled(database, clock, tmp_path) as library:
        store = library.store
        full = await folder_bytes(database) - empty
        emptied = asyncio.Event()
        waits_s: list[float] = []

        async def use() -> None:
            while not emptied.is_set():
                began_s = real.monotonic()
                await store.record([captured(f"more-{len(waits_s)}")])
                waits_s.append(real.monotonic() - began_s)
                found = await store.search_calls(CallQuery(BUCKET, limit=5), after=0)
                assert found.calls
                assert await library.found("orders url:9-7") == "c-9-7"

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(use())
            await trim_old(store, clock)
            while await store.reclaim(256):
                pass
            leaves_gone = await folder_bytes(database) - empty
            before = await generations(database)
            worker = tasks.create_task(rebuilding.Rebuilding(store, real).run())
            async with asyncio.timeout(60):
                # Calls and events are written side by side: which of them has the lower number is chance.
                while len(now := await generations(database)) > 3 or set(now) & set(before):
                    await real.sleep(0.1)
            worker.cancel()
            emptied.set()
        left = await folder_bytes(database) - empty
        assert left < 0.45 * full < leaves_gone, (full, leaves_gone, left)
        assert (await store.stats()).calls == KEPT_DAYS * CALLS_A_DAY + len(waits_s)
        waits_s.sort()
        assert waits_s[len(waits_s) // 2] < 0.1
        assert waits_s[-1] < 0.5
        assert await problems(store) == []


async def test_a_text_index_is_written_anew_while_calls_come_and_go(
    url: str, clock: Clock, tmp_path: Path
) -> None:
    async with open_store(url, tmp_path, clock, partitions=2, readers=2) as store:
        library = Library(store, DirectoryBodies(tmp_path, clock), clock)
        for number in range(40):
            await library.record(made(f"{number:02}", response=inline(f"teapot n{number}")))
        await library.index()
        for step in range(4):
            assert await store.rewrite("text", 3)
            await store.erase(BUCKET, [f"{step:02}", f"{39 - step:02}"], by="", why="")
            await library.record(made(f"n{step}", response=inline("teapot")))
            await library.index()
            assert len(await library.found("teapot")) == 2 * (40 - step - 1)
        before = await library.found("teapot")
    async with open_store(url, tmp_path, clock, partitions=2, readers=2) as store:
        library = Library(store, DirectoryBodies(tmp_path, clock), clock)
        assert await store.is_wasteful("text"), "it goes on after a restart"
        while await store.rewrite("text", 3):
            assert await library.found("teapot") == before
        assert not await store.is_wasteful("text")
        assert await library.found("teapot") == before
        while await store.drop_old(10):
            assert await library.found("teapot") == before
        assert await generations(url) == ["call_1", "event_1", "text_2"]
        assert await run(url, "SELECT count(*) FROM text_2") == [36]
        await library.record(made("last", response=inline("teapot")))
        await library.index()
        assert await library.found("teapot") == f"last{before}"


@pytest.mark.parametrize(("share", "wasteful"), [(0.7, True), (0.3, False)])
async def test_a_model_is_wasteful_when_most_of_it_is_gone(
    url: str, clock: Clock, monkeypatch: pytest.MonkeyPatch, share: float, wasteful: bool
) -> None:
    count = 3000
    async with open_store(url, Path(), clock, partitions=1, readers=2) as store:
        await store.record([order(number) for number in range(count)])
        monkeypatch.setattr(waste, "LEAST_BYTES", 0)
        monkeypatch.setattr(waste, "SAMPLE_PAGES", 25)
        assert not await store.is_wasteful("events")
        while (await store.trim(Scope(keep_records=count - int(count * share)), 500)).more:
            pass
        monkeypatch.setattr(waste, "LEAST_BYTES", 1 << 30)
        assert not await store.is_wasteful("events"), "too small"
        assert not await store.is_wasteful("events"), "nothing went since"
        monkeypatch.setattr(waste, "LEAST_BYTES", 0)
        await store.trim(Scope(keep_records=count - int(count * share) - 1), 500)
        assert await store.is_wasteful("events") == wasteful


async def test_what_was_erased_is_vacuumed_once_nobody_reads_it_any_more(
    url: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vacuuming, "READER_LOOKS", 2)

    async def owed() -> int:
        (steps,) = await run(url, "SELECT ordered - done FROM purge")
        assert isinstance(steps, int)
        return steps

    async with open_store(url, Path(), clock, partitions=1, readers=2) as store:
        await store.record([captured("a"), captured("b"), captured("c")])
        await store.erase(BUCKET, ["a"], by="", why="")
        assert await owed() == 1
        assert await store.checkpoint()
        assert await owed() == 0
        async with open_archive(url, Path()) as archive:
            assert (await archive.stats()).calls == 2
            await store.erase(BUCKET, ["b"], by="", why="")
            assert not await store.checkpoint()
            await store.reclaim(1)
            assert await owed() == 1
            assert (await store.record([captured("d")])).recorded == 1
        await store.reclaim(1)
        assert await owed() == 0
        assert await problems(store) == []


async def test_a_vacuum_after_an_erasure_leaves_no_row_and_no_index_entry_behind(
    url: str, clock: Clock
) -> None:
    async with open_store(url, Path(), clock, partitions=1, readers=2) as store:
        await store.record([captured(f"c-{number}") for number in range(5000)])
        await store.erase(BUCKET, ["c-7"], by="", why="")
        assert await store.checkpoint()
        # What it finds to do still is what a vacuum left.
        address = Address.parse(url)
        connection = await asyncpg.connect(address.url)
        told: list[str] = []
        connection.add_log_listener(lambda _, message: told.append(str(message.message)))
        await connection.execute(f"VACUUM (VERBOSE, INDEX_CLEANUP ON) {address.schema}.call_1")
        await connection.close()
        (call,) = (each for each in told if "finished" in each and ".call_1" in each)
        assert "index scans: 0" in call


async def test_tools_tell_how_far_models_and_text_index_are(url: str, clock: Clock, tmp_path: Path) -> None:
    async with open_store(url, tmp_path, clock, partitions=1, readers=2) as store:
        await store.record([captured(f"c-{number}") for number in range(6)])
        for _ in range(2):
            await store.rebuild("calls", 4)
        async with open_archive(url, tmp_path) as archive:
            stats = await archive.stats()
        states = {model.name: (model.state, model.done, model.of) for model in stats.models}
        assert states["calls"] == ("rebuilding", 4, 6)
        assert states["events"] == ("ready", 6, 6)
        assert states["text"][0] == "ready"
        assert stats.text_behind == 6
