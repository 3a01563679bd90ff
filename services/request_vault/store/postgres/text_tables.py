"""The tables of the text index, one of a generation at a time, and how a new one takes its place.

Rows that went leave holes, and a table never gets smaller by itself. So a table that is mostly holes is
written anew: what is left in it is copied to another, in order of places, a small step at a time; what is
put in or removed meanwhile is put into or removed from both; then the new one answers. Everything that
writes here runs inside an upkeep transaction, so ingest does not know of it.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from services.request_vault.store.postgres.connections import Connection

COPIED_BYTES = 128 * 1024
"""Copied in one step, unless a single row is larger."""

_NAME = re.compile(r"text_([0-9]+)")
_STATEMENTS = """
CREATE TABLE text_{g} (
    place   bigint PRIMARY KEY,
    url     tsvector NOT NULL,
    headers tsvector NOT NULL,
    named   tsvector NOT NULL,
    bodies  tsvector NOT NULL
);
CREATE INDEX text_{g}_words ON text_{g} USING gin (url, headers, named, bodies)
    WITH (gin_pending_list_limit = 256)
"""
# What follows the last place that was copied, as much of it as a step takes.
_NEXT = """
SELECT max(place) FROM (
    SELECT place, sum(bytes) OVER (ORDER BY place) - bytes AS before FROM (
        SELECT place, pg_column_size(url) + pg_column_size(headers) + pg_column_size(named)
            + pg_column_size(bodies) AS bytes
        FROM {table} WHERE place > $1 ORDER BY place LIMIT $2
    ) r
) s WHERE before < $3
"""


class TextTables(NamedTuple):
    """answering: the generation that searches look into. filling: the one that is to take its place, if
    any. copied: the place up to which that has what was in the other."""

    answering: int
    filling: int | None
    copied: int

    @property
    def answers(self) -> str:
        return f"text_{self.answering}"

    @property
    def written(self) -> tuple[str, ...]:
        """Every table that a row is put into, and removed from."""
        return (self.answers,) if self.filling is None else (self.answers, f"text_{self.filling}")


async def create_first(connection: Connection) -> None:
    await _create(connection, 1)
    await connection.execute("INSERT INTO text_table VALUES (1, NULL, 0)")


async def load(connection: Connection) -> TextTables:
    row = await connection.fetchrow("SELECT answering, filling, copied FROM text_table")
    assert row is not None
    return TextTables(*row)


async def rewrite(connection: Connection, most: int) -> bool:
    """`Store.rewrite` of the text index."""
    tables = await load(connection)
    if tables.filling is None:
        filling = max(await _generations(connection)) + 1
        await _create(connection, filling)
        await connection.execute("UPDATE text_table SET filling = $1, copied = 0", filling)
        return True
    through = await connection.fetchval(_NEXT.format(table=tables.answers), tables.copied, most, COPIED_BYTES)
    if through is None:
        await connection.execute("UPDATE text_table SET answering = filling, filling = NULL, copied = 0")
        return False
    await connection.execute(
        f"""INSERT INTO text_{tables.filling} SELECT * FROM {tables.answers}
        WHERE place > $1 AND place <= $2 ON CONFLICT (place) DO NOTHING""",
        tables.copied,
        through,
    )
    await connection.execute("UPDATE text_table SET copied = $1", through)
    return True


async def drop_old(connection: Connection) -> bool:
    """`Store.drop_old`."""
    tables = await load(connection)
    for generation in await _generations(connection):
        if generation not in (tables.answering, tables.filling):
            await connection.execute(f"DROP TABLE text_{generation}")
            return True
    return False


async def _generations(connection: Connection) -> list[int]:
    """Those that have a table."""
    rows = await connection.fetch(
        "SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r'"
    )
    matches = (_NAME.fullmatch(row[0]) for row in rows)
    return sorted(int(found[1]) for found in matches if found is not None)


async def _create(connection: Connection, generation: int) -> None:
    await connection.execute(_STATEMENTS.format(g=generation))
