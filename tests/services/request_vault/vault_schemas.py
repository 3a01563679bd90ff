"""Places for vaults on the tests' PostgreSQL: a schema for each, dropped afterwards."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg


@contextmanager
def vault_urls(server_url: str) -> Iterator[Iterator[str]]:
    """URLs of vaults that are not there yet, as many as are asked for."""
    names: list[str] = []

    def fresh() -> Iterator[str]:
        while True:
            names.append(f"vault_{uuid.uuid4().hex}")
            yield f"{server_url}?search_path={names[-1]}"

    yield fresh()
    asyncio.run(_drop(server_url, names))


async def _drop(server_url: str, names: list[str]) -> None:
    connection = await asyncpg.connect(server_url)
    try:
        for name in names:
            await connection.execute(f"DROP SCHEMA IF EXISTS {name} CASCADE")
    finally:
        await connection.close()
