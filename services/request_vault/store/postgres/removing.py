"""Taking records out of the log: what goes with them, and what stays so that the log can still be proved.

Runs inside an upkeep transaction, a small step at a time. A record takes its rows in every read model and
in the text index along; what it counted for is taken off `usage`. Its identity stays in `seen` until it is
forgotten, its digest in an anchor (trimmed) or a tombstone (erased).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from bus import codec
from bus.errors import Malformed
from schemas.traffic_gateway import CallCaptured
from services.request_vault.domain import chain
from services.request_vault.domain.links import (
    Anchor,
    Gone,
    Identity,
    checksum_of,
    checksum_of_mark,
    identity_of,
    with_trimmed,
)
from services.request_vault.domain.recording import DECISIONS
from services.request_vault.store.bodies.port import BodyName
from services.request_vault.store.postgres.connections import Connection
from services.request_vault.store.postgres.known import stream_key
from services.request_vault.store.postgres.models import Generations
from services.request_vault.store.postgres.models.building import note_change
from services.request_vault.store.postgres.models.removing import remove_rows
from services.request_vault.store.postgres.places import PARTITION_SHIFT, first_place, position_of
from services.request_vault.store.postgres.rows import columns_of, copy

_ANCHOR = ("place", "last", "digests", "gone_us", "checksum")
_TOMBSTONE = (
    "place", "stream", "version", "category", "prev", "digest", "gone_us", "by", "why", "checksum",
)  # fmt: skip
_LOCATED = "unnest($1::smallint[], $2::integer[], $3::bigint[]) w (class, day, place)"
_SAME = "r.class = w.class AND r.day = w.day AND r.place = w.place"
# Anchors that end right before, or begin right behind, runs of places.
_NEIGHBOURS = """
SELECT DISTINCT a.place, a.digests, a.gone_us FROM unnest($1::bigint[], $2::bigint[]) w (first, last)
JOIN LATERAL (
    SELECT * FROM anchor b WHERE b.place = w.last + 1
    UNION ALL
    SELECT * FROM (SELECT * FROM anchor b WHERE b.place < w.first ORDER BY b.place DESC LIMIT 1) n
    WHERE n.last = w.first - 1
) a ON true
"""
_LEAVE_SEEN = """
UPDATE seen s SET gone_us = w.gone_us, time_us = w.time_us, checksum = w.checksum
FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[])
w (id, source, gone_us, time_us, checksum) WHERE s.id = w.id AND s.source = w.source
"""
_TAKE_USAGE = """
UPDATE usage u SET records = u.records - w.records, calls = u.calls - w.calls, bytes = u.bytes - w.bytes
FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[]) w (key, records, calls, bytes)
WHERE u.key = w.key
"""
_LAST_VERSIONS = """
SELECT w.stream, greatest(
    (SELECT r.version FROM record r WHERE left(r.stream, 200) = left(w.stream, 200) AND r.stream = w.stream
     ORDER BY r.version DESC LIMIT 1),
    (SELECT t.version FROM tombstone t WHERE left(t.stream, 200) = left(w.stream, 200) AND t.stream = w.stream
     ORDER BY t.version DESC LIMIT 1)
) FROM unnest($1::text[]) w (stream)
"""
_FORGET = """
DELETE FROM seen WHERE (id, source) IN (
    SELECT id, source FROM seen WHERE gone_us < $1 ORDER BY gone_us LIMIT $2
) RETURNING place, time_us
"""


class Located(NamedTuple):
    """Where a record is: its leaf, and its place."""

    class_: int
    day: int
    place: int


class Removal(msgspec.Struct, frozen=True):
    """What a step took. bodies: those that no call names any more."""

    places: tuple[int, ...]
    calls: int
    bytes: int
    bodies: tuple[BodyName, ...]


class _Record(NamedTuple):
    place: int
    stream: str
    version: int
    category: str | None
    prev: int | None
    key: str
    digest: bytes
    event: bytes


async def remove(
    connection: Connection,
    generations: Generations,
    located: Iterable[Located],
    now_us: int,
    *,
    erased: tuple[str, str] | None = None,
) -> Removal:
    """Take these records out; those that are not there are passed over. erased: by whom and why; without,
    they leave anchors."""
    where = columns_of(sorted(set(located)), 3)
    columns = ", ".join(f"r.{name}" for name in _Record._fields)
    found = await connection.fetch(f"SELECT {columns} FROM {_LOCATED} JOIN record r ON {_SAME}", *where)
    records = sorted((_Record(*row) for row in found), key=lambda record: record.place)
    if not records:
        return Removal((), 0, 0, ())
    usage: dict[str, list[int]] = {}
    identities: list[Identity] = []
    for record in records:
        kind = ""
        try:
            event = codec.decode_event(record.event)
        except Malformed:
            pass  # its identity stays as it is; the log's verification names it
        else:
            kind = event.type
            identities.append(identity_of(position_of(record.place), event, now_us))
        if record.place >> PARTITION_SHIFT != DECISIONS:
            counted = usage.setdefault(record.key, [0, 0, 0])
            counted[0] += 1
            counted[1] += kind == CallCaptured.TYPE
            counted[2] += len(record.event)
    places = [record.place for record in records]
    heads = await _locked_streams(connection, records)
    await connection.execute(f"DELETE FROM record r USING {_LOCATED} WHERE {_SAME}", *where)
    await connection.execute(
        _LEAVE_SEEN,
        *columns_of(
            [(each.id, each.source, each.gone_us, each.time_us, each.checksum) for each in identities], 5
        ),
    )
    unnamed = await remove_rows(connection, generations, places)
    if erased is None:
        await _leave_anchors(connection, records, now_us)
    else:
        await insert_tombstones(connection, _tombstones(records, now_us, *erased))
    await _set_streams(connection, heads, records)
    if usage:
        await connection.execute(_TAKE_USAGE, *columns_of([(key, *usage[key]) for key in sorted(usage)], 4))
        await connection.execute("DELETE FROM usage WHERE key = ANY ($1) AND records = 0", sorted(usage))
    return Removal(
        tuple(places),
        sum(calls for _, calls, _ in usage.values()),
        sum(bytes_ for *_, bytes_ in usage.values()),
        tuple(BodyName(*name) for name in unnamed),
    )


async def forget(connection: Connection, before_us: int, most: int) -> int:
    """`Store.forget`."""
    rows = await connection.fetch(_FORGET, before_us, most)
    observed = [time_us for place, time_us in rows if place >> PARTITION_SHIFT != DECISIONS]
    # An event from the future must not shut out those of today.
    await raise_floor(connection, min(max(observed, default=0), before_us))
    return len(rows)


async def floor_us(connection: Connection) -> int:
    """`Archive.floor_us`."""
    floor: int = await connection.fetchval("SELECT number FROM checkpoint WHERE name = 'floor'")
    return floor


async def raise_floor(connection: Connection, newest_us: int) -> None:
    """`Store.raise_floor`."""
    if newest_us > await floor_us(connection):
        await note_change(connection)
        await connection.execute(
            "UPDATE checkpoint SET number = $1, checksum = $2 WHERE name = 'floor' AND number < $1",
            newest_us,
            checksum_of_mark("floor", newest_us),
        )


async def insert_anchors(connection: Connection, anchors: Iterable[Anchor]) -> None:
    rows = [
        (
            first_place(each.partition) | each.first,
            first_place(each.partition) | each.last,
            each.digests,
            each.gone_us,
            each.checksum,
        )
        for each in anchors
    ]
    await copy(connection, "anchor", _ANCHOR, rows)


async def insert_tombstones(connection: Connection, gone: Iterable[Gone]) -> None:
    rows = [
        (
            first_place(each.partition) | each.number, each.stream, each.version, each.category, each.prev,
            each.digest, each.gone_us, each.by, each.why, each.checksum,
        )
        for each in gone
    ]  # fmt: skip
    await copy(connection, "tombstone", _TOMBSTONE, rows)


async def _locked_streams(connection: Connection, records: Sequence[_Record]) -> dict[str, int]:
    """The newest versions of the records' streams, by key; nobody adds to them until the transaction ends."""
    keys = sorted({stream_key(record.stream) for record in records})
    rows = await connection.fetch(
        "SELECT name, version FROM stream WHERE name = ANY ($1::text[]) ORDER BY name FOR UPDATE", keys
    )
    return {row[0]: row[1] for row in rows}


