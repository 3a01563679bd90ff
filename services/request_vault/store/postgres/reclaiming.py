"""Giving disk back: leaves of the log that are over, and empty but for what outlives its age, are dropped
after that was copied out. Called by the engine, outside of a transaction, by one instance at a time."""

from __future__ import annotations

from services.request_vault.store.postgres import schema
from services.request_vault.store.postgres.connections import Address, Connection
from services.request_vault.store.postgres.models import Generations
from services.request_vault.store.postgres.models.definitions import PROTECTED, VERSIONS
from services.request_vault.store.postgres.places import DAY_US, KEPT, Leaf, days_of, is_spanned

MOVED_RECORDS = 500
"""Copied out in one step."""

_PENDING = """
SELECT c.relname, p.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
JOIN pg_class p ON p.oid = i.inhparent
WHERE i.inhdetachpending AND c.relnamespace = current_schema()::regnamespace
"""
_COLUMNS = "place, stream, version, category, prev, key, time_us, recorded_us, checksum, salt, digest, event"


async def reclaim(
    connection: Connection, address: Address, generations: Generations, leaves: set[Leaf], now_us: int
) -> tuple[int, Leaf | None]:
    """`Store.reclaim`: how many pages went, and the leaf that did."""
    for name, parent in await connection.fetch(_PENDING):
        await connection.execute(f"ALTER TABLE {parent} DETACH PARTITION {name} FINALIZE")
    for name in await _detached(connection):
        return await _drop(connection, name), None
    today = now_us // DAY_US
    for leaf in sorted(leaves):
        # A day longer than it lasts, for a clock that is behind.
        if not is_spanned(leaf[0]) or days_of(leaf).stop >= today:
            continue
        table = schema.leaf_table(leaf)
        expendable = await connection.fetchval(
            f"""SELECT EXISTS (
                SELECT FROM {table} r LEFT JOIN {generations.call} c ON c.place = r.place
                WHERE NOT coalesce({PROTECTED.format(now_us=now_us)}, false)
            )"""
        )
        if expendable:
            continue
        if moved := await _copy_out(connection, address, generations, table):
            return moved, None
        parent = table.rpartition("_")[0]
        await connection.execute(f"ALTER TABLE {parent} DETACH PARTITION {table} CONCURRENTLY")
        return await _drop(connection, table), leaf
    return 0, None


async def _copy_out(connection: Connection, address: Address, generations: Generations, table: str) -> int:
    """How many records were moved to where age does not count."""
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", address.number_of("upkeep"))
        rows = await connection.fetch(
            f"""WITH moved AS (
                DELETE FROM {table}
                WHERE place IN (SELECT place FROM {table} ORDER BY place LIMIT {MOVED_RECORDS})
                RETURNING {_COLUMNS}
            ) INSERT INTO record (class, day, {_COLUMNS})
            SELECT {KEPT}, 0, {_COLUMNS} FROM moved RETURNING place"""
        )
        places = [row[0] for row in rows]
        if places:
            for name, kind in (("calls", "call"), ("events", "event")):
                assert name in VERSIONS
                for generation in generations.written(name):
                    await connection.execute(
                        f"UPDATE {kind}_{generation} SET class = {KEPT}, day = 0 WHERE place = ANY ($1)",
                        places,
                    )
        return len(places)


async def _detached(connection: Connection) -> list[str]:
    """Leaves that were detached, and not dropped since."""
    rows = await connection.fetch(
        r"""SELECT c.relname FROM pg_class c WHERE c.relnamespace = current_schema()::regnamespace
        AND c.relkind = 'r' AND NOT c.relispartition AND c.relname ~ '^record_[a-z0-9]+_[0-9]+$'"""
    )
    return [row[0] for row in rows]


async def _drop(connection: Connection, table: str) -> int:
    pages: int = await connection.fetchval(
        "SELECT greatest(1, pg_total_relation_size($1::text::regclass) / 8192)::bigint", table
    )
    await connection.execute(f"DROP TABLE {table}")
    return pages
