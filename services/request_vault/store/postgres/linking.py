"""The links of a partition, read from the tables (`domain.links`). Called inside a reading transaction."""

from __future__ import annotations

import msgspec

from services.request_vault.domain.links import Anchor, End, Gone, Identity, Kept, Link, Seal, last_number
from services.request_vault.store.postgres.connections import Connection
from services.request_vault.store.postgres.places import NUMBER_MASK, first_place
from services.request_vault.store.postgres.rows import columns_of

PAGE_LINK_BYTES = 4 * 1024 * 1024
ANCHORS = 64  # each may stand for a thousand identities

_KEPT_COLUMNS = "stream, version, category, prev, key, time_us, recorded_us, checksum, salt, digest, event"
_GONE_COLUMNS = "stream, version, category, prev, digest, gone_us, by, why, checksum"
_WITHIN = "place > $1 AND place <= $2 ORDER BY place LIMIT $3"
_ANCHORS = """
SELECT place, last, digests, gone_us, checksum FROM anchor
WHERE last > $1 AND place <= $2 AND place >= coalesce((SELECT max(place) FROM anchor WHERE place <= $1), 0)
ORDER BY place LIMIT $3
"""
_IDENTITIES = """
SELECT s.place, s.id, s.source, s.content, s.gone_us, s.time_us, s.checksum
FROM unnest($1::bigint[], $2::bigint[]) w (first, last)
JOIN seen s ON s.place >= w.first AND s.place <= w.last AND s.gone_us IS NOT NULL
"""


async def ends(connection: Connection) -> tuple[End, ...]:
    rows = await connection.fetch("SELECT partition, number, running, chain FROM head ORDER BY partition")
    return tuple(End(*row) for row in rows)


async def links(connection: Connection, partition: int, after: int, limit: int) -> list[Link]:
    """`Archive.links`."""
    base = first_place(partition)
    start, end = base | after, base | NUMBER_MASK
    sizes = await connection.fetch(
        f"SELECT place, octet_length(event), class, day FROM record WHERE {_WITHIN}", start, end, limit
    )
    records = _fitting([tuple(row) for row in sizes])
    gone = await connection.fetch(
        f"SELECT place, {_GONE_COLUMNS} FROM tombstone WHERE {_WITHIN}", start, end, limit
    )
    anchors = await connection.fetch(_ANCHORS, start, end, min(limit, ANCHORS))
    if len(records) < len(sizes) or len(records) == limit:
        end = records[-1][2]
    if len(gone) == limit:
        end = min(end, gone[-1][0])
    if len(anchors) == min(limit, ANCHORS):
        end = min(end, anchors[-1][1])
    found: list[Link] = await _kept(connection, partition, [record for record in records if record[2] <= end])
    gone = [row for row in gone if row[0] <= end]
    anchors = [row for row in anchors if row[1] <= end]
    identities = await _identities(
        connection, [(row[0], row[0]) for row in gone] + [(row[0], row[1]) for row in anchors]
    )
    of_number = {identity.number: identity for identity in identities}
    for place, *told in gone:
        number = place & NUMBER_MASK
        gone_here = Gone(partition, number, *told)
        found.append(msgspec.structs.replace(gone_here, identity=of_number.get(number)))
    for place, last_place, digests, gone_us, checksum in anchors:
        first, last = place & NUMBER_MASK, last_place & NUMBER_MASK
        inside = tuple(of_number[number] for number in range(first, last + 1) if number in of_number)
        found.append(Anchor(partition, first, last, digests, gone_us, checksum, inside))
    reached = max([last_number(link) for link in found], default=after)
    seals = await connection.fetch(
        "SELECT place, running, chain FROM seal WHERE place > $1 AND place <= $2",
        start,
        min(end, base | reached),
    )
    found += [Seal(partition, place & NUMBER_MASK, running, chain) for place, running, chain in seals]
    found.sort(key=lambda link: (last_number(link), isinstance(link, Seal)))
    return found


def _fitting(sizes: list[tuple[int, ...]]) -> list[tuple[int, int, int]]:
    """class, day and place of a page's records: as many as PAGE_LINK_BYTES hold, at least one."""
    kept: list[tuple[int, int, int]] = []
    size = 0
    for place, event_bytes, class_, day in sizes:
        size += event_bytes
        if size > PAGE_LINK_BYTES and kept:
            break
        kept.append((class_, day, place))
    return kept


async def _kept(connection: Connection, partition: int, records: list[tuple[int, int, int]]) -> list[Link]:
    columns = ", ".join(f"r.{name.strip()}" for name in _KEPT_COLUMNS.split(","))
    rows = await connection.fetch(
        f"""SELECT r.place, {columns}
        FROM unnest($1::smallint[], $2::integer[], $3::bigint[]) w (class, day, place)
        JOIN record r ON r.class = w.class AND r.day = w.day AND r.place = w.place""",
        *columns_of(records, 3),
    )
    return [Kept(partition, place & NUMBER_MASK, *told) for place, *told in rows]


async def _identities(connection: Connection, runs: list[tuple[int, int]]) -> list[Identity]:
    if not runs:
        return []
    rows = await connection.fetch(_IDENTITIES, *columns_of(runs, 2))
    return [Identity(place & NUMBER_MASK, *told) for place, *told in rows]
