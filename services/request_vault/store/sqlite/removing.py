"""Taking records out of the log: what goes with them, and what stays so that the log can still be proved.

Runs inside the writer's transaction, a small step at a time, called by `trimming` and by the engine. A record
takes its rows in every read model along, also in one that is being built; what it counted for is taken off
`usage`. Its identity stays in `seen` until it is forgotten, its digest in an anchor (trimmed) or a tombstone
(erased).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence

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
    identity_of,
    with_trimmed,
)
from services.request_vault.domain.recording import DECISIONS
from services.request_vault.store.bodies.port import BodyName
from services.request_vault.store.port import Erased
from services.request_vault.store.sqlite import models
from services.request_vault.store.sqlite.ledger import Ledger
from services.request_vault.store.sqlite.places import PARTITION_SHIFT, position_of
from services.request_vault.store.sqlite.rows import fetch, insert_rows, json_list, select

_ANCHOR_WIDTH = 5
_TOMBSTONE_WIDTH = 10
STEP_S = 0.008
"""How long a step of `reclaim` may hold the writer."""


class Removal(msgspec.Struct, frozen=True):
    """What a step took. bodies: those that no call names any more."""

    places: tuple[int, ...]
    calls: int
    bytes: int
    bodies: tuple[BodyName, ...]


class _Record(msgspec.Struct, array_like=True):
    place: int
    stream: str
    version: int
    category: str | None
    prev: int | None
    key: str
    digest: str
    event: str


class _Anchor(msgspec.Struct, array_like=True):
    place: int
    digests: str
    gone_us: int


_record_decoder = msgspec.json.Decoder(list[_Record])
_anchor_decoder = msgspec.json.Decoder(list[_Anchor])
_call_decoder = msgspec.json.Decoder(list[tuple[int, str]])
_seen_decoder = msgspec.json.Decoder(list[tuple[str, str, int, int]])

_RECORDS = select(
    "r.place, r.stream, r.version, r.category, r.prev, r.key, hex(r.digest), hex(r.event)",
    "json_each(?) w CROSS JOIN record r ON r.place = w.value",
)
# Anchors that end right before, or begin right behind, runs of places [first, last].
_NEIGHBOURS = select(
    "a.place, hex(a.digests), a.gone_us",
    """json_each(?) w CROSS JOIN anchor a ON a.place = json_extract(w.value, '$[1]') + 1
    OR (a.place = (SELECT max(b.place) FROM anchor b WHERE b.place < json_extract(w.value, '$[0]'))
        AND a.last = json_extract(w.value, '$[0]') - 1)""",
)
_LEAVE_SEEN = """
UPDATE seen SET gone_us = w.gone_us, time_us = w.time_us, checksum = w.checksum
FROM (
    SELECT json_extract(value, '$[0]') AS id, json_extract(value, '$[1]') AS source,
           json_extract(value, '$[2]') AS gone_us, json_extract(value, '$[3]') AS time_us,
           json_extract(value, '$[4]') AS checksum
    FROM json_each(?)
) w
WHERE seen.id = w.id AND seen.source = w.source
"""
_PLACED = "place IN (SELECT value FROM json_each(?))"
_TAKE_USAGE = "UPDATE usage SET records = records - ?, calls = calls - ?, bytes = bytes - ? WHERE key = ?"
_FORGETTABLE = select(
    "id, source, place, time_us",
    "(SELECT * FROM seen INDEXED BY seen_gone WHERE gone_us < ? ORDER BY gone_us LIMIT ?)",
)
_FORGET = """
DELETE FROM seen WHERE (id, source) IN
    (SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(?))
