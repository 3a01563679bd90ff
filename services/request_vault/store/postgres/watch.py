"""The session that keeps an instance up to date, and by which it leads.

One instance publishes decisions: the one whose watch holds an advisory lock. The server ends a watch that
says nothing for SILENT_MS, so an instance that is frozen or cut off loses its lead to another within 5 s;
each one that takes over counts the epoch of the checkpoint up, and only who knows the newest epoch moves
the checkpoint. Whoever commits decisions notifies all; beside that every watch looks for itself every
LOOK_S.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import structlog

from bus.clock import Clock
from bus.errors import Unavailable
from bus.tasks import task_group
from services.request_vault.domain.links import checksum_of_mark
from services.request_vault.store.postgres.connections import Address, Connection, close, connect
from services.request_vault.store.postgres.failures import translated
from services.request_vault.store.postgres.ledger import Ledger

LOOK_S = 0.4
SILENT_MS = 3500
RETRY_FIRST_S = 0.1
RETRY_MOST_S = 5.0

_log = structlog.get_logger("request_vault")


class Watch:
    """`run` is run by the engine's task group."""

    def __init__(self, address: Address, ledger: Ledger, clock: Clock) -> None:
        self._address = address
        self._ledger = ledger
        self._clock = clock
        self._wanted = False
        self._leading = asyncio.Event()
        self._stirred = asyncio.Event()
        self._connection: Connection | None = None
        self._changed: Callable[[], None] = lambda: None
        self.epoch: int | None = None
        """Of the newest lead that this instance had; None if it never led."""

    def listen(self, changed: Callable[[], None]) -> None:
        """`Store.listen`."""
        self._changed = changed

    async def lead(self) -> None:
        """`Store.lead`."""
        self._wanted = True
        self._stirred.set()
        await self._leading.wait()

    @property
    def leads(self) -> bool:
        return self._leading.is_set()

    def resign(self) -> None:
        """Another instance leads already: end the session by which this one thought it did."""
        self._leading.clear()
        if self._connection is not None:
            self._connection.terminate()

    async def run(self) -> None:
        """Until cancelled."""
        failures, told = 0, ""
        while True:
            try:
                await self._watch()
            except Unavailable as error:
                if str(error) != told:  # not the same again at every attempt
                    told = str(error)
                    _log.warning("the vault is not watched, trying again", error=told)
                await self._clock.sleep(min(RETRY_FIRST_S * 2**failures, RETRY_MOST_S))
                failures = min(failures + 1, 10)
            else:
                failures, told = 0, ""

    async def _watch(self) -> None:
        """Until the session is lost. Raises Unavailable when there is none to be had."""
        connection = await connect(
            self._address, "watch", idle_session_timeout=f"{SILENT_MS}ms", tcp_user_timeout=f"{SILENT_MS}ms"
        )
        self._connection = connection
        try:
            connection.add_termination_listener(self._stir)
            with translated(str(self._address)):
                await connection.add_listener(self._address.channel, self._stir)
                await self._look(connection)
            try:
                while True:
                    await self._stirred_or_time()
                    with translated(str(self._address)):
                        await self._look(connection)
            except Unavailable as error:
                _log.info("the vault's watch was lost", error=str(error), led=self.leads)
        finally:
            self._leading.clear()
            self._connection = None
            await close(connection)

    async def _look(self, connection: Connection) -> None:
        self._stirred.clear()
        changed = await self._ledger.refresh(connection)
        if self._wanted and not self.leads and await self._take_lead(connection):
            changed = True
        if changed:
            self._changed()

    async def _take_lead(self, connection: Connection) -> bool:
        if not await connection.fetchval("SELECT pg_try_advisory_lock($1)", self._address.number_of("lead")):
            return False
        row = await connection.fetchrow(
            "UPDATE checkpoint SET epoch = epoch + 1 WHERE name = 'published' RETURNING epoch, number"
        )
        assert row is not None
        self.epoch, self._ledger.published_to = row[0], max(self._ledger.published_to, row[1])
        self._leading.set()
        _log.info("this instance publishes decisions", epoch=self.epoch, after=row[1])
        return True

    async def _stirred_or_time(self) -> None:
        async with task_group() as either:
            waits = [
                either.create_task(self._stirred.wait()),
                either.create_task(self._clock.sleep(LOOK_S)),
            ]
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for wait in waits:
                wait.cancel()

    def _stir(self, *_: Any) -> None:
        self._stirred.set()


async def moved(connection: Connection, number: int, epoch: int | None) -> bool:
    """Move the checkpoint to this number, unless it is further; False when the epoch is not the newest one.
    epoch None: whichever it is."""
    row = await connection.fetchrow(
        """UPDATE checkpoint SET number = $1, checksum = $3
        WHERE name = 'published' AND number < $1 AND ($2::bigint IS NULL OR epoch = $2) RETURNING epoch""",
        number,
        epoch,
        checksum_of_mark("published", number),
    )
    if row is not None or epoch is None:
        return True
    newest: int = await connection.fetchval("SELECT epoch FROM checkpoint WHERE name = 'published'")
    return newest == epoch
