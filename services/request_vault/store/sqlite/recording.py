"""Writing the log: observations in batches, decisions with an expected version. Both run inside the
writer's transaction.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import msgspec

from bus import codec
from bus.errors import BusError, Malformed, Refused, Reject
from bus.event import Event
from schemas.request_vault import ANY_VERSION, Appended, Position
from schemas.traffic_gateway import CallCaptured
from services.request_vault.domain.calls import CallRow, call_row
from services.request_vault.domain.recording import (
    DECISIONS,
    category_of,
    check_decision,
    check_recordable,
    checksum,
    content_hash,
    partition_of,
    stream_of,
    to_us,
)
from services.request_vault.store.port import Ingested
from services.request_vault.store.sqlite.ledger import Ledger
from services.request_vault.store.sqlite.rows import fetch, insert_rows, json_list, select
from services.request_vault.store.sqlite.schema import NUMBER_MASK, PARTITION_SHIFT

MAX_DECISIONS = 1000

_RECORD_WIDTH = 15
_SEEN_WIDTH = 4
_CALL_WIDTH = 1 + len(CallRow._fields)


class _Seen(msgspec.Struct, array_like=True):
    id: str
    source: str
    place: int
    content: str


class _Head(msgspec.Struct, array_like=True):
    stream: str
    version: int
    place: int


_seen_decoder = msgspec.json.Decoder(list[_Seen])
_head_decoder = msgspec.json.Decoder(list[_Head])

_SEEN = select(
    "s.id, s.source, s.place, hex(s.content)", "json_each(?) w CROSS JOIN seen s ON s.id = w.value"
)
_HEADS = select(
    "h.stream, r.version, r.place",
    """(
    SELECT w.value AS stream,
           (SELECT n.place FROM record n WHERE n.stream = w.value ORDER BY n.version DESC LIMIT 1) AS place
    FROM json_each(?) w
    ) h CROSS JOIN record r ON r.place = h.place""",
)
_PLACES = select("r.stream, r.version, r.place", "json_each(?) w CROSS JOIN record r ON r.place = w.value")


class _Rows:
    """The rows of one transaction, flat, as `insert_rows` takes them."""

    def __init__(self, connection: sqlite3.Connection, ledger: Ledger, now_us: int) -> None:
        self._connection = connection
        self._ledger = ledger
        self._recorded_us = ledger.tick(now_us)
        self._records: list[object] = []
        self._seen: list[object] = []
        self._calls: list[object] = []

    def add(
        self,
        event: Event,
        encoded: bytes,
        content: bytes,
        partition: int,
        stream: str,
        version: int,
        call: CallRow | None = None,
        category: str | None = None,
    ) -> int:
        """The number that the event was given."""
        ledger = self._ledger
        number = ledger.numbers[partition] = ledger.numbers[partition] + 1
        place = partition << PARTITION_SHIFT | number
        prev = None
        if category is not None:
            prev = ledger.categories.get(category)
            ledger.categories[category] = number
        self._records += (
            place,
            stream,
            version,
            category,
            prev,
            ledger.types.get(event.type) or ledger.type_number(self._connection, event.type),
            event.key,
            event.subject,
            event.correlationid,
            to_us(event.time),
            self._recorded_us,
            checksum(partition, number, stream, version, prev, self._recorded_us, encoded),
            None,
            None,
            encoded,
        )
        self._seen += (event.id, event.source, place, content)
        if call is not None:
            ledger.calls[partition] += 1
            self._calls.append(place)
            self._calls += call
        return number

    def insert(self) -> None:
        insert_rows(self._connection, "record", _RECORD_WIDTH, self._records)
        insert_rows(self._connection, "seen", _SEEN_WIDTH, self._seen)
        insert_rows(self._connection, "call", _CALL_WIDTH, self._calls)


def record(connection: sqlite3.Connection, ledger: Ledger, events: Sequence[Event], now_us: int) -> Ingested:
    """`Store.record`."""
    refused: list[tuple[int, BusError]] = []
    fresh, repeated = _fresh(connection, ledger, events, refused)
    streams = {index: stream_of(event) for index, event, _ in fresh}
    versions = {head.stream: head for head in _heads(connection, list(set(streams.values())))}
    newest = {stream: head.version for stream, head in versions.items()}
    rows = _Rows(connection, ledger, now_us)
    calls: dict[str, tuple[int, Position]] = {}
    recorded = 0
    for index, event, content in fresh:
        stream = streams[index]
        head = versions.get(stream)
        try:
            if head is not None and head.place >> PARTITION_SHIFT == DECISIONS:
                raise Reject(
                    f"event {event.id} ({event.type}): stream {stream} holds decisions; "
                    "they are appended, not published"
                )
            call = call_row(event) if event.type == CallCaptured.TYPE else None
            encoded = codec.encode_event(event)
        except BusError as error:
            refused.append((index, error))
            continue
        partition = partition_of(event.key, ledger.partitions)
        version = newest[stream] = newest.get(stream, 0) + 1
        number = rows.add(event, encoded, content, partition, stream, version, call)
        recorded += 1
        if call is not None:
            calls[call.bucket] = (calls.get(call.bucket, (0,))[0] + 1, (partition, number))
    rows.insert()
    return Ingested(
        recorded=recorded, repeated=repeated, calls=calls, refused=sorted(refused, key=lambda each: each[0])
    )


def append(
    connection: sqlite3.Connection,
    ledger: Ledger,
    stream: str,
    expected_version: int,
    encoded: Sequence[bytes],
    now_us: int,
) -> Appended:
    """`Store.append`."""
    try:
        category = category_of(stream)
        events = _decisions(encoded)
    except Malformed as error:
        raise Refused("event-malformed", str(error)) from error
    contents = [content_hash(event) for event in events]
    known = _known(connection, events)
    if known:
        return _repeated(connection, stream, events, contents, known)
    heads = _heads(connection, [stream])
    version = heads[0].version if heads else 0
    if heads and heads[0].place >> PARTITION_SHIFT != DECISIONS:
        raise Refused("stream-observed", f"stream {stream} holds observations; nothing can be decided in it")
    if expected_version not in (ANY_VERSION, version):
        raise Refused(
            "version-conflict",
            f"stream {stream} is at version {version}, not {expected_version}: read it and decide again",
        )
    rows = _Rows(connection, ledger, now_us)
    positions: list[Position] = []
    for event, content in zip(events, contents, strict=True):
        version += 1
        whole = codec.encode_event(event)
        number = rows.add(event, whole, content, DECISIONS, stream, version, category=category)
        positions.append((DECISIONS, number))
    rows.insert()
    return Appended(stream, version, tuple(positions))


def _fresh(
    connection: sqlite3.Connection,
    ledger: Ledger,
    events: Sequence[Event],
    refused: list[tuple[int, BusError]],
) -> tuple[list[tuple[int, Event, bytes]], int]:
    """Those that are new, with their index and content hash, and how many were repeated; conflicts are
    `refused`."""
    repeated = 0
    fresh: dict[tuple[str, str], tuple[int, Event, bytes]] = {}
    for index, event in enumerate(events):
        try:
            if event.stamp is not None:
                _check_stamp(event, ledger)
                repeated += 1
                continue
            check_recordable(event)
        except BusError as error:
            refused.append((index, error))
            continue
        content = content_hash(event)
        first = fresh.setdefault((event.id, event.source), (index, event, content))
        if first[0] != index:
            if first[2] == content:
                repeated += 1
            else:
                refused.append((index, _conflict(event)))
    for (id, source), (_, recorded_content) in _known(
        connection, [event for _, event, _ in fresh.values()]
    ).items():
        index, event, content = fresh.pop((id, source))
        if content == recorded_content:
            repeated += 1
        else:
            refused.append((index, _conflict(event)))
    return list(fresh.values()), repeated


def _check_stamp(event: Event, ledger: Ledger) -> None:
    """What this vault published from its log is there. A stamp past the log's end means that the log is
    not the one it came from."""
    assert event.stamp is not None
    partition, number = event.stamp.position
    if partition != DECISIONS or number > ledger.numbers[DECISIONS]:
        raise Reject(
            f"event {event.id} ({event.type}) is stamped {event.stamp.position}, but this log ends at "
            f"{(DECISIONS, ledger.numbers[DECISIONS])}: was the vault restored from an older backup?"
        )


def _conflict(event: Event) -> Reject:
    return Reject(f"event {event.id} of {event.source} ({event.type}) was recorded before with other content")


def _known(
    connection: sqlite3.Connection, events: Sequence[Event]
) -> dict[tuple[str, str], tuple[int, bytes]]:
    """(id, source) -> place and content hash, of those that were recorded before."""
    if not events:
        return {}
    wanted = {(event.id, event.source) for event in events}
    found = fetch(connection, _SEEN, (json_list(list({event.id for event in events})),), _seen_decoder)
    return {
        (row.id, row.source): (row.place, bytes.fromhex(row.content))
        for row in found
        if (row.id, row.source) in wanted
    }


def _heads(connection: sqlite3.Connection, streams: list[str]) -> list[_Head]:
    return fetch(connection, _HEADS, (json_list(streams),), _head_decoder) if streams else []


def _decisions(encoded: Sequence[bytes]) -> list[Event]:
    """Raises Malformed."""
    if not 1 <= len(encoded) <= MAX_DECISIONS:
        raise Malformed(f"{len(encoded)} events to append; it takes 1 to {MAX_DECISIONS}")
    events = []
    for raw in encoded:
        (event,) = codec.decode_batch(codec.join_batch([raw]))
        check_decision(event, len(raw))
        events.append(event)
    if len({event.identity for event in events}) < len(events):
        raise Malformed("two of the events to append have the same id and source")
    return events


def _repeated(
    connection: sqlite3.Connection,
    stream: str,
    events: Sequence[Event],
    contents: Sequence[bytes],
    known: dict[tuple[str, str], tuple[int, bytes]],
) -> Appended:
    """The answer of the first time. Raises Refused unless these very events were appended to this stream."""
    places: list[int] = []
    for event, content in zip(events, contents, strict=True):
        place, recorded_content = known.get((event.id, event.source), (0, b""))
        if recorded_content != content:
            what = (
                "was recorded before with other content"
                if place
                else "is new, but others of this append were recorded before"
            )
            raise Refused("event-conflict", f"event {event.id} of {event.source} ({event.type}) {what}")
        places.append(place)
    records = fetch(connection, _PLACES, (json_list(places),), _head_decoder)
    if len(records) < len(places) or any(
        row.stream != stream or row.place >> PARTITION_SHIFT != DECISIONS for row in records
    ):
        raise Refused(
            "event-conflict", f"these events were recorded before, but not as decisions of stream {stream}"
        )
    positions = tuple((DECISIONS, place & NUMBER_MASK) for place in places)
    return Appended(stream, max(row.version for row in records), positions, repeated=True)
