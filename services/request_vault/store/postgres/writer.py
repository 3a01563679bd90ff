"""The one session that adds to the log. What arrives while it commits shares the next transaction, so a slow
server makes batches, not queues.

Called by the engine. Jobs come checked and encoded, and are decided one after the other within a
transaction that holds the heads of the partitions it adds to: a job that is refused leaves nothing, and
when the server fails, every job of the group is told the same. Nobody hears of a success before the server
has it on disk.

Instances keep each other out by the heads' locks. One that is frozen while it holds them would keep all
others out: who waits STALLED_S for a lock ends the sessions that wait for their client so long.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable
from typing import Any, cast

import asyncpg
import structlog

from bus.clock import Clock
from bus.errors import BusError, Unavailable
from schemas.request_vault import Appended
from services.request_vault.domain.recording import to_us
from services.request_vault.store.port import Ingested
from services.request_vault.store.postgres import schema
from services.request_vault.store.postgres.additions import Additions, LeafMissing
from services.request_vault.store.postgres.connections import STALLED_S, Address, Connection, close, connect
from services.request_vault.store.postgres.failures import COLLISIONS, translated, unavailable
from services.request_vault.store.postgres.known import Known
from services.request_vault.store.postgres.ledger import Ledger
from services.request_vault.store.postgres.places import Leaf
from services.request_vault.store.writes import Appending, Recording

GROUP_JOBS = 64
GROUP_EVENTS = 4000
ATTEMPTS = 10
ANSWER_WITHIN_S = 45.0

_END_STALLED = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE datname = current_database() AND application_name = $1 AND pid <> pg_backend_pid()
AND xact_start IS NOT NULL AND wait_event_type = 'Client'
AND greatest(query_start, state_change) < clock_timestamp() - make_interval(secs => $2)
"""

_log = structlog.get_logger("request_vault")


class _Waiting:
    __slots__ = ("error", "future", "job", "result")

    def __init__(self, job: Recording | Appending, future: asyncio.Future[Any]) -> None:
        self.job = job
        self.future = future
        self.result: Any = None
        self.error: BaseException | None = None


