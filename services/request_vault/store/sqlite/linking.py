"""The links of a partition, read from the file (`domain.links`). Called with any reading connection."""

from __future__ import annotations

import sqlite3

import msgspec

from services.request_vault.domain.links import (
    Anchor,
    Damaged,
    End,
    Gone,
    Identity,
    Kept,
    Link,
    Seal,
    last_number,
)
from services.request_vault.store.sqlite.failures import UNREADABLE
from services.request_vault.store.sqlite.places import NUMBER_MASK, PARTITION_SHIFT
from services.request_vault.store.sqlite.rows import fetch, json_list, select

PAGE_LINK_BYTES = 4 * 1024 * 1024
ANCHORS = 64  # each may stand for a thousand identities

_sizes = msgspec.json.Decoder(list[tuple[int, int]])
_kept = msgspec.json.Decoder(
    list[tuple[int, str, int, str | None, int | None, str, int, int, int, str, str, str]]
)
_gone = msgspec.json.Decoder(list[tuple[int, str, int, str | None, int | None, str, int, str, str, int]])
_anchors = msgspec.json.Decoder(list[tuple[int, int, str, int, int]])
_identities = msgspec.json.Decoder(list[tuple[int, str, str, str, int, int, int]])
_seals = msgspec.json.Decoder(list[tuple[int, str, str]])

_WITHIN = "place > :after AND place <= :end ORDER BY place LIMIT :limit"
_SIZES = select("place, bytes", f"(SELECT place, length(event) AS bytes FROM record WHERE {_WITHIN})")
_PLACES = f"SELECT place FROM record WHERE {_WITHIN}"
_KEPT = select(
    """r.place, r.stream, r.version, r.category, r.prev, r.key, r.time_us, r.recorded_us, r.checksum,
    hex(r.salt), hex(r.digest), hex(r.event)""",
    "json_each(?) w CROSS JOIN record r ON r.place = w.value",
)
_GONE = select(
    "place, stream, version, category, prev, hex(digest), gone_us, by, why, checksum",
    f"(SELECT * FROM tombstone WHERE {_WITHIN})",
)
_ANCHORS = select(
    "place, last, hex(digests), gone_us, checksum",
    """(SELECT * FROM anchor WHERE last > :after AND place <= :end
        AND place >= coalesce((SELECT max(place) FROM anchor WHERE place <= :after), 0)
        ORDER BY place LIMIT :limit)""",
)
_SEALS = select("place, hex(running), hex(chain)", f"(SELECT * FROM seal WHERE {_WITHIN})")
_IDENTITIES = select(
    "s.place, s.id, s.source, hex(s.content), s.gone_us, s.time_us, s.checksum",
    """json_each(?) w CROSS JOIN seen s INDEXED BY seen_gone_place
    ON s.place BETWEEN json_extract(w.value, '$[0]') AND json_extract(w.value, '$[1]')
    WHERE s.gone_us IS NOT NULL ORDER BY s.place""",
)


def ends(connection: sqlite3.Connection) -> tuple[End, ...]:
    rows = connection.execute("SELECT partition, number, running, chain FROM head ORDER BY partition")
    return tuple(End(*row) for row in rows)


def links(connection: sqlite3.Connection, partition: int, after: int, limit: int) -> list[Link]:
    """`Archive.links`. What cannot be read is `Damaged`, and the rest of the page is there."""
    base = partition << PARTITION_SHIFT
    bounds = {"after": base + after, "end": base + NUMBER_MASK, "limit": limit}
    places = _record_places(connection, bounds)
    gone = fetch(connection, _GONE, bounds, _gone)
    anchors = fetch(connection, _ANCHORS, {**bounds, "limit": min(limit, ANCHORS)}, _anchors)
    end = bounds["end"]
    if len(places) == limit or (places and _more_records(connection, places[-1], end)):
        end = places[-1]
    if len(gone) == limit:
        end = min(end, gone[-1][0])
    if len(anchors) == min(limit, ANCHORS):
        end = min(end, anchors[-1][1])
    found: list[Link] = []
    found += _kept_links(connection, partition, [place for place in places if place <= end])
    gone = [row for row in gone if row[0] <= end]
    anchors = [row for row in anchors if row[1] <= end]
    identities = _identities_of(connection, [(row[0], row[0]) for row in gone] + [row[:2] for row in anchors])
    for row in gone:
        number = row[0] & NUMBER_MASK
        digest = bytes.fromhex(row[5])
        found.append(Gone(partition, number, *row[1:5], digest, *row[6:], identities.get(number)))
    for place, last_place, digests, gone_us, checksum in anchors:
        first, last = place & NUMBER_MASK, last_place & NUMBER_MASK
        inside = tuple(identities[number] for number in range(first, last + 1) if number in identities)
        found.append(Anchor(partition, first, last, bytes.fromhex(digests), gone_us, checksum, inside))
    reached = max([last_number(link) for link in found], default=after)
    seals = {"after": base + after, "end": min(end, base + reached), "limit": -1}
    for place, running, chain in fetch(connection, _SEALS, seals, _seals):
        found.append(Seal(partition, place & NUMBER_MASK, bytes.fromhex(running), bytes.fromhex(chain)))
    found.sort(key=lambda link: (last_number(link), isinstance(link, Seal)))
    return found


def _record_places(connection: sqlite3.Connection, bounds: dict[str, int]) -> list[int]:
    """Of a page's records: as many as PAGE_LINK_BYTES hold, at least one."""
    places: list[int] = []
    size = 0
    try:
        sizes = fetch(connection, _SIZES, bounds, _sizes)
    except UNREADABLE:
        return [place for (place,) in connection.execute(_PLACES, bounds)]
    for place, bytes_ in sizes:
        size += bytes_
        if size > PAGE_LINK_BYTES and places:
            break
        places.append(place)
    return places


def _more_records(connection: sqlite3.Connection, place: int, end: int) -> bool:
    row = connection.execute("SELECT 1 FROM record WHERE place > ? AND place <= ? LIMIT 1", (place, end))
    return row.fetchone() is not None


def _kept_links(connection: sqlite3.Connection, partition: int, places: list[int]) -> list[Kept | Damaged]:
    if not places:
        return []
    try:
        rows = fetch(connection, _KEPT, (json_list(places),), _kept)
    except UNREADABLE as error:
        if len(places) > 1:
            half = len(places) // 2
            return [
                *_kept_links(connection, partition, places[:half]),
                *_kept_links(connection, partition, places[half:]),
            ]
        number = places[0] & NUMBER_MASK
        return [Damaged(partition, number, number, str(error))]
    return [
        Kept(
            partition,
            row[0] & NUMBER_MASK,
            *row[1:9],
            bytes.fromhex(row[9]),
            bytes.fromhex(row[10]),
            bytes.fromhex(row[11]),
        )
        for row in rows
    ]


def _identities_of(connection: sqlite3.Connection, runs: list[tuple[int, int]]) -> dict[int, Identity]:
    """By number."""
    if not runs:
        return {}
    found = {}
    for place, id, source, content, *told in fetch(
        connection, _IDENTITIES, (msgspec.json.encode(runs).decode(),), _identities
    ):
        number = place & NUMBER_MASK
        found[number] = Identity(number, id, source, bytes.fromhex(content), *told)
    return found
