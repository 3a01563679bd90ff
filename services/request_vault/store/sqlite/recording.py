"""Writing the log: observations in batches, decisions with an expected version. Both run inside the
writer's transaction.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from typing import Any

import msgspec

from bus import codec
from bus.errors import BusError, Malformed, Refused, Reject
from bus.event import Event
from schemas.request_vault import ANY_VERSION, Appended, Position, StreamWrite
from schemas.traffic_gateway import CallCaptured
from services.request_vault.domain import chain
from services.request_vault.domain.calls import CallEntry, call_entry
from services.request_vault.domain.links import Kept, Seal
from services.request_vault.domain.marking import check_marks
from services.request_vault.domain.recording import (
    DECISIONS,
    Write,
    check_recordable,
    checked_writes,
    checksum,
    conflict,
    content_hash,
    forgotten,
    partition_of,
    stream_of,
    to_us,
)
from services.request_vault.store.port import Ingested
from services.request_vault.store.sqlite.ledger import Ledger
from services.request_vault.store.sqlite.models import NewRows
from services.request_vault.store.sqlite.places import NUMBER_MASK, PARTITION_SHIFT
from services.request_vault.store.sqlite.rows import fetch, insert_rows, json_list, select

_RECORD_WIDTH = 12
_SEEN_WIDTH = 7
_SEAL_WIDTH = 3
_ADD_USAGE = """
INSERT INTO usage VALUES (?, ?, ?, ?) ON CONFLICT (key) DO UPDATE
SET records = records + excluded.records, calls = calls + excluded.calls, bytes = bytes + excluded.bytes
"""


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
    "h.stream, max(coalesce(r.version, 0), coalesce(t.version, 0)), coalesce(h.place, h.erased)",
    """(
    SELECT w.value AS stream,
           (SELECT n.place FROM record n WHERE n.stream = w.value ORDER BY n.version DESC LIMIT 1) AS place,
           (SELECT t.place FROM tombstone t WHERE t.stream = w.value ORDER BY t.version DESC LIMIT 1)
               AS erased
    FROM json_each(?) w
    ) h LEFT JOIN record r ON r.place = h.place LEFT JOIN tombstone t ON t.place = h.erased
    WHERE h.place IS NOT NULL OR h.erased IS NOT NULL""",
)
_PLACES = select(
    "coalesce(r.stream, t.stream), coalesce(r.version, t.version), w.value",
    """json_each(?) w LEFT JOIN record r ON r.place = w.value LEFT JOIN tombstone t ON t.place = w.value
    WHERE r.place IS NOT NULL OR t.place IS NOT NULL""",
)


class Rows:
    """The rows of one transaction, flat, as `insert_rows` takes them."""

    def __init__(self, connection: sqlite3.Connection, ledger: Ledger, now_us: int, most: int) -> None:
        self._connection = connection
        self._ledger = ledger
        self._recorded_us = ledger.tick(now_us)
        self._salts = os.urandom(most * chain.SALT_BYTES)
        self._records: list[object] = []
        self._seen: list[object] = []
        self._seals: list[Any] = []
        self._usage: dict[str, list[int]] = {}
        self._models = NewRows(ledger.generations)

    def add(
        self,
        event: Event,
        encoded: bytes,
        content: bytes,
        partition: int,
        stream: str,
        version: int,
        call: CallEntry | None = None,
        category: str | None = None,
    ) -> int:
        """The number that the event was given."""
        ledger = self._ledger
        number = ledger.numbers[partition] + 1
        prev = None if category is None else ledger.categories.get(category)
        at = len(self._seen) // _SEEN_WIDTH * chain.SALT_BYTES
        salt = self._salts[at : at + chain.SALT_BYTES]
        recorded_us = self._recorded_us
        digest = chain.record_digest(salt, partition, number, stream, version, prev, recorded_us, encoded)
        crc = checksum(partition, number, stream, version, prev, recorded_us, encoded)
        time_us = to_us(event.time)
        kept = Kept(
            partition, number, stream, version, category, prev, event.key, time_us, recorded_us, crc, salt,
            digest, encoded,
        )  # fmt: skip
        self.put(kept, event, content, call)
        return number

    def put(self, kept: Kept, event: Event, content: bytes, call: CallEntry | None) -> None:
        """A record, at the place that it has: the next one of its partition."""
        ledger = self._ledger
        partition, number = kept.partition, kept.number
        place = partition << PARTITION_SHIFT | number
        ledger.numbers[partition] = number
        if kept.category is not None:
            ledger.categories[kept.category] = number
        self.chain_on(partition, number, kept.digest)
        self._records += (
            place,
            kept.stream,
            kept.version,
            kept.category,
            kept.prev,
            kept.key,
            kept.time_us,
            kept.recorded_us,
            kept.checksum,
            kept.salt,
            kept.digest,
            kept.event,
        )
        self._seen += (event.id, event.source, place, content, None, None, None)
        type_number = ledger.types.get(event.type) or ledger.type_number(self._connection, event.type)
        self._models.add(place, event, type_number, call, kept.category)
        if kept.category is None:
            usage = self._usage.setdefault(event.key, [0, 0, 0])
            usage[0] += 1
            usage[1] += call is not None
            usage[2] += len(kept.event)

    def insert(self) -> None:
        insert_rows(self._connection, "record", _RECORD_WIDTH, self._records)
        insert_rows(self._connection, "seen", _SEEN_WIDTH, self._seen)
        insert_rows(self._connection, "seal", _SEAL_WIDTH, self._seals)
        self._models.insert(self._connection)
        for key, (records, calls, bytes_) in self._usage.items():
            self._connection.execute(_ADD_USAGE, (key, records, calls, bytes_))

    def chain_on(self, partition: int, number: int, digest: bytes) -> None:
        """One more digest; the segment is sealed when it is full."""
        running = chain.run_on(self._ledger.runnings[partition], digest)
        if chain.ends_segment(number):
            self.seal(partition, number, running)
        else:
            self._ledger.runnings[partition] = running

    def seal(self, partition: int, number: int, running: bytes) -> None:
        ledger = self._ledger
        ledger.chains[partition] = chain.sealed(ledger.chains[partition], running)
        ledger.runnings[partition] = chain.START
        self._seals += (partition << PARTITION_SHIFT | number, running, ledger.chains[partition])

    def sealed(self, partition: int) -> Seal | None:
        """The newest seal among these rows, which is of this partition."""
        if not self._seals:
            return None
        place, running, chained = self._seals[-_SEAL_WIDTH:]
        return Seal(partition, place & NUMBER_MASK, running, chained)


def record(connection: sqlite3.Connection, ledger: Ledger, events: Sequence[Event], now_us: int) -> Ingested:
    """`Store.record`."""
    refused: list[tuple[int, BusError]] = []
    fresh, repeated = _fresh(connection, ledger, events, refused)
    streams = {index: stream_of(event) for index, event, _ in fresh}
    versions = {head.stream: head for head in _heads(connection, list(set(streams.values())))}
    newest = {stream: head.version for stream, head in versions.items()}
    rows = Rows(connection, ledger, now_us, len(fresh))
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
            call = call_entry(event) if event.type == CallCaptured.TYPE else None
            encoded = codec.encode_event(event)
        except BusError as error:
            refused.append((index, error))
            continue
        partition = partition_of(event.key, ledger.partitions)
        version = newest[stream] = newest.get(stream, 0) + 1
        number = rows.add(event, encoded, content, partition, stream, version, call)
        recorded += 1
        if call is not None:
            calls[event.key] = (calls.get(event.key, (0,))[0] + 1, (partition, number))
    rows.insert()
    return Ingested(
        recorded=recorded, repeated=repeated, calls=calls, refused=sorted(refused, key=lambda each: each[0])
    )


def append(
    connection: sqlite3.Connection, ledger: Ledger, writes: Sequence[StreamWrite], now_us: int
) -> tuple[Appended, ...]:
    """`Store.append`."""
    try:
        wanted = checked_writes(writes)
        check_marks(wanted)
    except Malformed as error:
        raise Refused("event-malformed", str(error)) from error
    known = _known(connection, [event for write in wanted for event in write.events])
    if known:
        return tuple(_repeated(connection, write, known) for write in wanted)
    heads = {head.stream: head for head in _heads(connection, [write.stream for write in wanted])}
    rows = Rows(connection, ledger, now_us, sum(len(write.events) for write in wanted))
    done = []
    for write in wanted:
        head = heads.get(write.stream)
        if head is not None and head.place >> PARTITION_SHIFT != DECISIONS:
            raise Refused(
                "stream-observed", f"stream {write.stream} holds observations; nothing can be decided in it"
            )
        version = 0 if head is None else head.version
        if write.expected_version not in (ANY_VERSION, version):
            raise Refused(
                "version-conflict",
                f"stream {write.stream} is at version {version}, not {write.expected_version}: "
                "read it and decide again",
            )
        positions: list[Position] = []
        for event, content in zip(write.events, write.contents, strict=True):
            version += 1
            number = rows.add(
                event, codec.encode_event(event), content, DECISIONS, write.stream, version,
                category=write.category,
            )  # fmt: skip
            positions.append((DECISIONS, number))
        done.append(Appended(write.stream, version, tuple(positions)))
    rows.insert()
    return tuple(done)


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
                refused.append((index, conflict(event)))
    for (id, source), (_, recorded_content) in _known(
        connection, [event for _, event, _ in fresh.values()]
    ).items():
        index, event, content = fresh.pop((id, source))
        if content == recorded_content:
            repeated += 1
        else:
            refused.append((index, conflict(event)))
    new: list[tuple[int, Event, bytes]] = []
    for index, event, content in fresh.values():
        if ledger.floor_us and to_us(event.time) <= ledger.floor_us:
            refused.append((index, forgotten(event, ledger.floor_us)))
        else:
            new.append((index, event, content))
    return new, repeated


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


def _repeated(
    connection: sqlite3.Connection, write: Write, known: dict[tuple[str, str], tuple[int, bytes]]
) -> Appended:
    """The answer of the first time. Raises Refused unless these very events were appended to this stream."""
    places: list[int] = []
    for event, content in zip(write.events, write.contents, strict=True):
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
        row.stream != write.stream or row.place >> PARTITION_SHIFT != DECISIONS for row in records
    ):
        raise Refused(
            "event-conflict",
            f"these events were recorded before, but not as decisions of stream {write.stream}",
        )
    positions = tuple((DECISIONS, place & NUMBER_MASK) for place in places)
    return Appended(write.stream, max(row.version for row in records), positions, repeated=True)