"""


def erase(
    connection: sqlite3.Connection,
    ledger: Ledger,
    bucket: str,
    call_ids: Sequence[str],
    by: str,
    why: str,
    now_us: int,
) -> Erased:
    """`Store.erase`: the calls with these ids, other observations of theirs, and the decisions about them."""
    ids = json_list(list(call_ids))
    call = ledger.generations.call
    calls = fetch(
        connection,
        select("c.place, c.id", f"json_each(?) w CROSS JOIN {call} c ON c.id = w.value WHERE c.bucket = ?"),
        (ids, bucket),
        _call_decoder,
    )
    others = connection.execute(
        """SELECT r.place FROM json_each(?) w CROSS JOIN record r
        ON r.stream IN ('traffic.call-' || w.value, 'vault.call-' || w.value) WHERE r.key = ?""",
        (ids, bucket),
    ).fetchall()
    places = sorted({place for place, _ in calls} | {place for (place,) in others})
    removal = remove(connection, ledger, places, now_us, erased=(by, why))
    found = tuple(dict.fromkeys(id for _, id in calls))
    return Erased(calls=found, records=len(removal.places), bodies=removal.bodies)


def forget(connection: sqlite3.Connection, ledger: Ledger, before_us: int, most: int) -> int:
    """`Store.forget`."""
    rows = fetch(connection, _FORGETTABLE, (before_us, most), _seen_decoder)
    if rows:
        connection.execute(_FORGET, (msgspec.json.encode([row[:2] for row in rows]).decode(),))
        observed = [time_us for _, _, place, time_us in rows if place >> PARTITION_SHIFT != DECISIONS]
        # An event from the future must not shut out those of today.
        ledger.floor_us = max(ledger.floor_us, min(max(observed, default=0), before_us))
    return len(rows)


def reclaim(connection: sqlite3.Connection, most_pages: int, monotonic: Callable[[], float]) -> int:
    """`Store.reclaim`. The file itself gets shorter with the next checkpoint."""
    (free,) = connection.execute("PRAGMA freelist_count").fetchone()
    until_s = monotonic() + STEP_S
    pages = 0
    # The driver leaves this statement after its first page.
    while pages < min(free, most_pages) and monotonic() < until_s:
        connection.execute("PRAGMA incremental_vacuum(1)")
        pages += 1
    return pages


def remove(
    connection: sqlite3.Connection,
    ledger: Ledger,
    places: Sequence[int],
    now_us: int,
    *,
    erased: tuple[str, str] | None = None,
) -> Removal:
    """Take these records out; those that are not there are passed over. places: ascending. erased: by whom
    and why; without, they leave anchors."""
    records = fetch(connection, _RECORDS, (json_list(places),), _record_decoder) if places else []
    if not records:
        return Removal((), 0, 0, ())
    there = json_list([record.place for record in records])
    usage: dict[str, list[int]] = {}
    identities: list[Identity] = []
    for record in records:
        event_bytes = len(record.event) // 2
        kind = ""
        try:
            event = codec.decode_event(bytes.fromhex(record.event))
        except Malformed:
            pass  # its identity stays as it is; the log's verification names it
        else:
            kind = event.type
            identities.append(identity_of(position_of(record.place), event, now_us))
        if record.place >> PARTITION_SHIFT != DECISIONS:
            counted = usage.setdefault(record.key, [0, 0, 0])
            counted[0] += 1
            counted[1] += kind == CallCaptured.TYPE
            counted[2] += event_bytes
    connection.execute(f"DELETE FROM record WHERE {_PLACED}", (there,))
    _leave_identities(connection, identities)
    for key, (count, calls, bytes_) in usage.items():
        connection.execute(_TAKE_USAGE, (count, calls, bytes_, key))
        connection.execute("DELETE FROM usage WHERE key = ? AND records = 0", (key,))
    ledger.generations, unnamed = models.remove_rows(
        connection, ledger.generations, [record.place for record in records]
    )
    if erased is None:
        _leave_anchors(connection, records, now_us)
    else:
        insert_tombstones(connection, _tombstones(records, now_us, *erased))
    return Removal(
        tuple(record.place for record in records),
        sum(calls for _, calls, _ in usage.values()),
        sum(bytes_ for *_, bytes_ in usage.values()),
        tuple(BodyName(*name) for name in unnamed),
    )


def insert_anchors(connection: sqlite3.Connection, anchors: Iterable[Anchor]) -> None:
    flat: list[object] = []
    for each in anchors:
        base = each.partition << PARTITION_SHIFT
        flat += (base | each.first, base | each.last, each.digests, each.gone_us, each.checksum)
    insert_rows(connection, "anchor", _ANCHOR_WIDTH, flat)


def insert_tombstones(connection: sqlite3.Connection, gone: Iterable[Gone]) -> None:
    flat: list[object] = []
    for each in gone:
        place = each.partition << PARTITION_SHIFT | each.number
        flat += (place, each.stream, each.version, each.category, each.prev, each.digest)
        flat += (each.gone_us, each.by, each.why, each.checksum)
    insert_rows(connection, "tombstone", _TOMBSTONE_WIDTH, flat)


def _leave_identities(connection: sqlite3.Connection, identities: Sequence[Identity]) -> None:
    rows = [(each.id, each.source, each.gone_us, each.time_us, each.checksum) for each in identities]
    connection.execute(_LEAVE_SEEN, (msgspec.json.encode(rows).decode(),))


def _leave_anchors(connection: sqlite3.Connection, records: Sequence[_Record], now_us: int) -> None:
    runs: list[list[int]] = []
    by_partition: dict[int, list[tuple[int, bytes]]] = {}
    for record in records:
        partition, number = position_of(record.place)
        by_partition.setdefault(partition, []).append((number, bytes.fromhex(record.digest)))
        if runs and runs[-1][1] == record.place - 1:
            runs[-1][1] = record.place
        else:
            runs.append([record.place, record.place])
    touched = fetch(
        connection,
        _NEIGHBOURS,
        (msgspec.json.encode(runs).decode(),),
        _anchor_decoder,
    )
    near: dict[int, dict[int, Anchor]] = {}
    for row in touched:
        partition, first = position_of(row.place)
        digests = bytes.fromhex(row.digests)
        if partition in by_partition and digests:
            last = first + len(digests) // chain.DIGEST_BYTES - 1
            near.setdefault(partition, {})[first] = Anchor(partition, first, last, digests, row.gone_us, 0)
    before = [partition << PARTITION_SHIFT | first for partition, each in near.items() for first in each]
    if before:
        connection.execute(f"DELETE FROM anchor WHERE {_PLACED}", (json_list(before),))
    for partition, trimmed in by_partition.items():
        insert_anchors(
            connection, with_trimmed(partition, list(near.get(partition, {}).values()), trimmed, now_us)
        )


def _tombstones(records: Sequence[_Record], now_us: int, by: str, why: str) -> list[Gone]:
    gone = []
    for each in records:
        bare = Gone(
            *position_of(each.place), each.stream, each.version, each.category, each.prev,
            bytes.fromhex(each.digest), now_us, by, why, 0,
        )  # fmt: skip
        gone.append(msgspec.structs.replace(bare, checksum=checksum_of(bare)))
    return gone
