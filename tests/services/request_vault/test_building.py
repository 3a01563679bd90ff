"""What SQLite's rebuild of a model must survive between the making of rows and their commit."""

from __future__ import annotations

from pathlib import Path

from bus.clock import SystemClock
from schemas.request_vault import CallStarred
from services.request_vault.domain.calls import CallQuery
from services.request_vault.domain.queries import narrowed
from services.request_vault.store.sqlite.engine import SqliteStore, open_sqlite
from tests.conformance.vault.marking import mark
from tests.services.request_vault.samples import BUCKET, START, captured


async def starred(store: SqliteStore) -> list[str]:
    found = await store.search_calls(narrowed(CallQuery(BUCKET), "is:starred", START))
    return [call.id for call in found.calls]


async def test_a_mark_between_the_last_part_and_the_swap_is_kept(tmp_path: Path) -> None:
    async with open_sqlite(tmp_path / "vault.db", SystemClock(), partitions=1, readers=1) as store:
        await store.record([captured(f"c-{n}") for n in range(10)])
        await mark(store, CallStarred("c-1", BUCKET))
        await store.rebuild("calls", 4)
        while (build := store._generations.builds.get("calls")) is not None:
            part = await store._rebuilds._read("calls", build, 4)
            if part.last:
                await mark(store, CallStarred("c-2", BUCKET))
            await store._rebuilds._put_in("calls", part)
        assert store._generations.calls == 2
        assert await starred(store) == ["c-2", "c-1"]


async def test_a_part_is_put_in_once(tmp_path: Path) -> None:
    async with open_sqlite(tmp_path / "vault.db", SystemClock(), partitions=1, readers=1) as store:
        await store.record([captured(f"c-{n}") for n in range(10)])
        await store.rebuild("calls", 4)
        part = await store._rebuilds._read("calls", store._generations.builds["calls"], 4)
        for _ in range(2):
            await store._rebuilds._put_in("calls", part)
        while (await store.rebuild("calls", 4)).state == "rebuilding":
            pass
        assert len((await store.search_calls(CallQuery(BUCKET))).calls) == 10
