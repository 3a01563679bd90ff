"""The one thread that writes. What arrives while it commits shares the next commit, so a slow disk makes
batches, not queues.

Called by the engine. What can be done for a job without the database is done on a second thread
(`prepare`), while jobs before it are written. A job that fails by itself undoes its own part; when the
database fails, the whole group is undone and every job's caller is told the same. Nobody hears of a success
before the commit has reached the disk.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar, cast

from bus.errors import Unavailable
from services.request_vault.store.sqlite.failures import unavailable
from services.request_vault.store.sqlite.ledger import Ledger

T = TypeVar("T")
Work = Callable[[sqlite3.Connection, Ledger], T]

GROUP_JOBS = 64
ANSWER_WITHIN_S = 25.0


class _Job:
    __slots__ = ("apart", "error", "future", "result", "work")

    def __init__(self, work: Work[Any], future: asyncio.Future[Any], apart: bool) -> None:
        self.work = work
        self.apart = apart
        self.future = future
        self.result: Any = None
        self.error: BaseException | None = None


class Writer:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._work, name="request-vault-writer", daemon=True)
        self._preparing = ThreadPoolExecutor(1, thread_name_prefix="request-vault-preparing")
        self._closed = False
        self.ledger = Ledger.load(connection)
        """As of the last commit; replaced, never changed."""
        self.commits = 0
        self._thread.start()

    async def run(self, work: Work[T], *, apart: bool = False) -> T:
        """The result of `work`, once it is durable. Raises what `work` raised, or Unavailable. A caller
        that is cancelled, or gives up after ANSWER_WITHIN_S, does not undo it. apart: between two
        transactions, in none; it changes nothing that the ledger knows."""
        if self._closed:
            raise Unavailable("the vault is closed")
        job = _Job(work, self._loop.create_future(), apart)
        self._jobs.put(job)
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                return cast(T, await job.future)
        except TimeoutError:
            raise Unavailable(f"the vault's disk did not answer within {ANSWER_WITHIN_S:g} s") from None

    async def prepare(self, make: Callable[[], T]) -> T:
        """What `make` returns. What is prepared first is ready first."""
        if self._closed:
            raise Unavailable("the vault is closed")
        return await self._loop.run_in_executor(self._preparing, make)

    async def close(self) -> None:
        """Finish what was begun; later jobs are refused."""
        if not self._closed:
            self._closed = True
            self._jobs.put(None)
        await asyncio.to_thread(self._preparing.shutdown)
        await asyncio.to_thread(self._thread.join)

    def _work(self) -> None:
        running = True
        while running:
            group: list[_Job] = []
            job = self._jobs.get()
            while job is not None:
                group.append(job)
                if len(group) == GROUP_JOBS:
                    break
                try:
                    job = self._jobs.get_nowait()
                except queue.Empty:
                    break
            else:
                running = False
            if group:
                if together := [job for job in group if not job.apart]:
                    self._commit(together)
                for job in group:
                    if job.apart:
                        self._run_apart(job)
                self._loop.call_soon_threadsafe(_deliver, group)

    def _commit(self, group: list[_Job]) -> None:
        connection = self._connection
        ledger = self.ledger
        try:
            if connection.in_transaction:  # a rollback that failed
                connection.execute("ROLLBACK")
            connection.execute("BEGIN IMMEDIATE")
            for job in group:
                ledger = self._attempt(job, ledger, alone=len(group) == 1)
            ledger.store_changes(connection, self.ledger)
            connection.execute("COMMIT")
        except Exception as error:
            told = (unavailable(error) or error) if isinstance(error, sqlite3.Error) else error
            for job in group:
                job.error = job.error or told
            with suppress(sqlite3.Error):
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
        else:
            self.ledger = ledger
            self.commits += 1

    def _run_apart(self, job: _Job) -> None:
        try:
            job.result = job.work(self._connection, self.ledger)
        except Exception as error:
            job.error = (unavailable(error) or error) if isinstance(error, sqlite3.Error) else error

    def _attempt(self, job: _Job, ledger: Ledger, *, alone: bool) -> Ledger:
        """The ledger after the job; the one before it when the job failed by itself. Raises when the
        database failed."""
        mine = ledger.copy()
        if alone:  # the transaction is the job's own
            job.result = job.work(self._connection, mine)
            return mine
        self._connection.execute("SAVEPOINT job")
        try:
            job.result = job.work(self._connection, mine)
        except Exception as error:
            if isinstance(error, sqlite3.Error) and unavailable(error) is not None:
                raise
            job.error = error
            self._connection.execute("ROLLBACK TO job")
            mine = ledger
        self._connection.execute("RELEASE job")
        return mine


def _deliver(group: list[_Job]) -> None:
    for job in group:
        if job.future.done():
            continue
        if job.error is not None:
            job.future.set_exception(job.error)
        else:
            job.future.set_result(job.result)
