"""A copy of the log in one SQLite file, as of one moment, while instances go on: the way a vault is backed
up, and moved to one machine."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

from bus.clock import Clock
from bus.errors import Unavailable
from services.request_vault.domain.links import last_number
from services.request_vault.store.postgres import linking, removing
from services.request_vault.store.postgres.connections import Connection

PAGE_NUMBERS = 1000


async def copy(connection: Connection, target: Path, clock: Clock) -> None:
    """`Store.backup`, inside a transaction, whose moment it copies. `target` is not there."""
    # The other engine is needed for this only.
    from services.request_vault.store.sqlite.copying import sync
    from services.request_vault.store.sqlite.engine import open_sqlite

    partial = target.with_name(f".{target.name}.partial")
    await asyncio.to_thread(_remove, partial)
    try:
        ends = await linking.ends(connection)
        async with open_sqlite(partial, clock, partitions=len(ends) - 1, readers=1) as copied:
            for end in (*ends[1:], ends[0]):
                after = 0
                while page := await linking.links(connection, end.partition, after, PAGE_NUMBERS):
                    await copied.load(page)
                    after = last_number(page[-1])
            published_to = await connection.fetchval("SELECT number FROM checkpoint WHERE name = 'published'")
            await copied.mark_published(published_to)
            await copied.raise_floor(await removing.floor_us(connection))
            await copied.backup(target)
        await asyncio.to_thread(sync, target.parent)
    except OSError as error:
        raise Unavailable(f"the backup cannot be written: {error}") from error
    finally:
        await asyncio.to_thread(_remove, partial)


async def check_new(target: Path) -> None:
    """Raises FileExistsError."""
    if await asyncio.to_thread(target.exists):
        raise FileExistsError(f"{target} exists already; a backup is written to a new file")


async def tables(connection: Connection) -> list[str]:
    """Every table of the vault that holds rows."""
    rows = await connection.fetch(
        """SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r'
        ORDER BY relname"""
    )
    return [row[0] for row in rows]


def _remove(partial: Path) -> None:
    """Whatever an unfinished copy left."""
    for path in partial.parent.glob(f"{partial.name.removesuffix('.partial')}.*"):
        with suppress(OSError):
            path.unlink()
