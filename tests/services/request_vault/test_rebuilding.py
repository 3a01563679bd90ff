"""Models are rebuilt when that is due and when it is asked for, beside everything else."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bus.errors import Refused
from bus.testing import Harness, harness
from schemas import request_vault as contract
from schemas.request_vault import FacetCalls, GetVaultStats, ModelState, RebuildModel, SearchCalls
from services.request_vault import service
from services.request_vault.config import Config
from services.request_vault.worker import rebuilding
from tests.services.grounds import a_ground
from tests.services.request_vault.samples import BUCKET, captured


@asynccontextmanager
async def vault(folder: Path) -> AsyncIterator[Harness]:
    async with harness(source="request_vault", subscriptions=contract.SUBSCRIPTIONS) as b:
        ground = a_ground(b, folder)
        async with service.build(Config(), ground):
            yield b


async def state(b: Harness, name: str) -> ModelState:
    models = (await b.ask(GetVaultStats())).models
    return next(model for model in models if model.name == name)


async def ready(b: Harness, name: str) -> None:
    async with asyncio.timeout(20):
        while (await state(b, name)).state != "ready":
            pass


def generation(folder: Path, name: str) -> tuple[int, int]:
    connection = sqlite3.connect(folder / "request_vault" / "vault.db")
    row = connection.execute("SELECT version, generation FROM model WHERE name = ?", (name,)).fetchone()
    connection.close()
    return (row[0], row[1])


async def test_a_model_is_rebuilt_on_the_ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rebuilding, "STEP_RECORDS", 5)
    async with vault(tmp_path) as b:
        await b.emit(*[captured(f"c-{n}") for n in range(50)])
        await b.settled()
        before = (await b.ask(SearchCalls(BUCKET))).calls
        assert (await b.ask(RebuildModel("calls"))).state == "rebuilding"
        await b.emit(captured("late"))
        await b.settled()
        async with asyncio.timeout(20):
            while generation(tmp_path, "calls")[1] == 1:
                await b.ask(GetVaultStats())
        await ready(b, "calls")
        page = await b.ask(SearchCalls(BUCKET, limit=100))
        assert page.calls[1:] == before
        assert page.calls[0].id == "late"


async def test_a_model_of_another_version_is_rebuilt_when_the_vault_opens(tmp_path: Path) -> None:
    async with vault(tmp_path) as b:
        await b.emit(captured("c"))
        await b.settled()
    today = generation(tmp_path, "events")[0]
    older = sqlite3.connect(tmp_path / "request_vault" / "vault.db")
    older.execute("UPDATE model SET version = 0 WHERE name = 'events'")
    older.commit()
    older.close()
    async with vault(tmp_path) as b:
        await ready(b, "events")
    assert generation(tmp_path, "events") == (today, 2)


async def test_an_unknown_model_is_refused(tmp_path: Path) -> None:
    async with vault(tmp_path) as b:
        with pytest.raises(Refused) as caught:
            await b.ask(RebuildModel("nothing"))
        assert caught.value.reason == "model-unknown"


async def test_facets_over_the_bus(tmp_path: Path) -> None:
    async with vault(tmp_path) as b:
        await b.emit(*[captured(f"c-{n}", status=200 + n % 2 * 300) for n in range(6)])
        await b.settled()
        facets = await b.ask(FacetCalls(BUCKET, "status:5xx"))
        assert (facets.counted, facets.complete, facets.statuses[0].value) == (3, True, "5xx")
        for ask in (
            FacetCalls(BUCKET, "status:"),
            FacetCalls(BUCKET, limit=0),
            FacetCalls(BUCKET, limit=101),
        ):
            with pytest.raises(Refused) as caught:
                await b.ask(ask)
            assert caught.value.reason == "query-invalid"
