"""A vault's file opened by a tool, beside the process that has it or on its own: nothing is locked, nothing
is written. All reading is of the moment of the opening."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

from bus.errors import Unavailable
from services.request_vault.domain.links import End, Link
from services.request_vault.store.errors import VaultDamaged
from services.request_vault.store.port import StoreStats
from services.request_vault.store.sqlite import checking, copying, linking, reading, schema, states
from services.request_vault.store.sqlite.failures import readable

T = TypeVar("T")


class SqliteArchive:
    """Made by `open_archive`."""

    def __init__(self, path: Path, connection: sqlite3.Connection, published_to: int) -> None:
        self._path = path
        self._connection = connection
        self._published_to = published_to
        self._one_at_a_time = asyncio.Lock()
        self._opened_as = _traces(path)

    async def ends(self) -> tuple[End, ...]:
        return await self._run("where the log ends", linking.ends)

    async def links(self, partition: int, after: int, limit: int) -> list[Link]:
        return await self._run(
            f"partition {partition} of the log after {after}",
            lambda connection: linking.links(connection, partition, after, limit),
        )

    async def check(self) -> list[str]:
        return await self._run("the database", checking.check)

    async def backup(self, target: Path) -> None:
        await self._run("the database", lambda connection: copying.copy(connection, target, lambda: True))

    def published_to(self) -> int:
        return self._published_to

    async def floor_us(self) -> int:
        return await self._run("what is forgotten", schema.floor_us)

    async def stats(self) -> StoreStats:
        ends = await self.ends()
        usage = await self._run("the usage", reading.usage)
        return StoreStats(
            events=sum(end.number for end in ends),
            calls=sum(each.calls for each in usage),
            usage=usage,
            size_bytes=await asyncio.to_thread(schema.size_bytes, self._path),
            partitions=tuple(end.number for end in ends),
            published_to=self._published_to,
            models=await self._run("the read models", states.model_states),
            text_behind=await self._run(
                "the read model of calls",
                lambda connection: states.text_behind(connection, self._path.with_suffix(".text.db")),
            ),
        )

    async def _run(self, what: str, read: Callable[[sqlite3.Connection], T]) -> T:
        async with self._one_at_a_time:
            found = await asyncio.to_thread(self._read, what, read)
        if self._opened_as is not None and _traces(self._path) != self._opened_as:
            raise Unavailable(f"the vault {self._path} was started while it was read on its own; begin again")
        return found

    def _read(self, what: str, read: Callable[[sqlite3.Connection], T]) -> T:
        with readable(what):
            return read(self._connection)


@asynccontextmanager
async def open_archive(path: Path) -> AsyncIterator[SqliteArchive]:
    """Raises VaultDamaged, VaultVersion, Unavailable, FileNotFoundError."""
    connection, published_to = await asyncio.to_thread(_open, path)
    try:
        yield SqliteArchive(path, connection, published_to)
    finally:
        await asyncio.to_thread(connection.close)


def _open(path: Path) -> tuple[sqlite3.Connection, int]:
    if not path.exists():
        raise FileNotFoundError(f"there is no vault {path}")
    schema.check_header(path)
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro{'' if _traces(path) is None else '&immutable=1'}",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        connection.execute("PRAGMA query_only=ON")
        connection.execute("BEGIN")
        schema.check_identity(connection, path)
        (published_to,) = connection.execute(
            "SELECT number FROM checkpoint WHERE name = 'published'"
        ).fetchone()
    except (sqlite3.Error, TypeError) as error:
        connection.close()
        raise VaultDamaged(f"the vault {path} cannot be read: {error}") from error
    except BaseException:
        connection.close()
        raise
    return connection, published_to


def _traces(path: Path) -> tuple[int, int] | None:
    """None while a write-ahead log is beside the file: then SQLite keeps readers and the writer apart.
    Without one nobody has the vault open, and it is read as a file that does not change, so that nothing is
    made beside it; whether it did change is seen by this."""
    if path.with_name(path.name + "-wal").exists():
        return None
    status = path.stat()
    return status.st_mtime_ns, status.st_size
