"""Rebuilding a model, step by step, for the engine: while the writer puts one part in, a reader makes the
rows of the next."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from schemas.request_vault import ModelState
from services.request_vault.store.sqlite.models import Build, building
from services.request_vault.store.sqlite.readers import Readers
from services.request_vault.store.sqlite.writer import Writer


class Rebuilds:
    def __init__(self, writer: Writer, readers: Readers) -> None:
        self._writer = writer
        self._readers = readers
        self._parts: dict[str, building.Part] = {}

    def state_of(self, name: str) -> ModelState:
        ledger = self._writer.ledger
        return building.state_of(ledger.generations, name, ledger.numbers)

    async def step(self, name: str, most: int) -> ModelState:
        """`Store.rebuild` of a model that is folded from the log."""
        build = self._writer.ledger.generations.builds.get(name)
        if build is None:
            await self._writer.run(lambda connection, ledger: building.begin(connection, ledger, name))
            return self.state_of(name)
        part = self._parts.pop(name, None)
        if part is None or part.since != build or part.most != most:
            part = await self._read(name, build, most)
        putting = self._put_in(name, part)
        if part.last:
            await putting
        else:
            self._parts[name] = await self._beside(putting, name, part.until, most)
        return self.state_of(name)

    async def _beside(self, putting: Awaitable[None], name: str, build: Build, most: int) -> building.Part:
        try:
            async with asyncio.TaskGroup() as tasks:
                reading = tasks.create_task(self._read(name, build, most))
                await putting
        except ExceptionGroup as group:
            raise group.exceptions[0] from None
        return reading.result()

    async def _read(self, name: str, build: Build, most: int) -> building.Part:
        removals = self._writer.ledger.generations.removals
        return await self._readers.run(
            lambda connection: building.read_part(connection, name, build, removals, most)
        )

    async def _put_in(self, name: str, part: building.Part) -> None:
        await self._writer.run(lambda connection, ledger: building.put_in(connection, ledger, name, part))
