"""A vault that is killed at a named point: what it acknowledged is there, nothing is there twice, nothing
is left unpublished."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import bus
from bus.embedded import open_embedded
from bus.event import Event
from bus.router import Router
from bus.testing import Harness, ManualClock, over
from schemas.request_vault import GetVaultStats, ReadCategory
from services.request_vault import service
from services.request_vault.config import Config
from services.request_vault.domain.calls import CallQuery
from services.request_vault.store import open_store
from services.request_vault.store.port import Selection
from tests.services.grounds import a_ground
from tests.services.request_vault.samples import BUCKET
from tests.services.request_vault.victim import FOLLOWER

VICTIM = str(Path(__file__).with_name("victim.py"))
ROOT = Path(__file__).parents[3]


async def victim(what: str, folder: Path) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.services.request_vault.victim", what, str(folder), cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip


@pytest.mark.parametrize("after_lines", [1, 4, 9])
async def test_what_was_acknowledged_survives_a_kill_and_is_there_once(
    tmp_path: Path, after_lines: int
) -> None:
    process = await victim("store", tmp_path)
    assert process.stdout is not None
    acknowledged = 0
    for _ in range(after_lines):
        acknowledged = int(await process.stdout.readline())
    process.send_signal(signal.SIGKILL)
    acknowledged = max([acknowledged, *map(int, (await process.stdout.read()).split())])
    await process.wait()

    async with open_store("sqlite:", tmp_path, bus.SystemClock(), partitions=1, readers=1) as store:
        stats = await store.stats()
        found: list[str] = []
        before = None
        more = True
        while more:
            page = await store.search_calls(CallQuery(BUCKET, limit=500), before=before)
            found += [call.id for call in page.calls]
            more, before = page.more, page.calls[-1].position[1] if page.calls else None
        numbers = {int(id.removeprefix("c-")) for id in found}
        assert numbers >= set(range(acknowledged))
        assert len(found) == len(numbers) == stats.partitions[1] == stats.calls
        decided = (await store.read_decisions(0, 500)).records
        assert [record.position[1] for record in decided] == list(range(1, stats.partitions[0] + 1))
        assert len(decided) >= acknowledged // 20
        assert len((await store.read_log(Selection(), {}, 500)).records) == min(500, stats.events)


async def test_a_vault_killed_before_it_acknowledged_records_nothing_twice(tmp_path: Path) -> None:
    process = await victim("handler", tmp_path)
    assert await process.wait() == -signal.SIGKILL
    async with vault(tmp_path) as b:
        await b.settled()
        stats = await b.ask(GetVaultStats())
        assert stats.partitions[1] == 20
        assert await b.parked() == []


async def test_a_vault_killed_before_its_checkpoint_publishes_again(tmp_path: Path) -> None:
    process = await victim("publish", tmp_path)
    assert await process.wait() == -signal.SIGKILL
    heard: list[Event] = []
    last = asyncio.Event()

    async def hear(events: list[Event]) -> None:
        heard.extend(events)
        if [each.id for each in heard].count("d-2") == 2:
            last.set()

    follower = Router(FOLLOWER)
    follower.on_batch(hear)  # a batch is handed over as it came: repeated events are not taken out
    async with vault(tmp_path, follower) as b:
        async with asyncio.timeout(20):
            await last.wait()
        page = await b.ask(ReadCategory("shop"))
        assert page.head == 2
    assert [event.id for event in heard] == ["d-1", "d-2"] * 2
    stamps = [event.stamp for event in heard if event.stamp is not None]
    assert [(stamp.position, stamp.prev) for stamp in stamps] == [((0, 1), None), ((0, 2), 1)] * 2
    async with vault(tmp_path) as b:
        stats = await b.ask(GetVaultStats())
        assert (stats.published_to, stats.partitions) == (2, (2, 20))


@asynccontextmanager
async def vault(folder: Path, *routers: Router) -> AsyncIterator[Harness]:
    """The vault over the journal that the victim left."""
    clock = ManualClock()
    async with (
        open_embedded(folder / "bus.db", clock=clock) as transport,
        over(transport, source="request_vault", clock=clock) as b,
        b.serve(*routers),
    ):
        ground = a_ground(b, folder, clock=clock)
        async with service.build(Config(), ground):
            yield b
