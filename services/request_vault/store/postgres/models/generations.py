"""How the tables of read models are made, and which of them answer."""

from __future__ import annotations

from services.request_vault.store.generations import Build as Build
from services.request_vault.store.generations import Generations as Generations
from services.request_vault.store.postgres.connections import Connection
from services.request_vault.store.postgres.models.definitions import VERSIONS, statements


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
