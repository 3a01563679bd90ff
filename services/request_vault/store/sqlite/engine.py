"""The SQLite engine of the vault: the port's methods, each a job for the writer or a reader."""

from __future__ import annotations

import asyncio
import functools
import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar, cast

import structlog

from bus.clock import Clock
from bus.errors import Refused
from bus.event import Event
from schemas.request_vault import Appended, DecisionPage, Facets, LogPage, ModelState, Position, StreamWrite
from services.request_vault.domain import recording as rules
from services.request_vault.domain.calls import CallQuery
from services.request_vault.domain.cursors import Vector
from services.request_vault.store.port import (
    CallText,
    Erased,
    FoundCall,
    FoundCalls,
    Ingested,
    LateText,
    LogSlice,
    Selection,
    StoreStats,
    TextSource,
    TextStep,
    Trace,
)
from services.request_vault.store.sqlite import clearing, facets, reading, searching
from services.request_vault.store.sqlite.additions import Additions
from services.request_vault.store.sqlite.failures import translated
from services.request_vault.store.sqlite.known import Known
from services.request_vault.store.sqlite.ledger import Ledger
from services.request_vault.store.sqlite.looking_back import look_back
from services.request_vault.store.sqlite.migrating import migrate
from services.request_vault.store.sqlite.models import VERSIONS, Generations, building
from services.request_vault.store.sqlite.readers import Readers
from services.request_vault.store.sqlite.rebuilding import Rebuilds
from services.request_vault.store.sqlite.schema import locked, open_writer, size_bytes
from services.request_vault.store.sqlite.text import TEXT, TextIndex
from services.request_vault.store.sqlite.upkeep import Upkeep
from services.request_vault.store.sqlite.writer import Writer
from services.request_vault.store.writes import Appending, Recording

T = TypeVar("T")

_log = structlog.get_logger("request_vault")


