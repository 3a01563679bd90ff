"""`trunkline vault backup` in a process of its own, over a vault that runs, killed at each of its points:
half of one never has a whole one's name, the vault is sound, and the next is whole."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.request_vault.store import open_store
from services.request_vault.store.port import Store
from tests.services.request_vault.commands.a_vault import CALLS, AVault, filled
from tests.services.request_vault.commands.backup_victim import OF_POSTGRES, POINTS, WHOLE
from tests.services.request_vault.rounds.points import Engine
from tests.services.request_vault.samples import order
from tests.services.request_vault.vault_schemas import vault_urls

ROOT = Path(__file__).resolve().parents[4]
ORDERS = 600


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> AVault:
    return filled(tmp_path_factory.mktemp("killed-backups") / "data", orders=ORDERS, gone=False)


@pytest.fixture(scope="module")
def on_postgres(made: AVault, postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The same vault there: its URL."""
    backup = tmp_path_factory.mktemp("to-postgres") / "backup"
    made.ok("backup", str(backup))
    with vault_urls(postgres_url) as fresh:
        url = next(fresh)
        made.ok("restore", str(backup), "--to", url)
        yield url


async def killed(vault: AVault, store: Store, engine: Engine, point: str, url: str, folder: Path) -> None:
    hits = random.Random(point).randint(1, POINTS[engine][point].most_hits)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TRUNKLINE_")}
    environment |= {"TRUNKLINE_DATA_DIR": str(vault.data_dir), "TRUNKLINE_VAULT_URL": url}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.services.request_vault.commands.backup_victim",
        engine, point, str(hits), str(folder),
        cwd=ROOT, env=environment, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    unused = 1_000_000 + (await store.stats()).events
    async with asyncio.TaskGroup() as tasks:
        ended = tasks.create_task(process.wait())
        for number in itertools.count(unused):
            if ended.done():
                break
            assert (await store.record([order(number, key="orders")])).recorded == 1
            await asyncio.sleep(0.01)
    assert ended.result() == -signal.SIGKILL, point


async def check_killed(vault: AVault, engine: Engine, point: str, url: str, tmp_path: Path) -> None:
    folder = tmp_path / "backup"
    async with open_store(url, vault.folder, vault.clock, partitions=2, readers=1) as store:
        await killed(vault, store, engine, point, url, folder)
        assert folder.exists() == (point == WHOLE)
        here = {"TRUNKLINE_VAULT_URL": url}
        proved = await asyncio.to_thread(lambda: vault.ok("verify", **here))
        assert proved["sound"]
        again = tmp_path / "again" if point == WHOLE else folder
        told = await asyncio.to_thread(lambda: vault.ok("backup", str(again), **here))
        assert (told["events"], told["bodies"]) == (proved["events"], CALLS)
    if point == WHOLE:
        other = AVault(tmp_path / "other")
        await asyncio.to_thread(lambda: other.ok("restore", str(folder)))
        held = (await asyncio.to_thread(lambda: other.ok("verify")))["events"]
        assert ORDERS < held <= proved["events"]
    assert not list(tmp_path.glob(".*.partial")), "half of it is left"


@pytest.mark.parametrize("point", POINTS["sqlite"])
async def test_a_backup_that_is_killed(made: AVault, point: str, tmp_path: Path) -> None:
    await check_killed(made, "sqlite", point, "sqlite:", tmp_path)


@pytest.mark.postgres
@pytest.mark.parametrize("point", [*OF_POSTGRES, WHOLE])
async def test_a_backup_that_is_killed_of_a_vault_on_postgresql(
    made: AVault, on_postgres: str, point: str, tmp_path: Path
) -> None:
    await check_killed(made, "postgres", point, on_postgres, tmp_path)
