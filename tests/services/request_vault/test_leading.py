"""Of several instances on one PostgreSQL one builds models and the text index; another takes over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bus.clock import SystemClock
from schemas.request_vault import ModelState
from services.calls.query import parse
from services.request_vault.domain.calls import CallQuery
from services.request_vault.store import open_store
from services.request_vault.store.bodies import DirectoryBodies
from services.request_vault.store.port import CallText, Store, TextStep
from services.request_vault.worker import rebuilding
from services.request_vault.worker.indexing import Indexing
from services.request_vault.worker.rebuilding import Rebuilding
from tests.conformance.vault.library import inline, made
from tests.services.request_vault.samples import BUCKET, START, captured
from tests.services.request_vault.vault_schemas import vault_urls

TAKEN_OVER_S = 10.0


@pytest.fixture
def url(postgres_url: str) -> Iterator[str]:
    with vault_urls(postgres_url) as fresh:
        yield next(fresh)


class Instance:
    """A store, its workers, which begin when they are told, and how many steps of each kind they did."""

    def __init__(self, store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        clock = SystemClock()
        self.store = store
        self.rebuilding = Rebuilding(store, clock)
        self.indexing = Indexing(store, DirectoryBodies(folder, clock), clock)
        self.rebuilt = self.indexed = 0
        rebuild, index = store.rebuild, store.index_texts

        async def counted_rebuild(name: str, most: int) -> ModelState:
            self.rebuilt += 1
            return await rebuild(name, most)

        async def counted_index(step: TextStep, through: tuple[int, int], texts: list[CallText]) -> None:
            self.indexed += 1
            await index(step, through, texts)

        monkeypatch.setattr(store, "rebuild", counted_rebuild)
        monkeypatch.setattr(store, "index_texts", counted_index)
        self._tasks: list[asyncio.Task[None]] = []

    def begin(self) -> None:
        self._tasks = [asyncio.create_task(each.run()) for each in (self.rebuilding, self.indexing)]

    async def end(self) -> None:
        for task in self._tasks:
            task.cancel()
        for ended in await asyncio.gather(*self._tasks, return_exceptions=True):
            assert isinstance(ended, asyncio.CancelledError), ended


@asynccontextmanager
async def instance(url: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Instance]:
    async with open_store(url, folder, SystemClock(), partitions=1, readers=2) as store:
        running = Instance(store, folder, monkeypatch)
        try:
            yield running
        finally:
            await running.end()


async def found(store: Store) -> list[str]:
    query = CallQuery(BUCKET, where=parse("teapot", START), limit=100)
    return [call.id for call in (await store.search_calls(query)).calls]


async def test_one_instance_builds_and_indexes_and_another_takes_over(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rebuilding, "LOOK_S", 0.1)
    monkeypatch.setattr(rebuilding, "STEP_RECORDS", 10)
    clock = SystemClock()

    async def until_found(store: Store, count: int) -> None:
        async with asyncio.timeout(TAKEN_OVER_S):
            while len(await found(store)) < count:
                await clock.sleep(0.05)

    async def until_ready(store: Store) -> None:
        async with asyncio.timeout(TAKEN_OVER_S):
            while any(model.state != "ready" for model in store.models()):
                await clock.sleep(0.05)

    async with instance(url, tmp_path, monkeypatch) as second:
        async with instance(url, tmp_path, monkeypatch) as first:
            first.begin()
            async with asyncio.timeout(TAKEN_OVER_S):
                await first.store.lead()
            second.begin()
            await second.store.record([made(f"a-{n}", response=inline("teapot")) for n in range(30)])
            await until_found(first.store, 30)
            assert (first.indexed > 0, second.indexed) == (True, 0)
            second.rebuilding.order("calls")
            async with asyncio.timeout(TAKEN_OVER_S):
                while first.rebuilt < 4:
                    await clock.sleep(0.01)
            await until_ready(first.store)
            assert second.rebuilt == 1, "it begins what it was asked for, and leaves it to the other"
        await second.store.record([captured("b"), made("b-1", response=inline("teapot"))])
        await until_found(second.store, 31)
        second.rebuilding.order("events")
        steps = second.rebuilt
        async with asyncio.timeout(TAKEN_OVER_S):
            while second.rebuilt < steps + 4:
                await clock.sleep(0.01)
        await until_ready(second.store)
        assert second.indexed > 0


async def test_a_build_that_the_leader_leaves_is_gone_on_with(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SystemClock()
    async with open_store(url, tmp_path, clock, partitions=1, readers=2) as store:
        await store.record([captured(f"c-{n}") for n in range(40)])
        await store.rebuild("calls", 10)
        assert (await store.rebuild("calls", 10)).done == 10
    async with instance(url, tmp_path, monkeypatch) as running, asyncio.timeout(TAKEN_OVER_S):
        running.begin()
        while any(model.state != "ready" for model in running.store.models()):
            await clock.sleep(0.05)
        assert 0 < running.rebuilt < 5
