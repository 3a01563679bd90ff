"""A disk that fills up: ingest pauses, says so, keeps what waits, and goes on when there is space."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest
import structlog

from bus.errors import AskFailed, Unavailable
from bus.event import Event
from bus.testing import harness
from schemas import request_vault as contract
from schemas.request_vault import NO_STREAM, Append, GetVaultStats, ReadLog, SearchCalls
from schemas.traffic_gateway import Body
from services.request_vault import service
from services.request_vault.config import Config
from services.request_vault.handlers.ingest import Ingest
from services.request_vault.store.sqlite import engine, schema
from tests.services.grounds import a_ground
from tests.services.request_vault.samples import BUCKET, captured, decision


class Disk:
    """The writer's connection, and how many pages its file may have."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._open = schema.open_writer
        monkeypatch.setattr(engine, "open_writer", self._capture)

    def _capture(self, path: Path, partitions: int) -> sqlite3.Connection:
        self._writer = self._open(path, partitions)
        return self._writer

    def fill(self) -> None:
        (pages,) = self._writer.execute("PRAGMA page_count").fetchone()
        self._writer.execute(f"PRAGMA max_page_count={pages}")

    def make_room(self) -> None:
        self._writer.execute("PRAGMA max_page_count=1000000")


def large(id: str) -> Event:
    return captured(id, response_body=Body(12_000, 12_000, None, b"x" * 12_000))


async def test_ingest_waits_for_space_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(monkeypatch)
    tries = asyncio.Queue[str]()
    take = Ingest.on_events

    async def watched(self: Ingest, events: list[Event]) -> None:
        try:
            await take(self, events)
        except Unavailable as error:
            tries.put_nowait(str(error))
            raise

    monkeypatch.setattr(Ingest, "on_events", watched)
    async with harness(source="request_vault", subscriptions=contract.SUBSCRIPTIONS) as b:
        ground = a_ground(b, tmp_path)
        async with service.build(Config(), ground):
            await b.emit(*[captured(f"before-{n}") for n in range(10)])
            await b.settled()
            disk.fill()
            with structlog.testing.capture_logs() as logs:
                await b.emit(*[large(f"c-{n}") for n in range(20)])
                async with asyncio.timeout(10):
                    assert await tries.get() == "the disk that holds the vault is full"
                    await b.clock.advance(30)
                    assert await tries.get() == "the disk that holds the vault is full"
                with pytest.raises((Unavailable, AskFailed), match="full"):
                    await b.ask(Append("shop.thing-a", NO_STREAM, (decision("d", what="x" * 50_000),)))
            assert [log["subscription"] for log in logs if log["event"].startswith("paused")] == [
                "request_vault"
            ]
            # What is there can be read meanwhile.
            assert (await b.ask(GetVaultStats())).calls == 10
            assert len((await b.ask(SearchCalls(BUCKET))).calls) == 10
            await b.emit(*[captured(f"after-{n}") for n in range(5)])
            disk.make_room()
            await b.clock.advance(60)
            await b.settled()
            assert (await b.ask(GetVaultStats())).calls == 35
            assert len((await b.ask(ReadLog(types=("traffic.#",)))).records) == 35
            assert (await b.ask(Append("shop.thing-a", NO_STREAM, (decision("d"),)))).positions == ((0, 1),)
            assert await b.parked() == []
