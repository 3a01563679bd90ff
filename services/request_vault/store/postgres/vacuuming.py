"""Getting rows that went out of the tables, without a lock that anybody waits for.

A removed row stays in its table, and its entries in the indexes, until a vacuum takes them out, which it can
once nobody reads as of a moment before. `purge` says how many erasing steps there were, and how many of
them a vacuum has followed: one that could not be done then is made up for by the upkeep.
"""

from __future__ import annotations

import asyncpg

from services.request_vault.store.postgres import copying
from services.request_vault.store.postgres.connections import Connection

LONG_S = 3600.0
READER_LOOKS = 25
READER_LOOK_S = 0.02

# Index entries go too, however few they are.
_VACUUM = "VACUUM (INDEX_CLEANUP ON) {table}"
_READS = """
SELECT EXISTS (
    SELECT FROM pg_stat_activity WHERE pid <> pg_backend_pid()
    AND (datname = current_database() OR datname IS NULL) AND (
        age(backend_xmin) > age($1::text::xid) OR age(backend_xid) > age($1::text::xid)
    )
)
"""


async def owe(connection: Connection) -> None:
    """Note, inside a transaction that erases, that a vacuum has to follow."""
    await connection.execute("UPDATE purge SET ordered = ordered + 1")


async def is_owed(connection: Connection) -> bool:
    owed: bool = await connection.fetchval("SELECT ordered > done FROM purge")
    return owed


async def vacuum(connection: Connection) -> bool:
    """Every table of the vault. False, and nothing was done, while somebody reads as of a moment before this
    one, and goes on for longer than a moment."""
    ordered = await connection.fetchval("SELECT ordered FROM purge")
    now = await connection.fetchval("SELECT pg_current_xact_id()::xid::text")
    for _ in range(READER_LOOKS):
        if not await connection.fetchval(_READS, now):
            break
        await connection.execute(f"SELECT pg_sleep({READER_LOOK_S})")
    else:
        return False
    for table in await copying.tables(connection):
        try:
            await connection.execute(_VACUUM.format(table=table), timeout=LONG_S)
        except asyncpg.UndefinedTableError:
            continue  # dropped meanwhile
    await connection.execute("UPDATE purge SET done = greatest(done, $1)", ordered)
    return True
