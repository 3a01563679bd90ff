"""Whether what is folded from the log is what the log gives: identities, usage, and the read models' rows.

Called by `checking`, inside its transaction; a page of records at a time. Memory: an entry for each call that
somebody marked, and for each event key. A read model of an older version is still to be built anew and is not
looked at.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from bus import codec
from bus.errors import BusError
from bus.event import Event
from schemas.traffic_gateway import CallCaptured
from services.request_vault.domain.calls import CallEntry, CallRow, call_entry
from services.request_vault.domain.marking import change_of
from services.request_vault.domain.recording import content_hash
from services.request_vault.store.postgres.connections import Connection
from services.request_vault.store.postgres.models import VERSIONS
from services.request_vault.store.postgres.places import position_of
from services.request_vault.store.postgres.rows import restored
from services.request_vault.store.postgres.searching import call_row

PAGE = 500

_UNMARKED = {**CallRow._field_defaults, "note_words": ""}


async def compare(connection: Connection) -> AsyncIterator[str]:
    """What is wrong, position by position."""
    comparison = _Comparison(connection)
    await comparison.begin()
    after = -1
    while rows := await connection.fetch(
        "SELECT place, category, key, event, class, day FROM record WHERE place > $1 ORDER BY place LIMIT $2",
        after,
        PAGE,
    ):
        for problem in await comparison.page(after, rows):
            yield problem
        after = rows[-1][0]
    for problem in await comparison.totals():
        yield problem


class _Comparison:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._types: dict[int, str] = {}
        self._generations: dict[str, int] = {}
        self._marks: dict[tuple[str, str], dict[str, Any]] = {}
        self._usage: dict[str, list[int]] = {}
        self._counts = {"record": 0, "call": 0, "body": 0, "tag": 0}

    async def begin(self) -> None:
        self._types = {
            row[0]: row[1] for row in await self._connection.fetch("SELECT number, name FROM type")
        }
        models = await self._connection.fetch("SELECT name, version, generation FROM model")
        self._generations = {row[0]: row[2] for row in models if row[1] == VERSIONS.get(row[0])}

    async def page(self, after: int, rows: list[Any]) -> list[str]:
        problems: list[str] = []
        events: dict[int, Event] = {}
        calls: dict[int, CallEntry] = {}
        leaves: dict[int, tuple[int, int]] = {}
        self._counts["record"] += len(rows)
        for place, category, key, encoded, *leaf in rows:
            leaves[place] = (leaf[0], leaf[1])
            try:
                event = events[place] = codec.decode_event(encoded)
                if category is not None:
                    change = change_of(event, category)
                    if change is not None:
                        self._marks.setdefault((change.bucket, change.id), {}).update(change.columns)
                elif event.type == CallCaptured.TYPE:
                    calls[place] = call_entry(event)
            except BusError as error:
                problems.append(f"position {position_of(place)}: its event cannot be read: {error}")
            if category is None:
                counted = self._usage.setdefault(key, [0, 0, 0])
                counted[0] += 1
                counted[1] += place in calls
                counted[2] += len(encoded)
        last = rows[-1][0]
        wrong = await self._identities(events)
        if "events" in self._generations:
            wrong |= await self._events(after, last, events, leaves)
        if "calls" in self._generations:
            wrong |= await self._calls(after, last, calls, leaves)
            wrong |= await self._bodies(after, last, calls)
        return problems + [f"position {position_of(place)}: {what}" for place, what in sorted(wrong)]

    async def totals(self) -> list[str]:
        """What is there for no record."""
        problems: list[str] = []
        counted = {"seen WHERE gone_us IS NULL": self._counts["record"]}
        if "events" in self._generations:
            counted[f"event_{self._generations['events']}"] = self._counts["record"]
        if "calls" in self._generations:
            for table in ("call", "body", "tag"):
                counted[f"{table}_{self._generations['calls']}"] = self._counts[table]
        for source, expected in counted.items():
            count = await self._connection.fetchval(f"SELECT count(*) FROM {source}", timeout=3600)
            if count != expected:
                problems.append(f"there are {count} rows in {source}, but the log gives {expected}")
        rows = await self._connection.fetch("SELECT key, records, calls, bytes FROM usage")
        usage = {row[0]: list(row)[1:] for row in rows}
        for key in sorted(usage.keys() | self._usage.keys()):
            if usage.get(key) != self._usage.get(key):
                problems.append(
                    f"the usage of key {key!r} is {usage.get(key)}, but the log gives {self._usage.get(key)}"
                )
        return problems

    async def _identities(self, events: dict[int, Event]) -> set[tuple[int, str]]:
        rows = await self._connection.fetch(
            """SELECT id, source, place, content, gone_us, time_us, checksum FROM seen
            WHERE id = ANY ($1::text[])""",
            list({event.id for event in events.values()}),
        )
        seen = {(row[0], row[1]): list(row)[2:] for row in rows}
        return {
            (place, "its identity is not kept as it is")
            for place, event in events.items()
            if seen.get((event.id, event.source)) != [place, content_hash(event), None, None, None]
        }

    async def _events(
        self, after: int, last: int, events: dict[int, Event], leaves: dict[int, tuple[int, int]]
    ) -> set[tuple[int, str]]:
        columns = "class, day, type, key, subject, correlation"
        found = await self._rows(f"event_{self._generations['events']}", columns, after, last)
        for row in found.values():
            row[2] = self._types.get(row[2])
        expected = {
            place: [*leaves[place], event.type, event.key, event.subject, event.correlationid]
            for place, event in events.items()
        }
        what = "the read model of events has not what the log gives"
        return {
            (place, what)
            for place in found.keys() | expected.keys()
            if found.get(place) != expected.get(place)
        }

    async def _calls(
        self, after: int, last: int, calls: dict[int, CallEntry], leaves: dict[int, tuple[int, int]]
    ) -> set[tuple[int, str]]:
        generation = self._generations["calls"]
        found = await self._rows(
            f"call_{generation}", f"class, day, note_words, {', '.join(CallRow._fields)}", after, last
        )
        tags: dict[int, list[str]] = {}
        for place, bucket, tag in await self._connection.fetch(
            f"SELECT place, bucket, tag FROM tag_{generation} WHERE place > $1 AND place <= $2", after, last
        ):
            tags.setdefault(place, []).append(f"{restored(bucket)} {restored(tag)}")
        self._counts["call"] += len(calls)
        wrong: set[tuple[int, str]] = set()
        for place in found.keys() | calls.keys():
            entry, row = calls.get(place), found.get(place)
            if entry is None or row is None:
                wrong.add((place, "the read model of calls has not what the log gives"))
                continue
            of = entry.row
            marked = _UNMARKED | self._marks.get((of.bucket, of.id), {})
            expected = of._replace(**{name: value for name, value in marked.items() if name != "note_words"})
            class_, day, note_words, *fields = row
            kept = call_row(fields)
            if (kept, restored(note_words), (class_, day)) != (expected, marked["note_words"], leaves[place]):
                wrong.add((place, "the read model of calls has not what the log gives"))
            names = [f"{of.bucket} {restored(tag)}" for tag in row[3 + CallRow._fields.index("tags")]]
            self._counts["tag"] += len(names)
            if sorted(tags.get(place, [])) != sorted(names):
                wrong.add((place, "the read model of calls has not the tags that the log gives"))
        return wrong

    async def _bodies(self, after: int, last: int, calls: dict[int, CallEntry]) -> set[tuple[int, str]]:
        rows = await self._connection.fetch(
            f"""SELECT place, bucket, sha256 FROM body_{self._generations["calls"]}
            WHERE place > $1 AND place <= $2""",
            after,
            last,
        )
        found = {(row[0], restored(row[1]), restored(row[2])) for row in rows}
        expected = {
            (place, call.row.bucket, sha256) for place, call in calls.items() for sha256 in call.bodies
        }
        self._counts["body"] += len(expected)
        what = "the read model of calls names not the bodies that the log gives"
        return {(place, what) for place, *_ in found ^ expected}

    async def _rows(self, table: str, columns: str, after: int, last: int) -> dict[int, list[Any]]:
        rows = await self._connection.fetch(
            f"SELECT place, {columns} FROM {table} WHERE place > $1 AND place <= $2", after, last
        )
        return {row[0]: list(row)[1:] for row in rows}
