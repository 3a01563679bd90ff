"""Reading the log: pages of decisions and streams, the whole log by cursor, the tree of one event."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import msgspec

from bus import codec, topics
from bus.errors import Refused
from schemas.request_vault import BucketUsage, LogPage, Recorded
from services.request_vault.domain.cursors import Vector
from services.request_vault.domain.recording import DECISIONS, from_us
from services.request_vault.store import port
from services.request_vault.store.port import PAGE_BYTES, LogSlice, Selection, Trace
from services.request_vault.store.sqlite.models import Generations
from services.request_vault.store.sqlite.places import NUMBER_MASK, PARTITION_SHIFT
from services.request_vault.store.sqlite.rows import fetch, json_list, select


class _Row(msgspec.Struct, array_like=True):
    place: int
    stream: str
    version: int
    recorded_us: int
    prev: int | None
    event_bytes: int


_row_decoder = msgspec.json.Decoder(list[_Row])
_hex_decoder = msgspec.json.Decoder(list[tuple[str]])
_type_decoder = msgspec.json.Decoder(list[tuple[int, str]])
_head_decoder = msgspec.json.Decoder(list[tuple[int, int]])
_usage_decoder = msgspec.json.Decoder(list[tuple[str, int, int, int]])

_COLUMNS = "r.place, r.stream, r.version, r.recorded_us, r.prev, length(r.event)"
_EVENTS = select("hex(r.event)", "json_each(?) w CROSS JOIN record r ON r.place = w.value")
_TYPES = select("number, name", "type")
_HEADS = select("partition, number", "head")
_USAGE = select("key, records, calls, bytes", "(SELECT * FROM usage ORDER BY bytes DESC LIMIT 1000)")


def read_category(connection: sqlite3.Connection, category: str, after: int, limit: int) -> LogPage:
    found = _rows(
        connection,
        "record r INDEXED BY record_category WHERE r.category = ? AND r.place > ? ORDER BY r.place LIMIT ?",
        (category, after, limit),
    )
    # The head may have been erased: a follower that has applied it must not think that the log was cut.
    (head,) = connection.execute(
        """SELECT max(coalesce((SELECT max(place) FROM record WHERE category = :category), 0),
                      coalesce((SELECT max(place) FROM tombstone WHERE category = :category), 0))""",
        {"category": category},
    ).fetchone()
    return _page(connection, found, after, head or 0)


def read_stream(
    connection: sqlite3.Connection, stream: str, after: int, limit: int, backwards: bool
) -> LogPage:
    """`Store.read_stream`."""
    beyond, order = ("<", "DESC") if backwards else (">", "ASC")
    found = _rows(
        connection,
        f"record r WHERE r.stream = ? AND r.version {beyond} ? ORDER BY r.version {order} LIMIT ?",
        (stream, after or (NUMBER_MASK if backwards else 0), limit),
    )
    (head,) = connection.execute(
        """SELECT max(coalesce((SELECT max(version) FROM record WHERE stream = :stream), 0),
                      coalesce((SELECT max(version) FROM tombstone WHERE stream = :stream), 0))""",
        {"stream": stream},
    ).fetchone()
    records = _with_events(connection, _within_page(found))
    return LogPage(records, records[-1].version if records else after, head or 0)


def read_decisions(connection: sqlite3.Connection, after: int, limit: int) -> LogPage:
    end = (DECISIONS + 1) << PARTITION_SHIFT
    found = _rows(
        connection, "record r WHERE r.place > ? AND r.place < ? ORDER BY r.place LIMIT ?", (after, end, limit)
    )
    (head,) = connection.execute("SELECT number FROM head WHERE partition = ?", (DECISIONS,)).fetchone()
    return _page(connection, found, after, head)


def read_log(
    connection: sqlite3.Connection,
    generations: Generations,
    selection: Selection,
    after: Vector,
    limit: int,
    backwards: bool,
) -> LogSlice:
    """`Store.read_log`. A filter looks at SCAN_RECORDS of each partition, then gives the page it has."""
    heads = dict(fetch(connection, _HEADS, (), _head_decoder))
    conditions, parameters = _conditions(connection, selection)
    source = "record r"
    if conditions:
        source = f"{generations.event} e CROSS JOIN record r ON r.place = e.place"
    place = "e.place" if conditions else "r.place"
    window = port.SCAN_RECORDS if conditions and selection.correlation is None else NUMBER_MASK
    order = "DESC" if backwards else "ASC"
    found: list[_Row] = []
    reached: Vector = {}
    for partition, head in heads.items():
        if backwards:
            last = min(after.get(partition, head + 1), head + 1) - 1
            first = max(last - window, 0) + 1
        else:
            first = after.get(partition, 0) + 1
            last = min(first - 1 + window, head)
        rows = _rows(
            connection,
            f"{source} WHERE {place} BETWEEN ? AND ? {conditions} ORDER BY {place} {order} LIMIT ?",
            (partition << PARTITION_SHIFT | first, partition << PARTITION_SHIFT | last, *parameters, limit),
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
        reached[row.place >> PARTITION_SHIFT] = (row.place & NUMBER_MASK) + (1 if backwards else -1)
    more = any(
        number > 1 if backwards else number < heads[partition] for partition, number in reached.items()
    )
    return LogSlice(_with_events(connection, kept), reached, more)


def records_at(connection: sqlite3.Connection, places: Sequence[int]) -> tuple[Recorded, ...]:
    """The records at these places, newest first, as many as a page holds."""
    rows = _rows(connection, "json_each(?) w CROSS JOIN record r ON r.place = w.value", (json_list(places),))
    rows.sort(key=lambda row: row.place, reverse=True)
    return _with_events(connection, _within_page(rows))


def type_numbers(connection: sqlite3.Connection, patterns: Sequence[str]) -> list[int]:
    """What the read model calls the types that one of these topic patterns matches."""
    matches = topics.Matcher(tuple(patterns))
    return [number for number, name in fetch(connection, _TYPES, (), _type_decoder) if matches(name)]


def trace(connection: sqlite3.Connection, generations: Generations, id: str, limit: int) -> Trace:
    """`Store.trace`: the event that began it, then those that name it as their correlation."""
    place = _place_of(connection, generations, id)
    if place is None:
        raise Refused("event-unknown", f"the log has no event and no call {id[:80]!r}")
    (record,) = _with_events(connection, _rows(connection, "record r WHERE r.place = ?", (place,)))
    event = codec.decode_event(record.event)
    root = event.correlationid or event.id
    found = _rows(
        connection,
        f"""(SELECT place FROM {generations.event} WHERE correlation = ?
            UNION SELECT place FROM seen WHERE id = ?) e CROSS JOIN record r ON r.place = e.place"""
        " ORDER BY r.recorded_us, r.place LIMIT ?",
        (root, root, limit + 1),
    )
    kept = _within_page(found[:limit])
    reached: Vector = {}
    for row in kept:
        reached[row.place >> PARTITION_SHIFT] = row.place & NUMBER_MASK
    return Trace(root, LogSlice(_with_events(connection, kept), reached, more=len(kept) < len(found)))


def usage(connection: sqlite3.Connection) -> tuple[BucketUsage, ...]:
    return tuple(BucketUsage(*row) for row in fetch(connection, _USAGE, (), _usage_decoder))


def _place_of(connection: sqlite3.Connection, generations: Generations, id: str) -> int | None:
    row = connection.execute(
        f"""SELECT coalesce(
            (SELECT min(s.place) FROM seen s CROSS JOIN record r ON r.place = s.place WHERE s.id = :id),
            (SELECT min(place) FROM {generations.call} WHERE id = :id)
        )""",
        {"id": id},
    ).fetchone()
    place: int | None = row[0]
    return place


def _conditions(connection: sqlite3.Connection, selection: Selection) -> tuple[str, list[str]]:
    conditions = ""
    parameters: list[str] = []
    if selection.types:
        conditions += " AND e.type IN (SELECT value FROM json_each(?))"
        parameters.append(json_list(type_numbers(connection, selection.types)))
    for column, value in (
        ("subject", selection.subject), ("correlation", selection.correlation), ("key", selection.key)
    ):  # fmt: skip
        if value is not None:
            conditions += f" AND e.{column} = ?"
            parameters.append(value)
    return conditions, parameters


def _rows(connection: sqlite3.Connection, source: str, parameters: Sequence[str | int]) -> list[_Row]:
    return fetch(connection, _select(source), parameters, _row_decoder)


def _select(source: str) -> str:
    columns = "place, stream, version, recorded_us, prev, event_bytes"
    return select(columns, f"(SELECT {_COLUMNS} AS event_bytes FROM {source})")


def _within_page(rows: list[_Row]) -> list[_Row]:
    """As many as PAGE_BYTES hold, at least one."""
    size = 0
    for count, row in enumerate(rows):
        size += row.event_bytes + len(row.stream) + 64
        if size > PAGE_BYTES and count:
            return rows[:count]
    return rows


def _page(connection: sqlite3.Connection, found: list[_Row], after: int, head: int) -> LogPage:
    records = _with_events(connection, _within_page(found))
    return LogPage(records, records[-1].position[1] if records else after, head)


def _with_events(connection: sqlite3.Connection, rows: list[_Row]) -> tuple[Recorded, ...]:
    if not rows:
        return ()
    events = fetch(connection, _EVENTS, (json_list([row.place for row in rows]),), _hex_decoder)
    return tuple(
        Recorded(
            position=(row.place >> PARTITION_SHIFT, row.place & NUMBER_MASK),
            stream=row.stream,
            version=row.version,
            recorded_at=from_us(row.recorded_us),
            event=bytes.fromhex(text),
            prev=row.prev,
        )
        for row, (text,) in zip(rows, events, strict=True)
    )
