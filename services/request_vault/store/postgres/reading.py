"""Reading the log: pages of decisions and streams, the whole log by cursor, the tree of one event."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from bus import codec, topics
from bus.errors import Refused
from schemas.request_vault import BucketUsage, LogPage, Recorded
from services.request_vault.domain.cursors import Vector
from services.request_vault.domain.recording import DECISIONS, from_us
from services.request_vault.store import port
from services.request_vault.store.port import LogSlice, Selection, StoreStats, Trace
from services.request_vault.store.postgres.connections import Connection
from services.request_vault.store.postgres.known import stream_key
from services.request_vault.store.postgres.models import Generations
from services.request_vault.store.postgres.places import DECIDED, NUMBER_MASK, first_place, position_of
from services.request_vault.store.postgres.rows import columns_of, stored

_COLUMNS = "r.class, r.day, r.place, r.stream, r.version, r.recorded_us, r.prev, octet_length(r.event)"
_SAME_LEAF = "r.class = e.class AND r.day = e.day"
# Class and day of each record are known by now, so that one leaf is looked into for each, not all.
_EVENTS = """
SELECT r.event
FROM unnest($1::smallint[], $2::integer[], $3::bigint[]) WITH ORDINALITY w (class, day, place, nth)
JOIN record r ON r.class = w.class AND r.day = w.day AND r.place = w.place ORDER BY w.nth
"""


class _Row(NamedTuple):
    class_: int
    day: int
    place: int
    stream: str
    version: int
    recorded_us: int
    prev: int | None
    event_bytes: int


async def read_category(connection: Connection, category: str, after: int, limit: int) -> LogPage:
    found = await _rows(
        connection,
        f"record r WHERE r.class = {DECIDED} AND r.category = $1 AND r.place > $2 ORDER BY r.place LIMIT $3",
        stored(category),
        after,
        limit,
    )
    head = await connection.fetchval("SELECT number FROM category WHERE name = $1", stored(category))
    return await _page(connection, found, after, head or 0)


async def read_stream(
    connection: Connection, stream: str, after: int, limit: int, backwards: bool
) -> LogPage:
    """`Store.read_stream`."""
    row = await connection.fetchrow(
        "SELECT decided, version FROM stream WHERE name = $1", stored(stream_key(stream))
    )
    if row is None:
        return LogPage((), after, 0)
    decided, head = row
    beyond, order = ("<", "DESC") if backwards else (">", "ASC")
    found = await _rows(
        connection,
        f"""record r WHERE r.class {"=" if decided else "<>"} {DECIDED}
        AND left(r.stream, 200) = left($1, 200) AND r.stream = $1 AND r.version {beyond} $2
        ORDER BY r.version {order} LIMIT $3""",
        stored(stream),
        after or (NUMBER_MASK if backwards else 0),
        limit,
    )
    records = await _with_events(connection, _within_page(found))
    return LogPage(records, records[-1].version if records else after, head)


async def read_decisions(connection: Connection, after: int, limit: int) -> LogPage:
    found = await _rows(
        connection,
        f"record r WHERE r.class = {DECIDED} AND r.place > $1 ORDER BY r.place LIMIT $2",
        after,
        limit,
    )
    head = await connection.fetchval("SELECT number FROM head WHERE partition = $1", DECISIONS)
    return await _page(connection, found, after, head)


async def read_log(
    connection: Connection,
    generations: Generations,
    selection: Selection,
    after: Vector,
    limit: int,
    backwards: bool,
) -> LogSlice:
    """`Store.read_log`. A filter looks at SCAN_RECORDS of each partition, then gives the page it has."""
    heads = {row[0]: row[1] for row in await connection.fetch("SELECT partition, number FROM head")}
    conditions, parameters = await _conditions(connection, selection)
    source = "record r"
    if conditions:
        source = f"{generations.event} e JOIN record r ON {_SAME_LEAF} AND r.place = e.place"
    place = "e.place" if conditions else "r.place"
    window = port.SCAN_RECORDS if conditions and selection.correlation is None else NUMBER_MASK
    order = "DESC" if backwards else "ASC"
    found: list[_Row] = []
    reached: Vector = {}
    for partition, head in sorted(heads.items()):
        if backwards:
            last = min(after.get(partition, head + 1), head + 1) - 1
            first = max(last - window, 0) + 1
        else:
            first = after.get(partition, 0) + 1
            last = min(first - 1 + window, head)
        rows = []
        if first <= last:
            rows = await _rows(
                connection,
                f"""{source} WHERE r.class {"=" if partition == DECISIONS else "<>"} {DECIDED}
                AND {place} >= $1 AND {place} <= $2 {conditions} ORDER BY {place} {order} LIMIT $3""",
                first_place(partition) | first,
                first_place(partition) | last,
                limit,
                *parameters,
            )
        if len(rows) == limit:
            reached[partition] = rows[-1].place & NUMBER_MASK
        else:
            reached[partition] = first if backwards else max(first - 1, last)
        found += rows
    found.sort(key=lambda row: (row.recorded_us, row.place), reverse=backwards)
    kept = _within_page(found[:limit])
    for row in reversed(found[len(kept) :]):
        # Whatever lies between the last record that is kept and this one does not match.
        partition, number = position_of(row.place)
        reached[partition] = number + (1 if backwards else -1)
    more = any(
        number > 1 if backwards else number < heads[partition] for partition, number in reached.items()
    )
    return LogSlice(await _with_events(connection, kept), reached, more)


async def records_at(connection: Connection, places: Sequence[int]) -> tuple[Recorded, ...]:
    """The decisions at these places, newest first, as many as a page holds."""
    rows = await _rows(
        connection,
        f"record r WHERE r.class = {DECIDED} AND r.place = ANY ($1::bigint[]) ORDER BY r.place DESC",
        places,
    )
    return await _with_events(connection, _within_page(rows))


async def type_numbers(connection: Connection, patterns: Sequence[str]) -> list[int]:
    """What the read model calls the types that one of these topic patterns matches."""
    matches = topics.Matcher(tuple(patterns))
    return [row[0] for row in await connection.fetch("SELECT number, name FROM type") if matches(row[1])]


async def trace(connection: Connection, generations: Generations, id: str, limit: int) -> Trace:
    """`Store.trace`: the event that began it, then those that name it as their correlation."""
    event_rows = f"{generations.event} e JOIN record r ON {_SAME_LEAF} AND r.place = e.place"
    place = await _place_of(connection, generations, stored(id))
    of_id = [] if place is None else await _rows(connection, f"{event_rows} WHERE e.place = $1", place)
    if not of_id:
        raise Refused("event-unknown", f"the log has no event and no call {id[:80]!r}")
    (record,) = await _with_events(connection, of_id)
    event = codec.decode_event(record.event)
    root = event.correlationid or event.id
    found = await _rows(
        connection,
        f"""(SELECT place FROM {generations.event} WHERE correlation = $1
            UNION SELECT place FROM seen WHERE id = $1) w
        JOIN {generations.event} e ON e.place = w.place
        JOIN record r ON {_SAME_LEAF} AND r.place = e.place
        ORDER BY r.recorded_us, r.place LIMIT $2""",
        stored(root),
        limit + 1,
    )
    kept = _within_page(found[:limit])
    reached: Vector = dict(position_of(row.place) for row in kept)
    return Trace(root, LogSlice(await _with_events(connection, kept), reached, more=len(kept) < len(found)))


async def stats(connection: Connection) -> StoreStats:
    heads = await connection.fetch("SELECT number FROM head ORDER BY partition")
    usage = await connection.fetch(
        "SELECT key, records, calls, bytes FROM usage ORDER BY bytes DESC LIMIT 1000"
    )
    size_bytes = await connection.fetchval(
        """SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::bigint FROM pg_class
        WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r'"""
    )
    return StoreStats(
        events=sum(row[0] for row in heads),
        calls=await connection.fetchval("SELECT coalesce(sum(calls), 0)::bigint FROM usage"),
        size_bytes=size_bytes,
        partitions=tuple(row[0] for row in heads),
        published_to=await connection.fetchval("SELECT number FROM checkpoint WHERE name = 'published'"),
        usage=tuple(BucketUsage(*row) for row in usage),
    )


