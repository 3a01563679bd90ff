"""Which tables answer for each read model, and which are being built."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from services.request_vault.store.postgres.connections import Connection
from services.request_vault.store.postgres.models.definitions import VERSIONS, statements


class Build(msgspec.Struct, frozen=True):
    """A generation that is being built. tops: the newest number of each partition when it began; what came
    later was put in at once. done: the number up to which the records of each partition are in. decided: that
    up to which decisions about calls are."""

    version: int
    generation: int
    tops: tuple[int, ...]
    done: tuple[int, ...]
    decided: int


class Generations(msgspec.Struct, frozen=True):
    """The generation of each model that answers, and its version."""

    calls: int
    events: int
    versions: Mapping[str, int]
    builds: Mapping[str, Build]

    @property
    def call(self) -> str:
        return f"call_{self.calls}"

    @property
    def tag(self) -> str:
        return f"tag_{self.calls}"

    @property
    def body(self) -> str:
        return f"body_{self.calls}"

    @property
    def event(self) -> str:
        return f"event_{self.events}"

    def answering(self, name: str) -> int:
        return self.calls if name == "calls" else self.events

    def written(self, name: str) -> tuple[int, ...]:
        """Every generation that new records are put into."""
        build = self.builds.get(name)
        answering = self.answering(name)
        return (answering,) if build is None else (answering, build.generation)

    def answer_as(self, other: Generations) -> bool:
        return (self.calls, self.events) == (other.calls, other.events)


async def create_all(connection: Connection) -> None:
    """The first generation of every model."""
    for name, version in VERSIONS.items():
        await create(connection, name, 1)
        await connection.execute("INSERT INTO model VALUES ($1, $2, 1)", name, version)


async def create(connection: Connection, name: str, generation: int) -> None:
    for statement in statements(name, generation):
        await connection.execute(statement)


async def load(connection: Connection) -> Generations:
    """As stored. A build of another version than today's is left out, and begun anew by whoever builds."""
    rows = await connection.fetch(
        """SELECT m.name, m.version, m.generation, b.version, b.generation, b.tops, b.done, b.decided
        FROM model m LEFT JOIN build b ON b.name = m.name"""
    )
    return Generations(
        calls=next(row[2] for row in rows if row[0] == "calls"),
        events=next(row[2] for row in rows if row[0] == "events"),
        versions={row[0]: row[1] for row in rows},
        builds={
            row[0]: Build(row[3], row[4], tuple(row[5]), tuple(row[6]), row[7])
            for row in rows
            if row[3] == VERSIONS[row[0]]
        },
    )