async def _set_streams(connection: Connection, heads: dict[str, int], records: Sequence[_Record]) -> None:
    """Streams whose newest records went end at what is left of them, a tombstone included; one of which
    nothing is left is no more."""
    cut = {record.stream for record in records if heads.get(stream_key(record.stream)) == record.version}
    if not cut:
        return
    rows = await connection.fetch(_LAST_VERSIONS, sorted(cut))
    left = [(stream_key(stream), version) for stream, version in rows if version is not None]
    gone = [stream_key(stream) for stream, version in rows if version is None]
    await connection.execute(
        "UPDATE stream s SET version = w.version FROM unnest($1::text[], $2::bigint[]) w (name, version) "
        "WHERE s.name = w.name",
        *columns_of(left, 2),
    )
    await connection.execute("DELETE FROM stream WHERE name = ANY ($1::text[])", gone)


async def _leave_anchors(connection: Connection, records: Sequence[_Record], now_us: int) -> None:
    runs: list[list[int]] = []
    by_partition: dict[int, list[tuple[int, bytes]]] = {}
    for record in records:
        partition, number = position_of(record.place)
        by_partition.setdefault(partition, []).append((number, record.digest))
        if runs and runs[-1][1] == record.place - 1:
            runs[-1][1] = record.place
        else:
            runs.append([record.place, record.place])
    near: dict[int, dict[int, Anchor]] = {}
    for place, digests, gone_us in await connection.fetch(_NEIGHBOURS, *columns_of(runs, 2)):
        partition, first = position_of(place)
        if partition in by_partition and digests:
            last = first + len(digests) // chain.DIGEST_BYTES - 1
            near.setdefault(partition, {})[first] = Anchor(partition, first, last, digests, gone_us, 0)
    before = [first_place(partition) | first for partition, each in near.items() for first in each]
    if before:
        await connection.execute("DELETE FROM anchor WHERE place = ANY ($1)", before)
    for partition, trimmed in by_partition.items():
        anchors = list(near.get(partition, {}).values())
        await insert_anchors(connection, with_trimmed(partition, anchors, trimmed, now_us))


def _tombstones(records: Sequence[_Record], now_us: int, by: str, why: str) -> list[Gone]:
    gone = []
    for record in records:
        bare = Gone(
            *position_of(record.place), record.stream, record.version, record.category, record.prev,
            record.digest, now_us, by, why, 0,
        )  # fmt: skip
        gone.append(msgspec.structs.replace(bare, checksum=checksum_of(bare)))
    return gone