async def _place_of(connection: Connection, generations: Generations, id: str) -> int | None:
    place: int | None = await connection.fetchval(
        f"""SELECT coalesce(
            (SELECT min(s.place) FROM seen s WHERE s.id = $1 AND s.gone_us IS NULL),
            (SELECT c.place FROM {generations.call} c WHERE c.id = $1 ORDER BY c.place LIMIT 1)
        )""",
        id,
    )
    return place


async def _conditions(connection: Connection, selection: Selection) -> tuple[str, list[Any]]:
    """Over parameters from $4 on."""
    conditions = ""
    parameters: list[Any] = []

    def bind(value: Any) -> str:
        parameters.append(value)
        return f"${3 + len(parameters)}"

    if selection.types:
        numbers = await type_numbers(connection, selection.types)
        if len(numbers) == 1:
            conditions += f" AND e.type = {bind(numbers[0])}"
        else:
            conditions += f" AND e.type = ANY ({bind(numbers)}::integer[])"
    if selection.subject is not None:
        subject = bind(stored(selection.subject))
        conditions += f" AND left(e.subject, 200) = left({subject}, 200) AND e.subject = {subject}"
    for column, value in (("correlation", selection.correlation), ("key", selection.key)):
        if value is not None:
            conditions += f" AND e.{column} = {bind(stored(value))}"
    return conditions, parameters


async def _rows(connection: Connection, source: str, *parameters: Any) -> list[_Row]:
    return [_Row(*row) for row in await connection.fetch(f"SELECT {_COLUMNS} FROM {source}", *parameters)]


def _within_page(rows: list[_Row]) -> list[_Row]:
    """As many as port.PAGE_BYTES hold, at least one."""
    size = 0
    for count, row in enumerate(rows):
        size += row.event_bytes + len(row.stream) + 64
        if size > port.PAGE_BYTES and count:
            return rows[:count]
    return rows


async def _page(connection: Connection, found: list[_Row], after: int, head: int) -> LogPage:
    records = await _with_events(connection, _within_page(found))
    return LogPage(records, records[-1].position[1] if records else after, head)


async def _with_events(connection: Connection, rows: Sequence[_Row]) -> tuple[Recorded, ...]:
    if not rows:
        return ()
    events = await connection.fetch(
        _EVENTS, *columns_of([(row.class_, row.day, row.place) for row in rows], 3)
    )
    return tuple(
        Recorded(
            position=position_of(row.place),
            stream=row.stream,
            version=row.version,
            recorded_at=from_us(row.recorded_us),
            event=event[0],
            prev=row.prev,
        )
        for row, event in zip(rows, events, strict=True)
    )
