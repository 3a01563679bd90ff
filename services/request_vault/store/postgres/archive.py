"""A vault's tables opened by a tool, beside the instances that have it: nothing is locked, nothing is
written. All reading is of the moment of the opening."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from bus.clock import SystemClock
from services.request_vault.domain.links import End, Link
from services.request_vault.store.port import StoreStats
from services.request_vault.store.postgres import checking, copying, linking, models, reading, schema, texts
from services.request_vault.store.postgres.connections import (
    Address,
    Connection,
    close,
    connect,
    quoted,
)
from services.request_vault.store.postgres.failures import cannot_open, translated
from services.request_vault.store.postgres.ledger import Ledger
from services.request_vault.store.postgres.models import building
from services.request_vault.store.postgres.places import first_place
from services.request_vault.store.postgres.rows import columns_of


class PostgresArchive:
    """Made by `open_archive`."""

    def __init__(self, address: Address, connection: Connection, ledger: Ledger) -> None:
        self._shown = str(address)
        self._connection = connection
        self._ledger = ledger
        self._one_at_a_time = asyncio.Lock()

    async def ends(self) -> tuple[End, ...]:
        async with self._one_at_a_time:
            with translated(self._shown):
                return await linking.ends(self._connection)

    async def links(self, partition: int, after: int, limit: int) -> list[Link]:
        async with self._one_at_a_time:
            with translated(self._shown):
                return await linking.links(self._connection, partition, after, limit)

    async def check(self) -> list[str]:
        async with self._one_at_a_time:
            with translated(self._shown):
                return await checking.check(self._connection)

    async def backup(self, target: Path) -> None:
        await copying.check_new(target)
        async with self._one_at_a_time:
            with translated(self._shown):
                await copying.copy(self._connection, target, SystemClock())

    def published_to(self) -> int:
        return self._ledger.published_to

    async def floor_us(self) -> int:
        return self._ledger.floor_us

    async def stats(self) -> StoreStats:
        async with self._one_at_a_time:
            with translated(self._shown):
                stats = await reading.stats(self._connection)
                behind = await _calls_behind(self._connection, self._ledger)
        ledger = self._ledger
        folded = (building.state_of(ledger.generations, name, ledger.numbers) for name in models.VERSIONS)
        return msgspec.structs.replace(stats, models=(*folded, texts.model(ledger)), text_behind=behind)


async def _calls_behind(connection: Connection, ledger: Ledger) -> int:
    """How many calls the text index lacks. Reads a row of each: a store, which is asked with every search,
    counts records."""
    spans = [
        (first_place(partition) | ledger.texts[partition].reached, first_place(partition) | number)
        for partition, number in enumerate(ledger.numbers)
        if partition
    ]
    behind: int = await connection.fetchval(
        f"""SELECT count(*) FROM unnest($1::bigint[], $2::bigint[]) w (reached, newest)
        JOIN {ledger.generations.call} c ON c.place > w.reached AND c.place <= w.newest""",
        *columns_of(spans, 2),
    )
    return behind


@asynccontextmanager
async def open_archive(url: str) -> AsyncIterator[PostgresArchive]:
    """Raises VaultUrlInvalid, VaultNoAccess, VaultVersion, Unavailable, FileNotFoundError."""
    address = Address.parse(url)
    # Whoever reads everything may take long between two statements.
    connection = await connect(address, "archive", opening=True, idle_in_transaction_session_timeout="0")
    try:
        try:
            here = await schema.found(connection, address)
            if here is None:
                raise FileNotFoundError(f"there is no vault at {address}")
            await connection.execute(f"SET search_path = {quoted(here.schema or '')}")
            await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            ledger = await Ledger.load(connection)
        except FileNotFoundError:
            raise
        except Exception as error:
            raise cannot_open(error, str(address)) or error from error
        yield PostgresArchive(here, connection, ledger)
    finally:
        await close(connection)
