"""A vault that is killed while it rebuilds a read model: what answers is whole, and the rebuild goes on."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import sys
from pathlib import Path

import pytest

from bus.clock import SystemClock
from schemas.request_vault import CallSummary
from services.request_vault.domain.calls import CallQuery
from services.request_vault.domain.queries import narrowed
from services.request_vault.store import open_store
from services.request_vault.store.port import Store
from tests.services.request_vault.rebuilding_victim import CALLS, POINTS, STEP, fill
from tests.services.request_vault.samples import BUCKET, START

ROOT = Path(__file__).parents[3]


async def killed(folder: Path, point: str) -> int:
    """How many calls were acknowledged before the end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.services.request_vault.rebuilding_victim", str(folder), point, cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    said, _ = await process.communicate()
    assert process.returncode == -signal.SIGKILL
    return max(map(int, said.split()))


async def calls(store: Store, query: str = "") -> list[CallSummary]:
    found = await store.search_calls(narrowed(CallQuery(BUCKET, limit=500), query, START))
    return list(found.calls)


@pytest.mark.parametrize("point", [*POINTS, "swapped"])
async def test_a_rebuild_that_is_killed_loses_nothing(tmp_path: Path, point: str) -> None:
    acknowledged = await killed(tmp_path, point)
    async with open_store("sqlite:", tmp_path, SystemClock(), partitions=1, readers=1) as store:
        before = await calls(store)
        ids = [call.id for call in before]
        assert len(ids) == len(set(ids))
        assert set(ids) >= {f"c-{n}" for n in range(acknowledged) if n != 2}
        assert "c-2" not in ids
        starred = {call.id for call in await calls(store, "is:starred")}
        assert starred >= {"c-0", "c-1", *(f"c-{n}" for n in range(CALLS, acknowledged))}
        assert [call.id for call in await calls(store, "tag:t note:note")] == ["c-0"]
        if any(model.name == "calls" and model.state == "rebuilding" for model in store.models()):
            while (await store.rebuild("calls", STEP)).state == "rebuilding":
                pass
        assert await calls(store) == before
        while await store.drop_old(STEP):
            pass
        assert await calls(store) == before
        assert {call.id for call in await calls(store, "is:starred")} == starred
    connection = sqlite3.connect(tmp_path / "vault.db")
    tables = [
        name
        for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
        if name.startswith("call_")
    ]
    connection.close()
    assert len(tables) == 1


@pytest.mark.parametrize("name", ["calls", "events"])
async def test_a_model_of_an_older_version_answers_until_it_is_built_anew(tmp_path: Path, name: str) -> None:
    async with open_store("sqlite:", tmp_path, SystemClock(), partitions=1, readers=1) as store:
        await fill(store)
        before = await calls(store)
    older = sqlite3.connect(tmp_path / "vault.db")
    older.execute("UPDATE model SET version = version - 1 WHERE name = ?", (name,))
    if name == "calls":  # as one that knew neither templates nor tags
        older.execute("ALTER TABLE call_1 DROP COLUMN template")
        older.execute("DROP TABLE tag_1")
        older.execute("DROP INDEX call_1_method")
    older.commit()
    older.close()
    async with open_store("sqlite:", tmp_path, SystemClock(), partitions=1, readers=1) as store:
        state = next(model for model in store.models() if model.name == name)
        assert (state.state, state.done) == ("rebuilding", 0)
        assert [call.id for call in await calls(store)] == [call.id for call in before]
        assert await calls(store, "tag:t") == ([] if name == "calls" else [before[-1]])
        assert len(await calls(store, "method:get host:api.example.com")) == len(before)
        while (await store.rebuild(name, STEP)).state == "rebuilding":
            pass
        while await store.drop_old(STEP):
            pass
        assert await calls(store) == before
        assert [call.id for call in await calls(store, "tag:t")] == ["c-0"]
