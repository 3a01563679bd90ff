"""What the programs of a measurement share: one line of JSON to the one that started them, a fresh PostgreSQL
database, the memory of a process, waiting for the vault.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from bus.clock import SystemClock
from bus.connect import Bus
from schemas.request_vault import GetVaultStats
from services.chassis.host import Ground, Shared
from services.request_vault import service
from services.request_vault.config import Config
from services.request_vault.store import open_store
from services.request_vault.store.port import Store

ROOT = Path(__file__).parents[2]
PEER = ROOT / ".venv-eventsourcing" / "bin" / "python"
POSTGRES_URL = "TRUNKLINE_TEST_POSTGRES_URL"
POLL_S = 0.02
SIDE_TIMEOUT_S = 1800.0


async def side(*command: str, env: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Run a program to its end; the last line that it prints, as JSON."""
    process = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, stdout=asyncio.subprocess.PIPE, env={**os.environ, **(env or {})}
    )
    try:
        async with asyncio.timeout(SIDE_TIMEOUT_S):
            output, _ = await process.communicate()
    except BaseException:
        process.kill()
        await process.wait()
        raise
    if process.returncode:
        raise SystemExit(f"{' '.join(command[:4])} ended with {process.returncode}")
    words: dict[str, Any] = json.loads(output.splitlines()[-1])
    return words


async def own_side(module: str, *arguments: object) -> dict[str, Any]:
    """One of this package's programs."""
    return await side(sys.executable, "-m", f"bench.vault.{module}", *map(str, arguments))


def say(**words: Any) -> None:
    print(json.dumps(words), flush=True)


@asynccontextmanager
async def database(engine: str, name: str, folder: Path) -> AsyncIterator[str]:
    """The URL of an empty database: a file below `folder`, or a PostgreSQL database that is dropped after."""
    if engine == "sqlite":
        yield f"sqlite:{folder / name}.db"
        return
    import asyncpg

    server = os.environ.get(POSTGRES_URL)
    if server is None:
        raise SystemExit("a PostgreSQL is needed: run this with `make bench`")
    connection = await asyncpg.connect(server)
    quoted = f'"{name}_{os.getpid()}"'
    try:
        await connection.execute(f"CREATE DATABASE {quoted}")
        yield urlunsplit(urlsplit(server)._replace(path="/" + quoted.strip('"')))
        await connection.execute(f"DROP DATABASE {quoted} WITH (FORCE)")
    finally:
        await connection.close()


@asynccontextmanager
async def vault(bus: Bus, url: str, folder: Path) -> AsyncIterator[None]:
    """The vault as the host runs it, on this bus."""
    ground = Ground(
        bus=bus.as_source("request_vault"),
        clock=bus.clock,
        ids=bus.ids,
        data_dir=folder,
        announce=lambda name, value: None,
        shared=Shared.alone(bus.clock),
    )
    async with service.build(Config(url=url), ground):
        yield


@asynccontextmanager
async def opened(url: str, folder: Path) -> AsyncIterator[Store]:
    """The store alone, with the service's own settings."""
    config = Config(url=url)
    async with open_store(
        url, folder, SystemClock(), partitions=config.partitions, readers=config.readers
    ) as store:
        yield store


async def calls_in(bus: Bus) -> int:
    return (await bus.ask(GetVaultStats(), timeout_s=30)).calls


def resident_mb() -> float:
    """Of this process, now."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise ValueError("no VmRSS of this process")