class Writer:
    """`work` is run by the engine's task group."""

    def __init__(self, address: Address, ledger: Ledger, clock: Clock) -> None:
        self._address = address
        self._ledger = ledger
        self._clock = clock
        self._waiting: deque[_Waiting] = deque()
        self._arrived = asyncio.Event()
        self._connection: Connection | None = None
        self._closed = False
        self.commits = 0

    async def record(self, job: Recording) -> Ingested:
        return cast(Ingested, await self._done(job))

    async def append(self, job: Appending) -> tuple[Appended, ...]:
        return cast(tuple[Appended, ...], await self._done(job))

    async def _done(self, job: Recording | Appending) -> Any:
        """Its result, once it is durable. Raises what the job raised, or Unavailable. A caller that is
        cancelled, or gives up after ANSWER_WITHIN_S, does not undo it."""
        if self._closed:
            raise Unavailable("the vault is closed")
        waiting = _Waiting(job, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        self._arrived.set()
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                return await waiting.future
        except TimeoutError:
            raise Unavailable(f"{self._address} did not answer within {ANSWER_WITHIN_S:g} s") from None

    async def work(self) -> None:
        """Until `close`, and what was waiting then is done."""
        try:
            while True:
                while not self._waiting:
                    if self._closed:
                        return
                    self._arrived.clear()
                    await self._arrived.wait()
                group = self._next_group()
                try:
                    await self._commit(group)
                except BaseException as error:
                    _fail(group, error if isinstance(error, Exception) else _closed())
                    if not isinstance(error, Exception):
                        raise
                _deliver(group)
        finally:
            _fail(list(self._waiting), _closed())
            _deliver(list(self._waiting))
            if self._connection is not None:
                await close(self._connection)

    def close(self) -> None:
        """Take no more jobs; those that wait are done."""
        self._closed = True
        self._arrived.set()

    def _next_group(self) -> list[_Waiting]:
        group: list[_Waiting] = []
        events = 0
        while self._waiting and len(group) < GROUP_JOBS and events < GROUP_EVENTS:
            waiting = self._waiting.popleft()
            group.append(waiting)
            events += len(waiting.job.identities)
        return group

    async def _commit(self, group: list[_Waiting]) -> None:
        """Every job's result or error, in `group`. Raises when all failed."""
        for attempt in range(ATTEMPTS):
            try:
                connection = await self._connected()
                names = {name for waiting in group for name in waiting.job.types}
                await self._ledger.know_types(connection, names)
                additions = await self._transaction(connection, group)
            except LeafMissing as missing:
                await self._guarded(self._make_leaf(missing.leaf))
            except COLLISIONS as error:
                _log.debug("another instance was there first", error=str(error), attempt=attempt)
            except asyncpg.LockNotAvailableError:
                await self._guarded(self._end_stalled())
            except asyncpg.CheckViolationError:
                # A leaf that was there is there no more.
                await self._guarded(self._reread_leaves())
            except Exception as error:
                raise unavailable(error, str(self._address)) or error from error
            else:
                additions.commit()
                self.commits += 1
                return
        raise Unavailable(f"{self._address}: other instances were there first {ATTEMPTS} times over")

    async def _transaction(self, connection: Connection, group: list[_Waiting]) -> Additions:
        jobs = [waiting.job for waiting in group]
        stamps = [event.stamp for job in jobs if isinstance(job, Recording) for _, event in job.stamped]
        committing = False
        try:
            await connection.execute("BEGIN")
            known = await Known.load(
                connection,
                partitions=sorted({partition for job in jobs for partition in job.partitions}),
                identities={identity for job in jobs for identity in job.identities},
                streams={stream for job in jobs for stream in job.streams},
                categories={name for job in jobs if isinstance(job, Appending) for name in job.categories},
                decisions=self._ledger.decisions,
                stamped_to=max((stamp.position[1] for stamp in stamps if stamp is not None), default=0),
            )
            if known.changes > self._ledger.changes:
                await self._ledger.reread(connection, known.changes)
            known.floor_us = self._ledger.floor_us
            now_us = to_us(self._clock.now())
            additions = Additions(known, self._ledger, now_us, sum(len(job.identities) for job in jobs))
            for waiting in group:
                waiting.error = waiting.result = None
                try:
                    waiting.result = waiting.job.apply(known, additions)
                except BusError as error:
                    waiting.error = error
            await additions.write(connection)
            if additions.categories:
                await connection.execute(f"NOTIFY {self._address.channel}")
            committing = True
            await connection.execute("COMMIT")
            return additions
        except BaseException:
            if committing or connection.is_closed():
                connection.terminate()
            else:
                await self._roll_back(connection)
            raise

    async def _roll_back(self, connection: Connection) -> None:
        try:
            await connection.execute("ROLLBACK", timeout=2.0)
        except BaseException as error:
            connection.terminate()
            if not isinstance(error, Exception):
                raise

    async def _connected(self) -> Connection:
        if self._connection is None or self._connection.is_closed():
            self._connection = await connect(
                self._address, "writer", lock_timeout=f"{STALLED_S}s", plan_cache_mode="force_generic_plan"
            )
            self._ledger.leaves = await schema.leaves(self._connection)
        return self._connection

    async def _make_leaf(self, leaf: Leaf) -> None:
        await schema.create_leaf(await self._connected(), self._address, leaf)
        self._ledger.leaves.add(leaf)

    async def _reread_leaves(self) -> None:
        self._ledger.leaves = await schema.leaves(await self._connected())

    async def _end_stalled(self) -> None:
        connection = await self._connected()
        ended = await connection.fetchval(
            _END_STALLED, self._address.session_name("writer"), float(STALLED_S)
        )
        _log.warning("waited long for another instance's transaction", ended_sessions=ended)

    async def _guarded(self, work: Awaitable[None]) -> None:
        with translated(str(self._address)):
            await work


def _closed() -> Unavailable:
    return Unavailable("the vault is closed")


def _fail(group: list[_Waiting], error: Exception) -> None:
    for waiting in group:
        waiting.error = error


def _deliver(group: list[_Waiting]) -> None:
    for waiting in group:
        if waiting.future.done():
            continue
        if waiting.error is not None:
            waiting.future.set_exception(waiting.error)
        else:
            waiting.future.set_result(waiting.result)
