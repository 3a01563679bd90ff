"""Whether the tables are sound: whatever is neither a link of the log, which `domain.verifying` proves, nor
folded from it, which `comparing` does.

Reads everything inside one reading transaction.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from services.request_vault.domain import chain
from services.request_vault.domain.links import Identity, checksum_of_identity, checksum_of_mark
from services.request_vault.store.postgres import schema
from services.request_vault.store.postgres.comparing import compare
from services.request_vault.store.postgres.connections import Connection
from services.request_vault.store.postgres.known import stream_key
from services.request_vault.store.postgres.models import VERSIONS
from services.request_vault.store.postgres.places import NUMBER_MASK, PARTITION_SHIFT, position_of

MOST = 100
"""Problems that are told; a vault with more is told to have more."""
_PAGE = 1000

# Where each number of a partition is: as a record, a tombstone or part of an anchor.
_COUNTED = f"""
SELECT place >> {PARTITION_SHIFT} AS partition, sum(count)::bigint, min(place & {NUMBER_MASK}),
max(last & {NUMBER_MASK}) FROM (
    SELECT place, place AS last, 1 AS count FROM record
    UNION ALL SELECT place, place, 1 FROM tombstone
    UNION ALL SELECT place, last, last - place + 1 FROM anchor
) n GROUP BY partition
"""
_STRAY_IDENTITIES = """
SELECT s.place FROM seen s WHERE s.gone_us IS NOT NULL
AND NOT EXISTS (SELECT FROM tombstone t WHERE t.place = s.place)
AND NOT coalesce(
    (SELECT a.last >= s.place FROM anchor a WHERE a.place <= s.place ORDER BY a.place DESC LIMIT 1), false)
LIMIT 100
"""
_STREAMS = f"""
SELECT stream, max(version), bool_or(place >> {PARTITION_SHIFT} = 0) FROM (
    SELECT stream, version, place FROM record UNION ALL SELECT stream, version, place FROM tombstone
) n GROUP BY stream
"""
_CATEGORIES = """
SELECT coalesce(n.name, c.name), n.number, c.number FROM (
    SELECT category AS name, max(place) AS number FROM (
        SELECT category, place FROM record WHERE category IS NOT NULL
        UNION ALL SELECT category, place FROM tombstone WHERE category IS NOT NULL
    ) d GROUP BY category
) n FULL JOIN category c ON c.name = n.name WHERE n.number IS DISTINCT FROM c.number
"""


async def check(connection: Connection) -> list[str]:
    """`Archive.check`."""
    # Whole tables are read here, and compared as sets.
    await connection.execute(
        "SET LOCAL enable_seqscan = on; SET LOCAL enable_sort = on; SET LOCAL enable_hashjoin = on; "
        "SET LOCAL enable_mergejoin = on"
    )
    problems: list[str] = []
    for look in (_models, _numbers, _seals, _checkpoints, _identities, _streams, _categories, compare):
        told = 0
        async for problem in look(connection):
            problems.append(problem)
            told += 1
            if told == MOST:
                break
    if len(problems) > MOST:
        problems[MOST:] = ["and more"]
    return problems


async def _models(connection: Connection) -> AsyncIterator[str]:
    names = [row[0] for row in await connection.fetch("SELECT name FROM model ORDER BY name")]
    if names != sorted(VERSIONS):
        yield f"there are read models {names}"


async def _numbers(connection: Connection) -> AsyncIterator[str]:
    heads = {row[0]: row[1] for row in await connection.fetch("SELECT partition, number FROM head")}
    if sorted(heads) != list(range(len(heads))) or len(heads) < 2:
        yield f"there are partitions {sorted(heads)}"
    counted = {row[0]: tuple(row)[1:] for row in await connection.fetch(_COUNTED, timeout=3600)}
    for partition in sorted(heads.keys() | counted.keys()):
        head = heads.get(partition, 0)
        count, first, last = counted.get(partition, (0, 1, 0))
        if (count, first, last) != (head, 1, head):
            yield f"partition {partition} ends at {head}, but holds {count} numbers from {first} to {last}"


async def _seals(connection: Connection) -> AsyncIterator[str]:
    heads = await connection.fetch("SELECT number FROM head")
    expected = sum(row[0] // chain.SEGMENT for row in heads)
    count = await connection.fetchval("SELECT count(*) FROM seal")
    if count != expected:
        yield f"there are {count} seals, not {expected}"


async def _checkpoints(connection: Connection) -> AsyncIterator[str]:
    rows = await connection.fetch("SELECT name, number, checksum FROM checkpoint")
    if sorted(row[0] for row in rows) != sorted(schema.CHECKPOINTS):
        yield f"there are checkpoints {sorted(row[0] for row in rows)}"
    for name, number, checksum in rows:
        if checksum != checksum_of_mark(name, number):
            yield f"checkpoint {name} does not match its checksum"


async def _identities(connection: Connection) -> AsyncIterator[str]:
    """Those of records that are gone."""
    after = -1
    while rows := await connection.fetch(
        """SELECT id, source, place, content, gone_us, time_us, checksum FROM seen
        WHERE gone_us IS NOT NULL AND place > $1 ORDER BY place LIMIT $2""",
        after,
        _PAGE,
    ):
        for id, source, place, content, gone_us, time_us, checksum in rows:
            partition, number = position_of(place)
            identity = Identity(number, id, source, content, gone_us, time_us, checksum)
            if checksum != checksum_of_identity(partition, identity):
                yield f"position {(partition, number)}: the identity that is left does not match its checksum"
        after = rows[-1][2]
    for (place,) in await connection.fetch(_STRAY_IDENTITIES, timeout=3600):
        yield f"position {position_of(place)}: an identity was left, but nothing is gone there"


async def _streams(connection: Connection) -> AsyncIterator[str]:
    """Read with a cursor: there may be as many as records."""
    count = 0
    async for stream, version, decided in connection.cursor(_STREAMS, prefetch=_PAGE, timeout=3600):
        count += 1
        kept = await connection.fetchrow(
            "SELECT version, decided FROM stream WHERE name = $1", stream_key(stream)
        )
        if kept is None or tuple(kept) != (version, decided):
            told = kept and tuple(kept)
            yield f"stream {stream!r} is kept as {told}, but the log gives {(version, decided)}"
    if (held := await connection.fetchval("SELECT count(*) FROM stream", timeout=3600)) != count:
        yield f"there are {held} rows in stream, but the log gives {count}"


async def _categories(connection: Connection) -> AsyncIterator[str]:
    for name, expected, kept in await connection.fetch(_CATEGORIES):
        yield f"category {name!r} ends at {kept}, but the log gives {expected}"
