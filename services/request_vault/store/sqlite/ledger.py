"""What the writer knows without asking: the heads of partitions and categories, the numbers of types, the
checkpoint.

A transaction works on a copy, which takes the original's place when it is committed.
"""

from __future__ import annotations

import sqlite3

from services.request_vault.domain.links import End, checksum_of_mark
from services.request_vault.store.sqlite import models
from services.request_vault.store.sqlite.places import NUMBER_MASK, PARTITION_SHIFT


class Ledger:
    """numbers, runnings, chains: by partition, the newest number and the chain up to it (`domain.chain`).
    last_us: the newest time of recording, which never goes back. floor_us: what is older and unknown may have
    been here once, and is refused."""

    __slots__ = (
        "categories", "chains", "floor_us", "generations", "last_us", "numbers", "published_to", "runnings",
        "types",
    )  # fmt: skip

    def __init__(
        self,
        numbers: list[int],
        runnings: list[bytes],
        chains: list[bytes],
        categories: dict[str, int],
        types: dict[str, int],
        generations: models.Generations,
        last_us: int,
        published_to: int,
        floor_us: int,
    ) -> None:
        self.numbers = numbers
        self.runnings = runnings
        self.chains = chains
        self.categories = categories
        self.types = types
        self.generations = generations
        self.last_us = last_us
        self.published_to = published_to
        self.floor_us = floor_us

    @classmethod
    def load(cls, connection: sqlite3.Connection) -> Ledger:
        heads = connection.execute("SELECT number, running, chain FROM head ORDER BY partition").fetchall()
        categories = connection.execute(
            """SELECT category, max(place) FROM (
                SELECT category, place FROM record WHERE category IS NOT NULL
                UNION ALL SELECT category, place FROM tombstone WHERE category IS NOT NULL
            ) GROUP BY category"""
        )
        checkpoints = dict(connection.execute("SELECT name, number FROM checkpoint").fetchall())
        last = [
            connection.execute(
                "SELECT recorded_us FROM record WHERE place <= ? ORDER BY place DESC LIMIT 1",
                (partition << PARTITION_SHIFT | number,),
            ).fetchone()
            for partition, (number, *_) in enumerate(heads)
        ]
        return cls(
            numbers=[number for number, *_ in heads],
            runnings=[running for _, running, _ in heads],
            chains=[chain for *_, chain in heads],
            categories={category: place & NUMBER_MASK for category, place in categories},
            types={name: number for number, name in connection.execute("SELECT number, name FROM type")},
            generations=models.load(connection),
            last_us=max((row[0] for row in last if row), default=0),
            published_to=checkpoints["published"],
            floor_us=checkpoints["floor"],
        )

    @property
    def partitions(self) -> int:
        """How many partitions observations are spread over."""
        return len(self.numbers) - 1

    def ends(self) -> tuple[End, ...]:
        chains = zip(self.numbers, self.runnings, self.chains, strict=True)
        return tuple(End(partition, *end) for partition, end in enumerate(chains))

    def copy(self) -> Ledger:
        return Ledger(
            self.numbers.copy(),
            self.runnings.copy(),
            self.chains.copy(),
            self.categories.copy(),
            self.types.copy(),
            self.generations,
            self.last_us,
            self.published_to,
            self.floor_us,
        )

    def store_changes(self, connection: sqlite3.Connection, before: Ledger) -> None:
        """Write what differs from `before`, as part of the transaction."""
        for partition, number in enumerate(self.numbers):
            if number != before.numbers[partition]:
                connection.execute(
                    "UPDATE head SET number = ?, running = ?, chain = ? WHERE partition = ?",
                    (number, self.runnings[partition], self.chains[partition], partition),
                )
        for name, value, stored in (
            ("published", self.published_to, before.published_to),
            ("floor", self.floor_us, before.floor_us),
        ):
            if value != stored:
                connection.execute(
                    "UPDATE checkpoint SET number = ?, checksum = ? WHERE name = ?",
                    (value, checksum_of_mark(name, value), name),
                )

    def type_number(self, connection: sqlite3.Connection, name: str) -> int:
        """The type's number, given now if it is new."""
        number = self.types.get(name)
        if number is None:
            number = self.types[name] = len(self.types) + 1
            connection.execute("INSERT INTO type VALUES (?, ?)", (number, name))
        return number

    def tick(self, now_us: int) -> int:
        """The time of recording: `now_us`, or the newest one given when the clock has gone back."""
        self.last_us = max(self.last_us, now_us)
        return self.last_us
