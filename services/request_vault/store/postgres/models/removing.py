"""Taking rows out of the read models and the text index, together with the records that they were made of."""

from __future__ import annotations

from collections.abc import Sequence

from services.request_vault.store.postgres import text_tables
from services.request_vault.store.postgres.connections import Connection
from services.request_vault.store.postgres.models.definitions import TABLES, VERSIONS
from services.request_vault.store.postgres.models.generations import Generations
from services.request_vault.store.postgres.rows import columns_of, restored, stored


async def remove_rows(
    connection: Connection, generations: Generations, places: Sequence[int]
) -> list[tuple[str, str]]:
    """Out of every generation, those being built included. The bodies (bucket, hash) that no call names any
    more."""
    rows = await connection.fetch(
        f"SELECT DISTINCT bucket, sha256 FROM {generations.body} WHERE place = ANY ($1)", places
    )
    for name, tables in TABLES.items():
        for generation in generations.written(name):
            for table in tables:
                await connection.execute(f"DELETE FROM {table}_{generation} WHERE place = ANY ($1)", places)
    for table in (await text_tables.load(connection)).written:
        await connection.execute(f"DELETE FROM {table} WHERE place = ANY ($1)", places)
    await connection.execute("DELETE FROM text_late WHERE place = ANY ($1)", places)
    return await unnamed(connection, generations, [(restored(row[0]), restored(row[1])) for row in rows])


async def unnamed(
    connection: Connection, generations: Generations, bodies: Sequence[tuple[str, str]]
) -> list[tuple[str, str]]:
    """Those that no call names. None while the model is one of an older version, which may not know."""
    if not bodies or generations.versions["calls"] != VERSIONS["calls"]:
        return []
    rows = await connection.fetch(
        f"""SELECT w.bucket, w.sha256 FROM unnest($1::text[], $2::text[]) w (bucket, sha256)
        WHERE NOT EXISTS (
            SELECT FROM {generations.body} b
            WHERE left(b.sha256, 64) = left(w.sha256, 64) AND b.bucket = w.bucket AND b.sha256 = w.sha256
        )""",
        *columns_of([(stored(bucket), stored(sha256)) for bucket, sha256 in bodies], 2),
    )
    return [(restored(row[0]), restored(row[1])) for row in rows]
