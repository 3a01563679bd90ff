"""Whether what is folded from the log is what the log gives: identities, usage, and the read models' rows.

Called by `checking`, inside its transaction; a page of records at a time. Memory: an entry for each call that
somebody marked, and for each event key. A read model of an older version is still to be built anew and is not
looked at.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Any

import msgspec

from bus import codec
from bus.errors import BusError
from bus.event import Event
from schemas.traffic_gateway import CallCaptured
from services.request_vault.domain.calls import CallEntry, CallRow, call_entry
from services.request_vault.domain.marking import change_of
from services.request_vault.domain.recording import content_hash
from services.request_vault.store.sqlite.models import VERSIONS
from services.request_vault.store.sqlite.places import position_of
from services.request_vault.store.sqlite.rows import fetch, json_list, select

PAGE = 500

_COLUMNS = (*CallRow._fields, "note_words")
_UNMARKED = {name: CallRow._field_defaults.get(name, "") for name in _COLUMNS[len(_COLUMNS) - 7 :]}

_records = msgspec.json.Decoder(list[tuple[int, str | None, str, str]])
_seen = msgspec.json.Decoder(list[tuple[str, str, int, str, int | None, int | None, int | None]])
_any = msgspec.json.Decoder(list[list[Any]])

_RECORDS = select(
    "place, category, key, hex(event)",
    "(SELECT place, category, key, event FROM record WHERE place > ? ORDER BY place LIMIT ?)",
)
_SEEN = select(
    "s.id, s.source, s.place, hex(s.content), s.gone_us, s.time_us, s.checksum",
    "json_each(?) w CROSS JOIN seen s ON s.id = w.value",
)


def compare(connection: sqlite3.Connection) -> Iterator[str]:
    """What is wrong, position by position."""
    comparison = _Comparison(connection)
    after = -1
    while rows := fetch(connection, _RECORDS, (after, PAGE), _records):
        yield from comparison.page(after, rows)
        after = rows[-1][0]
    yield from comparison.totals()


class _Comparison:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._types = dict(connection.execute("SELECT number, name FROM type").fetchall())
        self._generations = {
            name: generation
            for name, version, generation in connection.execute("SELECT name, version, generation FROM model")
            if version == VERSIONS.get(name)
        }
        self._marks: dict[tuple[str, str], dict[str, Any]] = {}
        self._usage: dict[str, list[int]] = {}
        self._counts = {"record": 0, "call": 0, "body": 0, "tag": 0}

    def page(self, after: int, rows: list[tuple[int, str | None, str, str]]) -> Iterator[str]:
        events: dict[int, Event] = {}
        calls: dict[int, CallEntry] = {}
        self._counts["record"] += len(rows)
        for place, category, key, encoded in rows:
            try:
                event = events[place] = codec.decode_event(bytes.fromhex(encoded))
                if category is not None:
                    self._mark(event, category)
                elif event.type == CallCaptured.TYPE:
                    calls[place] = call_entry(event)
            except BusError as error:
                yield f"position {position_of(place)}: its event cannot be read: {error}"
            if category is None:
                counted = self._usage.setdefault(key, [0, 0, 0])
                counted[0] += 1
                counted[1] += place in calls
                counted[2] += len(encoded) // 2
        last = rows[-1][0]
        found = [self._identities(events)]
        if "events" in self._generations:
            found.append(self._events(after, last, events))
        if "calls" in self._generations:
            found.append(self._calls(after, last, calls))
            found.append(self._bodies(after, last, calls))
        for places in found:
            for place, what in places:
                yield f"position {position_of(place)}: {what}"

    def totals(self) -> Iterator[str]:
        """What is there for no record."""
        counted = {"seen WHERE gone_us IS NULL": self._counts["record"]}
        if "events" in self._generations:
            counted[f"event_{self._generations['events']}"] = self._counts["record"]
        if "calls" in self._generations:
            for table in ("call", "body", "tag"):
                counted[f"{table}_{self._generations['calls']}"] = self._counts[table]
        for source, expected in counted.items():
            (count,) = self._connection.execute(f"SELECT count(*) FROM {source}").fetchone()
            if count != expected:
                yield f"there are {count} rows in {source}, but the log gives {expected}"
        usage = {key: told for key, *told in self._connection.execute("SELECT * FROM usage").fetchall()}
        for key in sorted(usage.keys() | self._usage.keys()):
            if usage.get(key, [0, 0, 0]) != self._usage.get(key, [0, 0, 0]):
                given = self._usage.get(key)
                yield f"the usage of key {key!r} is {usage.get(key)}, but the log gives {given}"

    def _mark(self, event: Event, category: str) -> None:
        change = change_of(event, category)
        if change is not None:
            self._marks.setdefault((change.bucket, change.id), {}).update(change.columns)

    def _identities(self, events: dict[int, Event]) -> Iterator[tuple[int, str]]:
        ids = json_list(list({event.id for event in events.values()}))
        seen = {(id, source): told for id, source, *told in fetch(self._connection, _SEEN, (ids,), _seen)}
        for place, event in events.items():
            expected = [place, content_hash(event).hex().upper(), None, None, None]
            if seen.get((event.id, event.source)) != expected:
                yield place, "its identity is not kept as it is"

    def _events(self, after: int, last: int, events: dict[int, Event]) -> Iterator[tuple[int, str]]:
        columns = "place, type, key, subject, correlation"
        found = self._rows(f"event_{self._generations['events']}", columns, after, last)
        for place in found.keys() | events.keys():
            event, row = events.get(place), found.get(place)
            if event is None or row is None or [self._types.get(row[0]), *row[1:]] != [
                event.type, event.key, event.subject, event.correlationid
            ]:  # fmt: skip
                yield place, "the read model of events has not what the log gives"

    def _calls(self, after: int, last: int, calls: dict[int, CallEntry]) -> Iterator[tuple[int, str]]:
        generation = self._generations["calls"]
        found = self._rows(f"call_{generation}", f"place, {', '.join(_COLUMNS)}", after, last)
        self._counts["call"] += len(calls)
        for place in found.keys() | calls.keys():
            expected = None
            if place in calls:
                row = calls[place].row
                marked = _UNMARKED | self._marks.get((row.bucket, row.id), {})
                expected = [marked[name] if name in marked else getattr(row, name) for name in _COLUMNS]
                tags = msgspec.json.decode(marked["tags"], type=list[str])
                self._counts["tag"] += len(tags)
                (count,) = self._connection.execute(
                    f"""SELECT count(*) FROM json_each(?) w CROSS JOIN tag_{generation} t
                    ON t.bucket = ? AND t.tag = w.value AND t.place = ?""",
                    (marked["tags"], row.bucket, place),
                ).fetchone() if tags else (0,)  # fmt: skip
                if count != len(tags):
                    yield place, "the read model of calls has not the tags that the log gives"
            if found.get(place) != expected:
                yield place, "the read model of calls has not what the log gives"

    def _bodies(self, after: int, last: int, calls: dict[int, CallEntry]) -> Iterator[tuple[int, str]]:
        table = f"body_{self._generations['calls']}"
        rows = fetch(
            self._connection,
            select("place, bucket, sha256", f"{table} WHERE place > ? AND place <= ?"),
            (after, last),
            _any,
        )
        found = {tuple(row) for row in rows}
        expected = {
            (place, call.row.bucket, sha256) for place, call in calls.items() for sha256 in call.bodies
        }
        self._counts["body"] += len(expected)
        for place in {place for place, *_ in found ^ expected}:
            yield place, "the read model of calls names not the bodies that the log gives"

    def _rows(self, table: str, columns: str, after: int, last: int) -> dict[int, list[Any]]:
        source = f"(SELECT {columns} FROM {table} WHERE place > ? AND place <= ?)"
        return {
            place: told
            for place, *told in fetch(self._connection, select(columns, source), (after, last), _any)
        }