class SqliteStore(Upkeep):
    """Made by `open_sqlite`. Safe to be used by any number of tasks of one event loop."""

    def __init__(
        self,
        path: Path,
        clock: Clock,
        writer: Writer,
        readers: Readers,
        texts: TextIndex,
    ) -> None:
        super().__init__(path, clock, writer, readers)
        self._texts = texts
        self._rebuilds = Rebuilds(writer, readers)

    async def record(self, events: Sequence[Event]) -> Ingested:
        partitions = self._writer.ledger.partitions
        job = await self._writer.prepare(lambda: Recording(events, partitions))
        return cast(Ingested, await self._write(job))

    async def append(self, stream: str, expected_version: int, events: Sequence[bytes]) -> Appended:
        (appended,) = await self.append_all([StreamWrite(stream, expected_version, tuple(events))])
        return appended

    async def append_all(self, writes: Sequence[StreamWrite]) -> tuple[Appended, ...]:
        return cast(tuple[Appended, ...], await self._write(Appending(writes)))

    async def _write(self, job: Recording | Appending) -> object:
        now_us = rules.to_us(self._clock.now())

        def apply(connection: sqlite3.Connection, ledger: Ledger) -> object:
            known = Known.load(connection, ledger, job)
            additions = Additions(connection, ledger, known, now_us, len(job.identities))
            result = job.apply(known, additions)
            additions.insert()
            return result

        return await self._writer.run(apply)

    async def read_category(self, category: str, after: int, limit: int) -> LogPage:
        return await self._readers.run(
            lambda connection: reading.read_category(connection, category, after, limit)
        )

    async def read_stream(self, stream: str, after: int, limit: int, *, backwards: bool = False) -> LogPage:
        return await self._readers.run(
            lambda connection: reading.read_stream(connection, stream, after, limit, backwards)
        )

    async def read_decisions(self, after: int, limit: int) -> LogPage:
        return await self._readers.run(lambda connection: reading.read_decisions(connection, after, limit))

    async def look_back(
        self, types: Sequence[str], keys: Sequence[str], before: int, limit: int
    ) -> DecisionPage:
        return await self._read_models(
            lambda connection, models: look_back(connection, models, types, keys, before, limit)
        )

    async def read_log(
        self, selection: Selection, after: Vector, limit: int, *, backwards: bool = False
    ) -> LogSlice:
        return await self._read_models(
            lambda connection, models: reading.read_log(
                connection, models, selection, after, limit, backwards
            )
        )

    async def trace(self, id: str, limit: int) -> Trace:
        return await self._read_models(
            lambda connection, models: reading.trace(connection, models, id, limit)
        )

    async def search_calls(
        self, query: CallQuery, *, before: int | None = None, after: int | None = None
    ) -> FoundCalls:
        partition = self.partition_of(query.bucket)
        return await self._read_models(
            lambda connection, models: searching.search(
                connection, models, query, partition, before, after, self._texts
            )
        )

    async def get_call(self, id: str, bucket: str | None, *, deleted: bool = False) -> FoundCall | None:
        return await self._read_models(
            lambda connection, models: searching.get_call(connection, models, id, bucket, deleted)
        )

    async def get_shared(self, share: str) -> FoundCall | None:
        return await self._read_models(
            lambda connection, models: searching.get_shared(connection, models, share)
        )

    async def named(self, bucket: str, hashes: Sequence[str]) -> set[str]:
        return await self._read_models(
            lambda connection, models: clearing.named(connection, models, bucket, hashes)
        )

    async def facets(self, query: CallQuery, limit: int) -> Facets:
        partition = self.partition_of(query.bucket)
        return await self._read_models(
            lambda connection, models: facets.facets(connection, models, query, limit, partition, self._texts)
        )

    def models(self) -> tuple[ModelState, ...]:
        return (*map(self._rebuilds.state_of, VERSIONS), self._texts.model())

    async def rebuild(self, name: str, most: int) -> ModelState:
        if name == TEXT:
            return await self._texts.rebuild()
        if name not in VERSIONS:
            raise Refused(
                "model-unknown", f"there is no model {name[:80]!r}; there are {', '.join((*VERSIONS, TEXT))}"
            )
        return await self._rebuilds.step(name, most)

    async def is_wasteful(self, name: str) -> bool:
        """Free pages are of the whole file, and `reclaim` gives them back."""
        return False

    async def rewrite(self, name: str, most: int) -> bool:
        return False

    async def drop_old(self, most: int) -> bool:
        return await self._writer.run(
            lambda connection, ledger: building.drop_old(connection, ledger.generations, most)
        )

    async def unindexed(self, limit: int) -> TextStep | None:
        return await self._texts.unindexed(limit)

    async def index_texts(self, step: TextStep, through: Position, texts: Sequence[CallText]) -> None:
        await self._texts.index(step, through, texts)

    async def late_texts(self, after: Position | None, limit: int) -> tuple[LateText, ...]:
        return await self._texts.late(after, limit)

    async def text_sources(self, positions: Sequence[Position]) -> tuple[TextSource, ...]:
        return await self._texts.sources(positions)

    async def replace_texts(self, texts: Sequence[CallText]) -> None:
        await self._texts.replace(texts)

    def texts_behind(self) -> int:
        return self._texts.behind()

    async def texts_purged(self) -> None:
        await self._texts.purged()

    async def erase(self, bucket: str, call_ids: Sequence[str], *, by: str, why: str) -> Erased:
        try:
            return await super().erase(bucket, call_ids, by=by, why=why)
        finally:  # it may be done though nobody waited for it
            self._texts.recheck()

    async def erase_bucket(self, bucket: str, upto: Vector, most: int, *, by: str, why: str) -> Erased:
        try:
            return await super().erase_bucket(bucket, upto, most, by=by, why=why)
        finally:
            self._texts.recheck()

    async def mark_published(self, number: int) -> None:
        def mark(connection: sqlite3.Connection, ledger: Ledger) -> None:
            ledger.published_to = max(ledger.published_to, number)

        await self._writer.run(mark)

    async def lead(self) -> None:
        """No other process has the file."""

    def leads(self) -> bool:
        return True

    def listen(self, changed: Callable[[], None]) -> None:
        """No other instance appends."""

    def retain(self, ages: Mapping[str, int | None]) -> None:
        """Rows are removed one by one, wherever they are."""

    def heads(self) -> dict[str, int]:
        return self._writer.ledger.categories.copy()

    def published_to(self) -> int:
        return self._writer.ledger.published_to

    def partition_of(self, key: str) -> int:
        return rules.partition_of(key, self._writer.ledger.partitions)

    @property
    def _generations(self) -> Generations:
        return self._writer.ledger.generations

    async def _read_models(self, read: Callable[[sqlite3.Connection, Generations], T]) -> T:
        """What `read` returns, read anew when other tables have come to answer meanwhile: those that it read
        may be on their way out."""
        while True:
            models = self._generations
            try:
                found = await self._readers.run(functools.partial(_read_with, read, models))
            except sqlite3.OperationalError:
                if models.answer_as(self._generations):
                    raise
            else:
                if models.answer_as(self._generations):
                    return found

    async def stats(self) -> StoreStats:
        ledger = self._writer.ledger
        usage = await self._readers.run(reading.usage)
        return StoreStats(
            events=sum(ledger.numbers),
            calls=sum(each.calls for each in usage),
            usage=usage,
            size_bytes=await asyncio.to_thread(self._size_bytes),
            partitions=tuple(ledger.numbers),
            published_to=ledger.published_to,
        )

    def _size_bytes(self) -> int:
        return size_bytes(self._path) + self._texts.size_bytes()


def _read_with(
    read: Callable[[sqlite3.Connection, Generations], T], models: Generations, connection: sqlite3.Connection
) -> T:
    return read(connection, models)


@asynccontextmanager
async def open_sqlite(
    path: Path, clock: Clock, *, partitions: int, readers: int
) -> AsyncIterator[SqliteStore]:
    """Raises VaultInUse, VaultDamaged, VaultVersion, VaultSpace, Unavailable."""
    await asyncio.to_thread(path.parent.mkdir, parents=True, exist_ok=True)
    with locked(path):
        with translated():
            await asyncio.to_thread(migrate, path)
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
                    texts = await TextIndex.open(
                        path.with_suffix(".text.db"), pool, lambda: writer.ledger, clock
                    )
                    try:
                        yield SqliteStore(path, clock, writer, pool, texts)
                    finally:
                        await texts.close()
                finally:
                    await pool.close()
            finally:
                await writer.close()
        finally:
            await asyncio.to_thread(connection.close)
