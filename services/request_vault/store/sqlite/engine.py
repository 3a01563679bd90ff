"""The SQLite engine of the vault: the port's methods, each a job for the writer or a reader."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import structlog

from bus.clock import Clock
from bus.event import Event
from schemas.request_vault import Appended, LogPage
from services.request_vault.domain import recording as rules
from services.request_vault.domain.calls import CallQuery
from services.request_vault.domain.cursors import Vector
from services.request_vault.store.port import (
    FoundCall,
    FoundCalls,
    Ingested,
    LogSlice,
    Selection,
    StoreStats,
    Trace,
)
from services.request_vault.store.sqlite import reading, recording, searching
from services.request_vault.store.sqlite.failures import translated
from services.request_vault.store.sqlite.ledger import Ledger
from services.request_vault.store.sqlite.readers import Readers
from services.request_vault.store.sqlite.schema import locked, open_writer
from services.request_vault.store.sqlite.writer import Writer

_log = structlog.get_logger("request_vault")


class SqliteStore:
    """Made by `open_sqlite`. Safe to be used by any number of tasks of one event loop."""

    def __init__(self, path: Path, clock: Clock, writer: Writer, readers: Readers) -> None:
        self._path = path
        self._clock = clock
        self._writer = writer
        self._readers = readers

    async def record(self, events: Sequence[Event]) -> Ingested:
        now_us = rules.to_us(self._clock.now())
        return await self._writer.run(
            lambda connection, ledger: recording.record(connection, ledger, events, now_us)
        )

    async def append(self, stream: str, expected_version: int, events: Sequence[bytes]) -> Appended:
        now_us = rules.to_us(self._clock.now())
        return await self._writer.run(
            lambda connection, ledger: recording.append(
                connection, ledger, stream, expected_version, events, now_us
            )
        )

    async def read_category(self, category: str, after: int, limit: int) -> LogPage:
        return await self._readers.run(
            lambda connection: reading.read_category(connection, category, after, limit)
        )

    async def read_stream(self, stream: str, after: int, limit: int) -> LogPage:
        return await self._readers.run(
            lambda connection: reading.read_stream(connection, stream, after, limit)
        )

    async def read_decisions(self, after: int, limit: int) -> LogPage:
        return await self._readers.run(lambda connection: reading.read_decisions(connection, after, limit))

    async def read_log(self, selection: Selection, after: Vector, limit: int) -> LogSlice:
        return await self._readers.run(
            lambda connection: reading.read_log(connection, selection, after, limit)
        )

    async def trace(self, id: str, limit: int) -> Trace:
        return await self._readers.run(lambda connection: reading.trace(connection, id, limit))

    async def search_calls(
        self, query: CallQuery, *, before: int | None = None, after: int | None = None
    ) -> FoundCalls:
        partition = self.partition_of(query.bucket)
        return await self._readers.run(
            lambda connection: searching.search(connection, query, partition, before, after)
        )

    async def get_call(self, id: str, bucket: str | None) -> FoundCall | None:
        return await self._readers.run(lambda connection: searching.get_call(connection, id, bucket))

    async def mark_published(self, number: int) -> None:
        def mark(connection: sqlite3.Connection, ledger: Ledger) -> None:
            ledger.published_to = max(ledger.published_to, number)

        await self._writer.run(mark)

    def heads(self) -> dict[str, int]:
        return self._writer.ledger.categories.copy()

    def published_to(self) -> int:
        return self._writer.ledger.published_to

    def partition_of(self, key: str) -> int:
        return rules.partition_of(key, self._writer.ledger.partitions)

    async def stats(self) -> StoreStats:
        ledger = self._writer.ledger
        return StoreStats(
            events=sum(ledger.numbers),
            calls=sum(ledger.calls),
            size_bytes=await asyncio.to_thread(self._size_bytes),
            partitions=tuple(ledger.numbers),
            published_to=ledger.published_to,
        )

    def _size_bytes(self) -> int:
        files = (self._path, self._path.with_name(self._path.name + "-wal"))
        return sum(file.stat().st_size for file in files if file.exists())


@asynccontextmanager
async def open_sqlite(
    path: Path, clock: Clock, *, partitions: int, readers: int
) -> AsyncIterator[SqliteStore]:
    """Raises VaultInUse, VaultDamaged, VaultVersion, Unavailable."""
    await asyncio.to_thread(path.parent.mkdir, parents=True, exist_ok=True)
    with locked(path):
        with translated():
            connection = await asyncio.to_thread(open_writer, path, partitions)
        try:
            with translated():
                writer = Writer(connection)
            if writer.ledger.partitions != partitions:
                _log.warning(
                    "the log keeps the partitions it was made with",
                    has=writer.ledger.partitions,
                    asked=partitions,
                )
            try:
                with translated():
                    pool = Readers(path, readers)
                try:
                    yield SqliteStore(path, clock, writer, pool)
                finally:
                    await pool.close()
            finally:
                await writer.close()
        finally:
            await asyncio.to_thread(connection.close)
