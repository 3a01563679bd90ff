"""The PostgreSQL engine of the vault: the port's methods, each a job for the writer or a few statements."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

import structlog
from asyncpg import UndefinedTableError

from bus.clock import Clock
from bus.errors import Unavailable
from bus.event import Event
from bus.tasks import task_group
from schemas.request_vault import Appended, DecisionPage, Facets, LogPage, StreamWrite
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
from services.request_vault.store.postgres import facets, reading, schema, searching
from services.request_vault.store.postgres.connections import (
    Address,
    Connection,
    Sessions,
    close,
    connect,
    quoted,
)
from services.request_vault.store.postgres.failures import cannot_open
from services.request_vault.store.postgres.ledger import Ledger
from services.request_vault.store.postgres.looking_back import look_back
from services.request_vault.store.postgres.models import Generations
from services.request_vault.store.postgres.places import class_of
from services.request_vault.store.postgres.texts import Texts
from services.request_vault.store.postgres.upkeep import ATTEMPTS, Upkeep
from services.request_vault.store.postgres.watch import Watch, moved
from services.request_vault.store.postgres.writer import Writer
from services.request_vault.store.writes import Appending, Recording

SMALL_WRITES = 2
"""Sessions for checkpoints and upkeep, beside those for reading."""

T = TypeVar("T")

_log = structlog.get_logger("request_vault")


class PostgresStore(Upkeep):
    """Made by `open_postgres`. Safe to be used by any number of tasks of one event loop."""

    def __init__(
        self, ledger: Ledger, writer: Writer, sessions: Sessions, watch: Watch, clock: Clock
    ) -> None:
        super().__init__(ledger, sessions, clock)
        self._writer = writer
        self._watch = watch
        self._texts = Texts(ledger)

    async def record(self, events: Sequence[Event]) -> Ingested:
        return await self._writer.record(Recording(events, self._ledger.partitions))

    async def append(self, stream: str, expected_version: int, events: Sequence[bytes]) -> Appended:
        (appended,) = await self.append_all([StreamWrite(stream, expected_version, tuple(events))])
        return appended

    async def append_all(self, writes: Sequence[StreamWrite]) -> tuple[Appended, ...]:
        return await self._writer.append(Appending(writes))

    async def read_category(self, category: str, after: int, limit: int) -> LogPage:
        async with self._sessions.one_moment() as connection:
            return await reading.read_category(connection, category, after, limit)

    async def read_stream(self, stream: str, after: int, limit: int, *, backwards: bool = False) -> LogPage:
        async with self._sessions.one_moment() as connection:
            return await reading.read_stream(connection, stream, after, limit, backwards)

    async def read_decisions(self, after: int, limit: int) -> LogPage:
        async with self._sessions.one_moment() as connection:
            return await reading.read_decisions(connection, after, limit)

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
            lambda connection, models: searching.named(connection, models, bucket, hashes)
        )

    async def facets(self, query: CallQuery, limit: int) -> Facets:
        partition = self.partition_of(query.bucket)
        return await self._read_models(
            lambda connection, models: facets.facets(connection, models, query, limit, partition, self._texts)
        )

    async def _read_models(self, read: Callable[[Connection, Generations], Awaitable[T]]) -> T:
        """What `read` returns, all of it as of one moment; read anew when other tables have come to answer
        meanwhile and the old ones are gone."""
        for _ in range(ATTEMPTS):
            models = self._ledger.generations
            async with self._sessions.one_moment() as connection:
                try:
                    return await read(connection, models)
                except UndefinedTableError as error:
                    missing = error
            async with self._sessions.use() as connection:
                await self._ledger.refresh(connection)
        raise Unavailable(f"a read model's table is not there: {missing}")

    async def mark_published(self, number: int) -> None:
        async with self._sessions.use() as connection:
            if not await moved(connection, number, self._watch.epoch):
                self._watch.resign()
                raise Unavailable("another instance publishes decisions now")
        self._ledger.published_to = max(self._ledger.published_to, number)

    async def lead(self) -> None:
        await self._watch.lead()

    def leads(self) -> bool:
        return self._watch.leads

    def listen(self, changed: Callable[[], None]) -> None:
        self._watch.listen(changed)

    def retain(self, ages: Mapping[str, int | None]) -> None:
        self._ledger.classes = {key: class_of(age) for key, age in ages.items()}

    def heads(self) -> dict[str, int]:
        return self._ledger.categories.copy()

    def published_to(self) -> int:
        return self._ledger.published_to

    def partition_of(self, key: str) -> int:
        return rules.partition_of(key, self._ledger.partitions)

    async def stats(self) -> StoreStats:
        async with self._sessions.one_moment() as connection:
            return await reading.stats(connection)


@asynccontextmanager
async def open_postgres(
    url: str, clock: Clock, *, partitions: int, readers: int
) -> AsyncIterator[PostgresStore]:
    """Raises VaultUrlInvalid, VaultNoAccess, VaultForeign, VaultVersion, VaultServerUnfit; Unavailable
    while the server is away, which is to be tried again."""
    address, ledger = await _prepared(Address.parse(url), partitions)
    if ledger.partitions != partitions:
        _log.warning("the log keeps the partitions it was made with", has=ledger.partitions, asked=partitions)
    sessions = Sessions(address, readers + SMALL_WRITES)
    writer = Writer(address, ledger, clock)
    watch = Watch(address, ledger, clock)
    async with task_group() as tasks:
        tasks.create_task(writer.work(), name="request_vault.writer")
        watching = tasks.create_task(watch.run(), name="request_vault.watch")
        try:
            yield PostgresStore(ledger, writer, sessions, watch, clock)
        finally:
            writer.close()
            watching.cancel()
            await sessions.close()


async def _prepared(address: Address, partitions: int) -> tuple[Address, Ledger]:
    """The tables made, if they were not there."""
    connection = await connect(address, "opening", opening=True)
    try:
        here = await schema.prepare(connection, address, partitions)
        await connection.execute(f"SET search_path = {quoted(here.schema or '')}")
        return here, await Ledger.load(connection)
    except Exception as error:
        raise cannot_open(error, str(address)) or error from error
    finally:
        await close(connection)
