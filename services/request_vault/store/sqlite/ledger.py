"""What the writer knows without asking: the heads of partitions and categories, the numbers of types, the
checkpoint.

A transaction works on a copy, which takes the original's place when it is committed.
"""

from __future__ import annotations

import sqlite3

from services.request_vault.store.sqlite.schema import NUMBER_MASK, PARTITION_SHIFT


class Ledger:
    """numbers, calls: by partition, the newest number and how many calls were indexed. last_us: the
    newest time of recording, which never goes back."""

    __slots__ = ("calls", "categories", "last_us", "numbers", "published_to", "types")

    def __init__(
        self,
        numbers: list[int],
        calls: list[int],
        categories: dict[str, int],
        types: dict[str, int],
        last_us: int,
        published_to: int,
    ) -> None:
        self.numbers = numbers
        self.calls = calls
        self.categories = categories
        self.types = types
        self.last_us = last_us
        self.published_to = published_to

    @classmethod
    def load(cls, connection: sqlite3.Connection) -> Ledger:
        heads = connection.execute("SELECT number, calls FROM head ORDER BY partition").fetchall()
        categories = connection.execute(
            "SELECT category, max(place) FROM record WHERE category IS NOT NULL GROUP BY category"
        )
        last = [
            connection.execute(
                "SELECT recorded_us FROM record WHERE place = ?", (partition << PARTITION_SHIFT | number,)
            ).fetchone()
            for partition, (number, _) in enumerate(heads)
        ]
        return cls(
            numbers=[number for number, _ in heads],
            calls=[calls for _, calls in heads],
            categories={category: place & NUMBER_MASK for category, place in categories},
            types={name: number for number, name in connection.execute("SELECT number, name FROM type")},
            last_us=max((row[0] for row in last if row), default=0),
            published_to=connection.execute(
                "SELECT number FROM checkpoint WHERE name = 'published'"
            ).fetchone()[0],
        )

    @property
    def partitions(self) -> int:
        """How many partitions observations are spread over."""
        return len(self.numbers) - 1

    def copy(self) -> Ledger:
        return Ledger(
            self.numbers.copy(),
            self.calls.copy(),
            self.categories.copy(),
            self.types.copy(),
            self.last_us,
            self.published_to,
        )

    def store_changes(self, connection: sqlite3.Connection, before: Ledger) -> None:
        """Write what differs from `before`, as part of the transaction."""
        for partition, (number, calls) in enumerate(zip(self.numbers, self.calls, strict=True)):
            if number != before.numbers[partition] or calls != before.calls[partition]:
                connection.execute(
                    "UPDATE head SET number = ?, calls = ? WHERE partition = ?", (number, calls, partition)
                )
        if self.published_to != before.published_to:
            connection.execute(
                "UPDATE checkpoint SET number = ? WHERE name = 'published'", (self.published_to,)
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
