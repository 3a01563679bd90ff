"""The file of the text index in use: the thread that writes it, the connections that read it, and what
happens when it is damaged."""

from __future__ import annotations

import asyncio
import queue
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import structlog

from bus.errors import Unavailable
from services.request_vault.store.sqlite.text.schema import (
    Unusable,
    discard,
    files_of,
    open_text_reader,
    open_text_writer,
)
from services.request_vault.store.sqlite.text.shards import State, load

_log = structlog.get_logger("request_vault")

_OF_THE_DISK = (
    "SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_FULL", "SQLITE_IOERR", "SQLITE_CANTOPEN", "SQLITE_READONLY",
    "SQLITE_PERM", "SQLITE_NOMEM", "SQLITE_PROTOCOL", "SQLITE_INTERRUPT", "SQLITE_NOLFS",
)  # fmt: skip

Work = Callable[[sqlite3.Connection, State], object]


class TextFile:
    """A file that cannot be used is thrown away; one that cannot be made is tried again with the next
    write."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._readers: queue.SimpleQueue[tuple[int, sqlite3.Connection]] = queue.SimpleQueue()
        self.generation = 0
        """Of the file: grows when it is thrown away."""
        self.damaged = False
        """Seen by a reader or a writer; the next write throws the file away."""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="request-vault-text")
        self.state = State()
        """As of the last commit; replaced, never changed."""

    async def run(self, work: Work) -> None:
        """Do this on the thread that writes, with the state before it. Raises Unavailable; what was damaged
        is an empty index then."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._run, work)

    async def close(self) -> None:
        await asyncio.to_thread(self._thread.shutdown)
        while not self._readers.empty():
            self._readers.get()[1].close()
        if self._connection is not None:
            await asyncio.to_thread(self._connection.close)

    async def begin_anew(self, why: str) -> None:
        """Throw the file away."""
        self.damaged = True
        with suppress(Unavailable):
            await self.run(lambda connection, state: None)
        _log.warning("the text index is built anew", why=why, path=str(self._path))

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection for one thread. Raises Unavailable."""
        generation, connection = self.generation, None
        try:
            while connection is None:
                try:
                    opened, connection = self._readers.get_nowait()
                except queue.Empty:
                    connection = open_text_reader(self._path)
                else:
                    if opened != generation:
                        connection.close()
                        connection = None
            yield connection
        except sqlite3.DatabaseError as error:
            if _is_damage(error):
                self.damaged = True
                raise Unavailable(f"the text index is damaged ({error}) and is being built anew") from error
            raise Unavailable(f"the text index cannot be read: {error}") from error
        finally:
            if connection is not None:
                self._readers.put((generation, connection))

    def size_bytes(self) -> int:
        return sum(file.stat().st_size for file in files_of(self._path) if file.exists())

    def _run(self, work: Work) -> None:
        try:
            connection = self._usable()
            work(connection, self.state)
            self.state = load(connection)
        except sqlite3.Error as error:
            if not _is_of_the_disk(error):
                # Damaged, or not what this program left there: either way it is cheaper to begin anew.
                self.damaged = True
                _log.error(
                    "the text index is damaged and is built anew", error=str(error), path=str(self._path)
                )
            raise Unavailable(f"the text index cannot be written: {error}") from error
        except OSError as error:
            raise Unavailable(f"the text index cannot be written: {error.strerror or error}") from error

    def _usable(self) -> sqlite3.Connection:
        if self.damaged:
            if self._connection is not None:
                with suppress(sqlite3.Error):
                    self._connection.close()
            self._connection = None
            self.state = State()
            discard(self._path)
            self.generation += 1
            self.damaged = False
        if self._connection is None:
            try:
                self._connection = open_text_writer(self._path)
            except (Unusable, sqlite3.DatabaseError) as error:
                if not isinstance(error, Unusable) and not _is_damage(error):
                    raise
                _log.warning("the text index is built anew", why=str(error), path=str(self._path))
                discard(self._path)
                self._connection = open_text_writer(self._path)
            self.state = load(self._connection)
        return self._connection


def _is_damage(error: sqlite3.Error) -> bool:
    name = getattr(error, "sqlite_errorname", "") or ""
    return name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")) or "vtable constructor" in str(error)


def _is_of_the_disk(error: sqlite3.Error) -> bool:
    return (getattr(error, "sqlite_errorname", "") or "").startswith(_OF_THE_DISK)
