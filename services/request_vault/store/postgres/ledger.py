"""What an instance knows of the log without asking: as committed, and at most a moment old.

Fed by the writer with what it committed itself, and by the watch with what other instances did. Numbers only
grow, so whatever arrives later and says less is old.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from services.request_vault.domain.recording import DECISIONS
from services.request_vault.store.postgres import models, schema
from services.request_vault.store.postgres.connections import Connection
from services.request_vault.store.postgres.models import Generations
from services.request_vault.store.postgres.places import DECIDED, FOREVER, Leaf


class Progress(NamedTuple):
    """Of the text index in a partition, as numbers. reached: up to which calls are in it. renewed: up to
    which they were put in anew, when they are to be up to renew_to."""

    reached: int
    renewed: int
    renew_to: int
    version: int


class Ledger:
    """partitions: how many observations are spread over. types: the numbers of types. leaves: those that
    are known to be there. numbers: of the partitions, as they were lately. classes: by event key, the class
    of what is recorded from now on; others are kept forever."""

    def __init__(self, partitions: int, generations: Generations, leaves: set[Leaf]) -> None:
        self.partitions = partitions
        self.generations = generations
        self.leaves = leaves
        self.types: dict[str, int] = {}
        self.classes: Mapping[str, int] = {}
        self.numbers: list[int] = []
        self.texts: dict[int, Progress] = {}
        self.categories: dict[str, int] = {}
        self.decisions = 0
        self.published_to = 0
        self.last_us = 0
        self.floor_us = 0
        self.changes = 0

    def class_of(self, key: str, category: str | None) -> int:
        """Of a record, by its event key, or as a decision of a category."""
        return DECIDED if category is not None else self.classes.get(key, FOREVER)

    @classmethod
    async def load(cls, connection: Connection) -> Ledger:
        heads = await connection.fetchval("SELECT count(*) FROM head")
        ledger = cls(heads - 1, await models.load(connection), await schema.leaves(connection))
        await ledger.refresh(connection)
        await ledger.refresh_types(connection)
        return ledger

    async def refresh(self, connection: Connection) -> bool:
        """Read what other instances may have changed; whether there are decisions that were not known."""
        heads = await connection.fetch("SELECT number, last_us, changes FROM head ORDER BY partition")
        decisions, last_us = heads[DECISIONS][0], max(row[1] for row in heads)
        published_to = await connection.fetchval("SELECT number FROM checkpoint WHERE name = 'published'")
        self.numbers = [
            max(row[0], known) for row, known in zip(heads, self.numbers or [0] * len(heads), strict=True)
        ]
        for partition, *progress in await connection.fetch(
            "SELECT partition, reached, renewed, renew_to, version FROM text_progress"
        ):
            self.texts[partition] = Progress(*progress)
        if (changes := max(row[2] for row in heads)) > self.changes:
            await self.reread(connection, changes)
        news: bool = decisions > self.decisions
        if news:
            rows = await connection.fetch("SELECT name, number FROM category")
            self.committed(decisions, ((row[0], row[1]) for row in rows), last_us)
        self.last_us = max(self.last_us, last_us)
        self.published_to = max(self.published_to, published_to)
        return news

    async def reread(self, connection: Connection, changes: int) -> None:
        """What whoever adds to the log must know, as it is since that many changes."""
        self.generations = await models.load(connection)
        self.floor_us = await connection.fetchval("SELECT number FROM checkpoint WHERE name = 'floor'")
        self.changes = changes

    async def know_types(self, connection: Connection, names: set[str]) -> None:
        """Give numbers to types that have none yet; outside of a transaction, so that they stay given."""
        if new := sorted(names - self.types.keys()):
            await connection.execute(
                "INSERT INTO type (name) SELECT unnest($1::text[]) ON CONFLICT DO NOTHING", new
            )
            await self.refresh_types(connection)

    async def refresh_types(self, connection: Connection) -> None:
        self.types = {row[1]: row[0] for row in await connection.fetch("SELECT number, name FROM type")}

    def committed(
        self,
        decisions: int,
        categories: Iterable[tuple[str, int]],
        last_us: int,
        numbers: Iterable[tuple[int, int]] = (),
    ) -> None:
        """A transaction's heads, once it is committed."""
        for partition, number in numbers:
            self.numbers[partition] = max(self.numbers[partition], number)
        self.decisions = max(self.decisions, decisions)
        self.last_us = max(self.last_us, last_us)
        for name, number in categories:
            if number > self.categories.get(name, 0):
                self.categories[name] = number
