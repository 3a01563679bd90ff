"""The part of the engine that removes, proves and copies: the port's methods of retention, erasure, links and
backup. `engine.SqliteStore` is made of it."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from bus.clock import Clock
from services.request_vault.domain.cursors import Vector
from services.request_vault.domain.links import End, Link
from services.request_vault.domain.recording import to_us
from services.request_vault.store.port import Erased, Scope, Trimmed
from services.request_vault.store.sqlite import archiving, clearing, copying, removing, trimming
from services.request_vault.store.sqlite.checking import check
from services.request_vault.store.sqlite.failures import readable, translated
from services.request_vault.store.sqlite.ledger import Ledger
from services.request_vault.store.sqlite.linking import links
from services.request_vault.store.sqlite.readers import Readers
from services.request_vault.store.sqlite.schema import open_reader
from services.request_vault.store.sqlite.writer import Writer

T = TypeVar("T")


class Upkeep:
    def __init__(self, path: Path, clock: Clock, writer: Writer, readers: Readers) -> None:
        self._path = path
        self._clock = clock
        self._writer = writer
        self._readers = readers

    async def trim(self, scope: Scope, most: int) -> Trimmed:
        now_us = to_us(self._clock.now())
        return await self._writer.run(
            lambda connection, ledger: trimming.trim(connection, ledger, scope, most, now_us)
        )

    async def erase(self, bucket: str, call_ids: Sequence[str], *, by: str, why: str) -> Erased:
        now_us = to_us(self._clock.now())
        return await self._writer.run(
            lambda connection, ledger: removing.erase(connection, ledger, bucket, call_ids, by, why, now_us)
        )

    async def erase_bucket(self, bucket: str, upto: Vector, most: int, *, by: str, why: str) -> Erased:
        now_us = to_us(self._clock.now())
        return await self._writer.run(
            lambda connection, ledger: clearing.erase_bucket(
                connection, ledger, bucket, upto, most, by, why, now_us
            )
        )

    async def checkpoint(self) -> bool:
        return await self._writer.run(lambda connection, ledger: clearing.checkpoint(connection), apart=True)

    async def forget(self, before_us: int, most: int) -> int:
        return await self._writer.run(
            lambda connection, ledger: removing.forget(connection, ledger, before_us, most)
        )

    async def floor_us(self) -> int:
        return self._writer.ledger.floor_us

    async def raise_floor(self, floor_us: int) -> None:
        def step(connection: sqlite3.Connection, ledger: Ledger) -> None:
            ledger.floor_us = max(ledger.floor_us, floor_us)

        await self._writer.run(step)

    async def reclaim(self, most_pages: int) -> int:
        def step(connection: sqlite3.Connection, ledger: Ledger) -> int:
            return removing.reclaim(connection, most_pages, self._clock.monotonic)

        return await self._writer.run(step)

    async def load(self, links: Sequence[Link], loaded_to: Vector | None = None) -> None:
        await self._writer.run(
            lambda connection, ledger: archiving.load(connection, ledger, links, loaded_to)
        )

    async def ends(self) -> tuple[End, ...]:
        return self._writer.ledger.ends()

    async def links(self, partition: int, after: int, limit: int) -> list[Link]:
        def read(connection: sqlite3.Connection) -> list[Link]:
            with readable(f"partition {partition} of the log after {after}"):
                return links(connection, partition, after, limit)

        return await self._readers.run(read)

    async def check(self) -> list[str]:
        return await self._aside(check)

    async def backup(self, target: Path) -> None:
        await self._aside(lambda connection, going: copying.copy(connection, target, going))

    async def _aside(self, work: Callable[[sqlite3.Connection, Callable[[], bool]], T]) -> T:
        """Work that takes long, on a connection and a thread of its own, all of it as of one moment. It is
        told when nobody waits for it any more."""
        stopped = threading.Event()

        def run() -> T:
            with translated():
                connection = open_reader(self._path)
                try:
                    connection.execute("BEGIN")
                    return work(connection, lambda: not stopped.is_set())
                finally:
                    connection.close()

        working = asyncio.get_running_loop().run_in_executor(None, run)
        try:
            return await asyncio.shield(working)
        except asyncio.CancelledError:
            stopped.set()
            await asyncio.wait([working])
            raise
