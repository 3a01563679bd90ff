"""The part of the engine that removes, proves, copies and rebuilds. `engine.PostgresStore` is made of it.

Each step is one transaction under a lock that all instances share, so that two never take the same records
or build the same model at once; ingest and reading do not wait for it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeVar

import asyncpg

from bus.clock import Clock
from bus.errors import Refused, Unavailable
from schemas.request_vault import ModelState, Position
from services.request_vault.domain.cursors import Vector
from services.request_vault.domain.links import End, Link
from services.request_vault.domain.recording import to_us
from services.request_vault.store.port import CallText, Erased, LateText, Scope, TextSource, TextStep, Trimmed
from services.request_vault.store.postgres import (
    checking,
    copying,
    linking,
    reclaiming,
    removing,
    schema,
    text_tables,
    texts,
    trimming,
    vacuuming,
    waste,
)
from services.request_vault.store.postgres.archiving import Loading
from services.request_vault.store.postgres.connections import Connection, Sessions
from services.request_vault.store.postgres.failures import COLLISIONS
from services.request_vault.store.postgres.ledger import Ledger
from services.request_vault.store.postgres.models import VERSIONS, Generations, building
from services.request_vault.store.postgres.models import load as load_generations

T = TypeVar("T")

ATTEMPTS = 5
TEXTS_LOOK_S = 0.25


class Upkeep:
    def __init__(self, ledger: Ledger, sessions: Sessions, clock: Clock) -> None:
        self._ledger = ledger
        self._sessions = sessions
        self._clock = clock
        self._to_look_at = {*VERSIONS, texts.TEXT}
        """Models that something was removed from since it was looked how much of them is in use."""

    async def trim(self, scope: Scope, most: int) -> Trimmed:
        trimmed = await self._step(
            lambda connection, models: trimming.trim(
                connection, models, self._ledger.partitions, scope, most, self._now_us
            )
        )
        if trimmed.records:
            self._to_look_at |= {*VERSIONS, texts.TEXT}
        return trimmed

    async def erase(self, bucket: str, call_ids: Sequence[str], *, by: str, why: str) -> Erased:
        return await self._erasing(
            lambda connection, models: trimming.erase(
                connection, models, bucket, call_ids, by, why, self._now_us
            )
        )

    async def erase_bucket(self, bucket: str, upto: Vector, most: int, *, by: str, why: str) -> Erased:
        return await self._erasing(
            lambda connection, models: trimming.erase_bucket(
                connection, models, self._ledger.partitions, bucket, upto, most, by, why, self._now_us
            )
        )

    async def forget(self, before_us: int, most: int) -> int:
        return await self._step(lambda connection, models: removing.forget(connection, before_us, most))

    async def floor_us(self) -> int:
        async with self._sessions.use() as connection:
            return await removing.floor_us(connection)

    async def raise_floor(self, floor_us: int) -> None:
        await self._step(lambda connection, models: removing.raise_floor(connection, floor_us))

    async def reclaim(self, most_pages: int) -> int:
        """One leaf of the log, or what outlives its age out of one. Vacuums too, when an erasure could
        not."""
        async with self._sessions.use() as connection:
            lock = self._sessions.address.number_of("reclaim")
            if not await connection.fetchval("SELECT pg_try_advisory_lock($1)", lock):
                return 0
            try:
                self._ledger.leaves = await schema.leaves(connection)
                models = await load_generations(connection)
                pages, leaf = await reclaiming.reclaim(
                    connection, self._sessions.address, models, self._ledger.leaves, self._now_us
                )
            finally:
                if not connection.is_closed():
                    await connection.execute("SELECT pg_advisory_unlock($1)", lock)
            if not pages and await vacuuming.is_owed(connection):
                await vacuuming.vacuum(connection)
        if leaf is not None:
            self._ledger.leaves.discard(leaf)
        return pages

    async def checkpoint(self) -> bool:
        async with self._sessions.use() as connection:
            return await vacuuming.vacuum(connection)

    async def load(self, links: Sequence[Link], loaded_to: Vector | None = None) -> None:
        loading = Loading(links, self._ledger, loaded_to or {})
        async with self._sessions.use() as connection:
            await self._ledger.know_types(connection, loading.types)
            for leaf in sorted(loading.leaves - self._ledger.leaves):
                await schema.create_leaf(connection, self._sessions.address, leaf)
                self._ledger.leaves.add(leaf)
        additions = await self._step(lambda connection, models: loading.put(connection))
        additions.commit()

    async def ends(self) -> tuple[End, ...]:
        async with self._sessions.use() as connection:
            return await linking.ends(connection)

    async def links(self, partition: int, after: int, limit: int) -> list[Link]:
        async with self._sessions.one_moment() as connection:
            return await linking.links(connection, partition, after, limit)

    async def check(self) -> list[str]:
        async with self._sessions.one_moment() as connection:
            return await checking.check(connection)

    async def backup(self, target: Path) -> None:
        await copying.check_new(target)
        async with self._sessions.one_moment() as connection:
            await copying.copy(connection, target, self._clock)

    def models(self) -> tuple[ModelState, ...]:
        ledger = self._ledger
        states = (building.state_of(ledger.generations, name, ledger.numbers) for name in VERSIONS)
        return (*states, texts.model(ledger))

    async def rebuild(self, name: str, most: int) -> ModelState:
        if name == texts.TEXT:
            if texts.model(self._ledger).state == "ready":
                await self._step(lambda connection, models: texts.outdate(connection))
                self._to_look_at.add(name)
            else:  # whoever indexes puts them in
                await self._clock.sleep(TEXTS_LOOK_S)
        elif name in VERSIONS:
            await self._step(lambda connection, models: building.step(connection, name, most))
        else:
            names = ", ".join((*VERSIONS, texts.TEXT))
            raise Refused("model-unknown", f"there is no model {name[:80]!r}; there are {names}")
        async with self._sessions.use() as connection:
            await self._ledger.refresh(connection)
            await self._ledger.reread(connection, self._ledger.changes)
        return next(model for model in self.models() if model.name == name)

    async def is_wasteful(self, name: str) -> bool:
        if name not in self._to_look_at:
            return False
        async with self._sessions.use() as connection:
            wasteful = await waste.is_wasteful(connection, await load_generations(connection), name)
        if not wasteful:
            self._to_look_at.discard(name)
        return wasteful

    async def rewrite(self, name: str, most: int) -> bool:
        if name != texts.TEXT:
            return (await self.rebuild(name, most)).state == "rebuilding"
        if await self._step(lambda connection, models: text_tables.rewrite(connection, most)):
            return True
        self._to_look_at.discard(name)
        return False

    async def drop_old(self, most: int) -> bool:
        async def step(connection: Connection, models: Generations) -> bool:
            return await building.drop_old(connection, models, most) or await text_tables.drop_old(connection)

        return await self._step(step)

    async def unindexed(self, limit: int) -> TextStep | None:
        await self._look()
        if texts.is_of_other_version(self._ledger):
            await self._step(lambda connection, models: texts.outdate(connection))
            await self._look()
        models = self._ledger.generations
        async with self._sessions.one_moment() as connection:
            return await texts.unindexed(connection, models, self._ledger, limit)

    async def index_texts(self, step: TextStep, through: Position, texts_: Sequence[CallText]) -> None:
        await self._step(lambda connection, models: texts.put(connection, models, step, through, texts_))
        await self._look()

    async def late_texts(self, after: Position | None, limit: int) -> tuple[LateText, ...]:
        async with self._sessions.use() as connection:
            return await texts.late(connection, after, limit, self._now_us)

    async def text_sources(self, positions: Sequence[Position]) -> tuple[TextSource, ...]:
        async with self._sessions.use() as connection:
            return await texts.sources(connection, self._ledger.generations, positions)

    async def replace_texts(self, texts_: Sequence[CallText]) -> None:
        await self._step(lambda connection, models: texts.replace(connection, models, texts_))

    def texts_behind(self) -> int:
        return texts.behind(self._ledger)

    async def texts_purged(self) -> None:
        """Rows of the text index go with their records."""

    async def _erasing(self, erase: Callable[[Connection, Generations], Awaitable[Erased]]) -> Erased:
        async def step(connection: Connection, models: Generations) -> Erased:
            erased = await erase(connection, models)
            if erased.records:
                await vacuuming.owe(connection)
            return erased

        erased = await self._step(step)
        self._to_look_at |= {*VERSIONS, texts.TEXT}
        return erased

    async def _look(self) -> None:
        async with self._sessions.use() as connection:
            await self._ledger.refresh(connection)

    async def _step(self, work: Callable[[Connection, Generations], Awaitable[T]]) -> T:
        """What `work` returns, done in one transaction."""
        for _ in range(ATTEMPTS):
            try:
                async with self._sessions.use() as connection, connection.transaction():
                    await connection.execute(
                        "SELECT pg_advisory_xact_lock($1)", self._sessions.address.number_of("upkeep")
                    )
                    return await work(connection, await load_generations(connection))
            except COLLISIONS:
                continue
            except asyncpg.UndefinedTableError:
                continue
        raise Unavailable(f"{self._sessions.address}: others were there first {ATTEMPTS} times over")

    @property
    def _now_us(self) -> int:
        return to_us(self._clock.now())
