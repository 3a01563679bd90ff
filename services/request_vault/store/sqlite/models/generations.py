"""Which tables answer for each read model, and which are being built."""

from __future__ import annotations

import re
import sqlite3

import msgspec

from services.request_vault.store import generations
from services.request_vault.store.generations import Build as Build
from services.request_vault.store.sqlite.models.definitions import TABLES, VERSIONS, statements

_GENERATION = re.compile(r"(?:call|tag|body|event)_([0-9]+)")


class Generations(generations.Generations, frozen=True):
    """A reader that began before a swap reads the old tables. removals: grows whenever rows were removed."""

    removals: int = 0


def create_all(connection: sqlite3.Connection) -> None:
    """The first generation of every model."""
    for name, version in VERSIONS.items():
        create(connection, name, 1)
        connection.execute("INSERT INTO model VALUES (?, ?, 1)", (name, version))


def create(connection: sqlite3.Connection, name: str, generation: int) -> None:
    for statement in statements(name, generation):
        connection.execute(statement)


def load(connection: sqlite3.Connection) -> Generations:
    """As stored. A build of another version than today's is left out, and begun anew by whoever builds."""
    models = {
        name: (version, generation)
        for name, version, generation in connection.execute("SELECT name, version, generation FROM model")
    }
    builds = {
        name: Build(version, generation, _numbers(tops), _numbers(done), decided)
        for name, version, generation, tops, done, decided in connection.execute(
            "SELECT name, version, generation, tops, done, decided FROM build"
        ).fetchall()
        if version == VERSIONS[name]
    }
    for name, (version, generation) in models.items():
        if version != VERSIONS[name]:
            _adapt(connection, name, generation)
    return Generations(
        calls=models["calls"][1],
        events=models["events"][1],
        versions={name: version for name, (version, _) in models.items()},
        builds=builds,
    )


def tables(connection: sqlite3.Connection) -> dict[str, int]:
    """The tables of models that are there, with their generations."""
    names = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
    return {name: int(found[1]) for (name,) in names if (found := _GENERATION.fullmatch(name))}


def _adapt(connection: sqlite3.Connection, name: str, generation: int) -> None:
    """Give the tables of an older version what today's statements name, so that they answer until they are
    built anew."""
    there = tables(connection)
    today = sqlite3.connect(":memory:")
    create(today, name, generation)
    connection.execute("BEGIN IMMEDIATE")
    for table in TABLES[name]:
        numbered = f"{table}_{generation}"
        if numbered in there:
            has = {row[1] for row in connection.execute(f"PRAGMA table_info({numbered})")}
            for _, column, type_, not_null, default, _ in today.execute(f"PRAGMA table_info({numbered})"):
                if column not in has:
                    rest = f"NOT NULL DEFAULT {default or repr('')}" if not_null else ""
                    connection.execute(f"ALTER TABLE {numbered} ADD COLUMN {column} {type_} {rest}")
    for statement in statements(name, generation):
        connection.execute(
            statement.replace("CREATE TABLE ", "CREATE TABLE IF NOT EXISTS ").replace(
                "CREATE INDEX ", "CREATE INDEX IF NOT EXISTS "
            )
        )
    connection.execute("COMMIT")
    today.close()


def _numbers(text: str) -> tuple[int, ...]:
    return msgspec.json.decode(text, type=tuple[int, ...])
