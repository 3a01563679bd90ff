"""Whether a read model holds much more disk than what is in them needs.

Vacuum makes the holes that removed rows leave usable again, but does not give them back to the system. How
much of a table is in use is estimated from some of its pages: the bytes of the rows that are there, those
kept apart (TOAST) included, against the size of the table. Indexes are taken to be as full as their table.
"""

from __future__ import annotations

from services.request_vault.store.postgres import text_tables
from services.request_vault.store.postgres.connections import Connection
from services.request_vault.store.postgres.models import Generations
from services.request_vault.store.postgres.models.definitions import TABLES
from services.request_vault.store.postgres.texts import TEXT

LEAST_BYTES = 64 * 1024 * 1024
"""A model that takes less, indexes included, is left as it is."""

USED_SHARE = 0.5
"""Of a model that is worth its disk. One that is written anew fills about nine tenths of it."""

SAMPLE_PAGES = 500
_PAGE_BYTES = 8192
_ROW_BYTES = 28
"""What a row takes beside its columns."""


async def is_wasteful(connection: Connection, generations: Generations, name: str) -> bool:
    """`Store.is_wasteful`."""
    if name == TEXT:
        texts = await text_tables.load(connection)
        if texts.filling is not None:
            return True
        tables = [texts.answers]
    elif name in generations.builds:
        return True
    else:
        tables = [f"{kind}_{generations.answering(name)}" for kind in TABLES[name]]
    whole, apart_from_indexes = await connection.fetchrow(
        """SELECT sum(pg_total_relation_size(name::regclass))::bigint,
        sum(pg_table_size(name::regclass))::bigint FROM unnest($1::text[]) t (name)""",
        tables,
    ) or (0, 0)
    if whole < LEAST_BYTES:
        return False
    used = 0.0
    for table in tables:
        used += await _used_bytes(connection, table)
        if used >= apart_from_indexes * USED_SHARE:
            return False
    return True


async def _used_bytes(connection: Connection, table: str) -> float:
    """About what its rows take."""
    columns = await connection.fetch(
        "SELECT attname FROM pg_attribute WHERE attrelid = $1::text::regclass AND attnum > 0 "
        "AND NOT attisdropped",
        table,
    )
    pages = await connection.fetchval("SELECT pg_relation_size($1::text::regclass)", table) / _PAGE_BYTES
    share = min(1.0, SAMPLE_PAGES / max(pages, 1))
    of_row = " + ".join(f"coalesce(pg_column_size({column[0]}), 0)" for column in columns)
    rows, bytes_ = await connection.fetchrow(
        f"""SELECT count(*), coalesce(sum({of_row}), 0)::bigint
        FROM {table} TABLESAMPLE SYSTEM ({share * 100:f})"""
    ) or (0, 0)
    used: float = (bytes_ + rows * _ROW_BYTES) / share
    return used
