"""Connections that only read, each used by one thread at a time, so that reading never waits for writing."""

from __future__ import annotations

import asyncio
import queue
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from services.request_vault.store.sqlite.failures import translated
from services.request_vault.store.sqlite.schema import open_reader

T = TypeVar("T")


class Readers:
    def __init__(self, path: Path, count: int) -> None:
        self._connections: queue.SimpleQueue[sqlite3.Connection] = queue.SimpleQueue()
        for _ in range(count):
            self._connections.put(open_reader(path))
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="request-vault-reader")

    async def run(self, read: Callable[[sqlite3.Connection], T]) -> T:
        """What `read` returns; all its statements see the same moment. Raises Unavailable."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._read, read)

    async def close(self) -> None:
        await asyncio.to_thread(self._threads.shutdown)
        while not self._connections.empty():
            self._connections.get().close()

    def _read(self, read: Callable[[sqlite3.Connection], T]) -> T:
        connection = self._connections.get()
        try:
            with translated():
                connection.execute("BEGIN")
                try:
                    return read(connection)
                finally:
                    connection.execute("COMMIT")
        finally:
            self._connections.put(connection)
