"""The journal's thread: runs jobs on one SQLite connection, many to a commit. Called by `journal` from the
event loop.

Group commit: whatever was submitted while the last group was being committed is the next group; nobody
lingers. A group's writes are one transaction; its outcomes come back to the loop in one hop, writes in the
order in which they were submitted, then reads, so that a read never shows what was not reported yet.

When a commit fails (disk full, I/O error) the transaction is rolled back, the jobs are told, and `blocked` is
called; a small write is tried until it succeeds, then `ready` is called. *Stubborn* jobs (bookkeeping that
frees space) are tried without the others, and again until they succeed.

The thread would starve beside a saturated event loop: CPython's GIL goes back to a loop that gives it up for
microseconds in every turn, for seconds on end. So while jobs are outstanding the loop stands still for at
most GIVE_TURN_S every GIVE_TURN_EVERY_S. An idle loop does not notice.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Sequence
from contextvars import Context
from queue import Empty, SimpleQueue
from sqlite3 import Connection
from typing import Any, Literal

from bus.errors import Unavailable

MAX_GROUP_JOBS = 512
MAX_GROUP_BYTES = 32 * 1024 * 1024
GIVE_TURN_EVERY_S = 0.002
GIVE_TURN_S = 0.0002
PROBE_EVERY_S = 0.25

Kind = Literal["write", "stubborn", "read"]


class Job:
    """Something to do on the connection. `work` runs on the thread; then `done` with its result, or `failed`,
    on the loop."""

    __slots__ = ("work", "kind", "done", "failed", "row", "size_bytes")

    def __init__(
        self,
        work: Callable[[Connection], Any] | None,
        *,
        kind: Kind = "write",
        done: Callable[[Any], None] | None = None,
        failed: Callable[[Unavailable], None] | None = None,
        row: tuple[Any, ...] | None = None,
        size_bytes: int = 0,
    ) -> None:
        self.work = work
        self.kind = kind
        self.done = done
        self.failed = failed
        self.row = row  # of the frame table, inserted together with the other rows of its group
        self.size_bytes = size_bytes


Outcome = tuple[Job, Any, Unavailable | None]


class Committer:
    """`connect` opens the connection and recovers (on the thread); `insert` puts rows into the frame table;
    `probe` is a write that shows whether the disk takes any."""

    def __init__(
        self,
        name: str,
        *,
        insert: Callable[[Connection, Sequence[tuple[Any, ...]]], None],
        probe: Callable[[Connection], None],
        blocked: Callable[[Unavailable], None],
        ready: Callable[[], None],
        context: Context,
    ) -> None:
        self._name = name
        self._insert = insert
        self._probe = probe
        self._blocked = blocked
        self._ready = ready
        self._context = context
        self._loop = asyncio.get_running_loop()
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._stubborn: list[Job] = []  # the thread's: what could not be written yet
        self._stopping = False  # the thread's
        self._thread: threading.Thread | None = None
        self._turn = threading.Lock()
        self._outstanding = 0
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._is_blocked = False
        self._stopped = False
        self.commits = 0  # transactions committed since the opening; for tests and benchmarks

    async def start(self, connect: Callable[[], tuple[Connection, Any]]) -> Any:
        """Start the thread; returns what `connect` recovered, or raises what it raised."""
        opened: asyncio.Future[Any] = self._loop.create_future()
        self._closed: asyncio.Future[None] = self._loop.create_future()
        self._thread = threading.Thread(
            target=self._run, args=(connect, opened), name=f"journal {self._name}", daemon=True
        )
        self._thread.start()
        return await asyncio.shield(opened)

    def submit(self, job: Job) -> None:
        if self._stopped:
            if job.failed is not None:
                self._loop.call_soon(job.failed, Unavailable(f"journal {self._name} is closed"))
            return
        self._outstanding += 1
        self._jobs.put(job)
        if "turn" not in self._timers:
            self._later("turn", GIVE_TURN_EVERY_S, self._give_turn)

    async def run(
        self, work: Callable[[Connection], Any], *, kind: Kind = "write", size_bytes: int = 0
    ) -> Any:
        """Run one job and wait for its result. Raises Unavailable when it could not be committed."""
        future: asyncio.Future[Any] = self._loop.create_future()
        self.submit(
            Job(work, kind=kind, done=resolver(future), failed=refuser(future), size_bytes=size_bytes)
        )
        return await future

    async def stop(self) -> None:
        """Finish what was submitted, close the connection, end the thread."""
        self._stopped = True
        if self._thread is None:
            return
        self._jobs.put(None)
        await asyncio.shield(self._closed)
        self._thread.join()
        self._thread = None
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _later(self, name: str, delay_s: float, then: Callable[[], None]) -> None:
        self._timers[name] = self._loop.call_later(delay_s, then, context=self._context)

    def _give_turn(self) -> None:
        self._timers.pop("turn", None)
        if self._outstanding:
            self._turn.acquire(blocking=False)
            self._turn.acquire(timeout=GIVE_TURN_S)
            self._later("turn", GIVE_TURN_EVERY_S, self._give_turn)

    def _try_again(self) -> None:
        self._timers.pop("probe", None)
        self.submit(Job(self._probe))

    def _report(self, taken: int, outcomes: list[Outcome], error: Unavailable | None, wrote: bool) -> None:
        self._outstanding -= taken
        if error is not None:
            self._is_blocked = True
            self._blocked(error)
            if "probe" not in self._timers:
                self._later("probe", PROBE_EVERY_S, self._try_again)
        for job, result, failure in outcomes:
            if failure is not None:
                if job.failed is not None:
                    job.failed(failure)
            elif job.done is not None:
                job.done(result)
        if wrote:
            self.commits += 1
            if self._is_blocked and error is None:
                self._is_blocked = False
                self._ready()

    # Everything below runs on the thread.

    def _run(self, connect: Callable[[], tuple[Connection, Any]], opened: asyncio.Future[Any]) -> None:
        try:
            connection, recovered = connect()
        except Exception as error:
            self._tell(refuser(opened), error)
            self._tell(resolver(self._closed), None)
            return
        self._tell(resolver(opened), recovered)
        while not self._stopping:
            group = self._gather()
            self._tell(self._report, len(group), *self._execute(connection, group))
            self._let_loop_go()
        connection.close()
        self._tell(resolver(self._closed), None)

    def _tell(self, callback: Callable[..., None], *values: Any) -> None:
        with contextlib.suppress(
            RuntimeError
        ):  # the loop was closed without closing the journal: nobody is left to tell
            self._loop.call_soon_threadsafe(callback, *values, context=self._context)

    def _let_loop_go(self) -> None:
        with contextlib.suppress(RuntimeError):  # it is not held up
            self._turn.release()

    def _gather(self) -> list[Job]:
        group: list[Job] = []
        size_bytes = 0
        job = self._jobs.get()
        while True:
            if job is None:
                self._stopping = True
                return group
            group.append(job)
            size_bytes += job.size_bytes
            if len(group) >= MAX_GROUP_JOBS or size_bytes >= MAX_GROUP_BYTES:
                return group
            try:
                job = self._jobs.get_nowait()
            except Empty:
                return group

    def _execute(
        self, connection: Connection, group: list[Job]
    ) -> tuple[list[Outcome], Unavailable | None, bool]:
        writes = [job for job in group if job.kind != "read"]
        outcomes: list[Outcome] = []
        error: Unavailable | None = None
        wrote = False
        if writes or self._stubborn:
            jobs = self._stubborn + writes
            results = self._transact(connection, jobs)
            if isinstance(results, Unavailable):
                error = results
                outcomes += [(job, None, error) for job in writes if job.kind == "write"]
                jobs = [job for job in jobs if job.kind == "stubborn"]
                results = self._transact(connection, jobs) if jobs else []
            if isinstance(results, Unavailable):
                self._stubborn = jobs
            else:
                self._stubborn = []
                wrote = True
                outcomes += [(job, result, None) for job, result in zip(jobs, results, strict=True)]
        outcomes += [self._read(connection, job) for job in group if job.kind == "read"]
        return outcomes, error, wrote

    def _transact(self, connection: Connection, jobs: list[Job]) -> list[Any] | Unavailable:
        try:
            connection.execute("BEGIN IMMEDIATE")
            results = [None if job.work is None else job.work(connection) for job in jobs]
            rows = [job.row for job in jobs if job.row is not None]
            if rows:  # after the others, which may free the space that these need
                self._insert(connection, rows)
            self._let_loop_go()  # the disk is waited for without the GIL
            connection.execute("COMMIT")
        except Exception as error:
            with contextlib.suppress(Exception):
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
            return self._unavailable(error)
        return results

    def _read(self, connection: Connection, job: Job) -> Outcome:
        assert job.work is not None
        try:
            return job, job.work(connection), None
        except Exception as error:
            return job, None, self._unavailable(error)

    def _unavailable(self, error: Exception) -> Unavailable:
        unavailable = Unavailable(f"journal {self._name} takes nothing: {error}")
        unavailable.__cause__ = error
        return unavailable


def resolver(future: asyncio.Future[Any]) -> Callable[[Any], None]:
    def resolve(result: Any) -> None:
        if not future.done():
            future.set_result(result)

    return resolve


def refuser(future: asyncio.Future[Any]) -> Callable[[Exception], None]:
    def refuse(error: Exception) -> None:
        if not future.done():
            future.set_exception(error)

    return refuse
