"""What the text index reads from the log's file: the calls that it lacks, and how much of what it has is
gone."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence

import msgspec

from services.request_vault.store.port import TextSource
from services.request_vault.store.sqlite.models import Generations
from services.request_vault.store.sqlite.places import PARTITION_SHIFT, position_of
from services.request_vault.store.sqlite.rows import fetch, json_list, select

STEP_BYTES = 1024 * 1024


class Source(msgspec.Struct, frozen=True):
    """Calls in order of place. through: the place up to which these are all, but for those that were erased.
    digest: of the record there, if there is one. more: whether there are more."""

    calls: tuple[TextSource, ...]
    after: int
    through: int
    erased: int
    digest: bytes | None
    more: bool


_row_decoder = msgspec.json.Decoder(list[tuple[int, int, int]])
_hex_decoder = msgspec.json.Decoder(list[tuple[str]])
_count_decoder = msgspec.json.Decoder(list[tuple[int]])

_EVENTS = select("hex(r.event)", "json_each(?) w CROSS JOIN record r ON r.place = w.value")
_TOMBSTONES = select(
    "(SELECT count(*) FROM tombstone t WHERE t.place >= w.value ->> 0 AND t.place <= w.value ->> 1)",
    "json_each(?) w",
)


def calls_between(
    connection: sqlite3.Connection, generations: Generations, after: int, until: int | None, limit: int
) -> Source:
    """The first calls with after < place <= until (None: to the partition's end), at most `limit` and about
    STEP_BYTES."""
    if until is None:
        partition = after >> PARTITION_SHIFT
        (number,) = connection.execute("SELECT number FROM head WHERE partition = ?", (partition,)).fetchone()
        until = partition << PARTITION_SHIFT | number
    rows = fetch(
        connection,
        select(
            "place, recorded_us, bytes",
            f"""(SELECT c.place, r.recorded_us, length(r.event) AS bytes
                FROM {generations.call} c CROSS JOIN record r ON r.place = c.place
                WHERE c.place > ? AND c.place <= ? ORDER BY c.place LIMIT ?)""",
        ),
        (after, until, limit),
        _row_decoder,
    )
    kept = rows[: _fitting(rows)]
    through = until if len(kept) == len(rows) < limit else kept[-1][0]
    (digest, erased) = connection.execute(
        """SELECT (SELECT digest FROM record WHERE place = :through),
            (SELECT count(*) FROM tombstone WHERE place > :after AND place <= :through)""",
        {"after": after, "through": through},
    ).fetchone()
    return Source(_with_events(connection, kept), after, through, erased, digest, through < until)


def calls_at(
    connection: sqlite3.Connection, generations: Generations, places: Sequence[int]
) -> tuple[TextSource, ...]:
    """Those of these calls that are still there."""
    rows = fetch(
        connection,
        select(
            "place, recorded_us, 0",
            f"""(SELECT c.place, r.recorded_us FROM json_each(?) w
                CROSS JOIN {generations.call} c ON c.place = w.value
                CROSS JOIN record r ON r.place = c.place)""",
        ),
        (json_list(places),),
        _row_decoder,
    )
    return _with_events(connection, rows)


def tombstones(connection: sqlite3.Connection, ranges: Sequence[tuple[int, int]]) -> list[int]:
    """How many records were erased in each range of places, both ends inclusive."""
    asked = (msgspec.json.encode(ranges).decode(),)
    return [count for (count,) in fetch(connection, _TOMBSTONES, asked, _count_decoder)]


def live_calls(connection: sqlite3.Connection, generations: Generations, first: int, last: int) -> int:
    (count,) = connection.execute(
        f"SELECT count(*) FROM {generations.call} WHERE place >= ? AND place <= ?", (first, last)
    ).fetchone()
    return int(count)


def is_of(
    connection: sqlite3.Connection, reach: Mapping[int, int], proofs: Sequence[tuple[int, bytes]]
) -> bool:
    """Whether an index that has come so far, and saw these digests at these places, is of this log."""
    heads = dict(connection.execute("SELECT partition, number FROM head").fetchall())
    for partition, place in reach.items():
        if position_of(place)[1] > heads.get(partition, -1):
            return False
    for place, digest in proofs:
        row = connection.execute(
            """SELECT digest FROM record WHERE place = :p
            UNION ALL SELECT digest FROM tombstone WHERE place = :p""",
            {"p": place},
        ).fetchone()
        if row is not None and row[0] != digest:
            return False
    return True


def _fitting(rows: list[tuple[int, int, int]]) -> int:
    size = 0
    for count, (_, _, event_bytes) in enumerate(rows):
        size += event_bytes
        if size > STEP_BYTES and count:
            return count
    return len(rows)


def _with_events(connection: sqlite3.Connection, rows: list[tuple[int, int, int]]) -> tuple[TextSource, ...]:
    if not rows:
        return ()
    events = fetch(connection, _EVENTS, (json_list([place for place, *_ in rows]),), _hex_decoder)
    return tuple(
        TextSource(position_of(place), recorded_us, bytes.fromhex(text))
        for (place, recorded_us, _), (text,) in zip(rows, events, strict=True)
    )
