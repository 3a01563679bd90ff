"""A vault that is killed at a named point: what it acknowledged is there, nothing is there twice, nothing
is left unpublished."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import pytest

import bus
from bus.ids import Ids
from bus.message import Subscription
from bus.router import Router
from bus.event import Event
from services.chassis.host import Ground
from services.request_vault import service
from services.request_vault.config import Config
from services.request_vault.domain.calls import CallQuery
from services.request_vault.store import open_store
from services.request_vault.store.port import Selection
from schemas.request_vault import GetVaultStats, ReadCategory
from tests.services.request_vault.samples import BUCKET

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


@pytest.mark.parametrize("what", ["handler", "publish"])
async def test_a_vault_killed_halfway_takes_up_where_it_was(tmp_path: Path, what: str) -> None:
    process = await victim(what, tmp_path)
    assert await process.wait() == -signal.SIGKILL

    heard: list[Event] = []
    both = asyncio.Event()

    async def hear(event: Event, delivery: bus.Delivery) -> None:
        heard.append(event)
        if len({each.id for each in heard}) == 2:
            both.set()

    follower = Router(Subscription("follower", ("shop.thing.#",)))
    follower.on_event("shop.thing.#", hear)
    async with bus.connect(f"embedded:{tmp_path / 'bus.db'}", source="request_vault") as b, b.serve(follower):
        ground = Ground(bus=b, clock=b.clock, ids=Ids(b.clock), data_dir=tmp_path, announce=print)
        async with service.build(Config(), ground):
            async with asyncio.timeout(20):
                while (stats := await b.ask(GetVaultStats())).partitions[1] < 20:
                    await asyncio.sleep(0.01)
                if what == "publish":
                    await both.wait()
                    while (stats := await b.ask(GetVaultStats())).published_to < 2:
                        await asyncio.sleep(0.01)
            assert stats.partitions[1] == 20
            assert await b.parked() == []
            if what == "publish":
                page = await b.ask(ReadCategory("shop"))
                assert stats.partitions[0] == page.head == 2
                stamps = [event.stamp for event in heard if event.stamp is not None]
                assert [(stamp.position, stamp.prev) for stamp in stamps[-2:]] == [
                    ((0, 1), None),
                    ((0, 2), 1),
                ]
