"""The read models' rows of records that are being written, in the same transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence

from bus.event import Event
from services.request_vault.domain.calls import CAPTURED_FIELDS, CallEntry
from services.request_vault.domain.marking import RowChange
from services.request_vault.store.sqlite.models.generations import Generations
from services.request_vault.store.sqlite.rows import insert_rows

_EVENT_COLUMNS = "place, type, key, subject, correlation"
_EVENT_WIDTH = 5
_CALL_COLUMNS = f"place, {', '.join(CAPTURED_FIELDS)}"
_CALL_WIDTH = 1 + len(CAPTURED_FIELDS)
_BODY_WIDTH = 3
_TAG_WIDTH = 3


class NewRows:
    """Collects rows, flat, as `insert_rows` takes them. A model that is being built gets them too; decisions
    about calls it gets later, in their order."""

    def __init__(self, generations: Generations) -> None:
        self._generations = generations
        self._events: list[object] = []
        self._calls: list[object] = []
        self._bodies: list[object] = []
        self._changes: list[RowChange] = []

    def add(
        self, place: int, event: Event, type_number: int, call: CallEntry | None, change: RowChange | None
    ) -> None:
        self._events += event_row(place, event, type_number)
        if call is not None:
            self._calls += call_row(place, call)
            self._bodies += body_rows(place, call)
        if change is not None:
            self._changes.append(change)

    def insert(self, connection: sqlite3.Connection) -> None:
        for generation in self._generations.written("events"):
            insert_events(connection, generation, self._events)
        for generation in self._generations.written("calls"):
            insert_calls(connection, generation, self._calls, self._bodies)
        change_calls(connection, self._generations.calls, self._changes)


def event_row(place: int, event: Event, type_number: int) -> tuple[object, ...]:
    return (place, type_number, event.key, event.subject, event.correlationid)


def call_row(place: int, call: CallEntry) -> tuple[object, ...]:
    return (place, *call.row[: _CALL_WIDTH - 1])


def body_rows(place: int, call: CallEntry) -> list[object]:
    if not call.bodies:
        return []
    return [value for sha256 in call.bodies for value in (call.row.bucket, sha256, place)]


def insert_events(connection: sqlite3.Connection, generation: int, events: Sequence[object]) -> None:
    insert_rows(connection, f"event_{generation} ({_EVENT_COLUMNS})", _EVENT_WIDTH, events)


def insert_calls(
    connection: sqlite3.Connection, generation: int, calls: Sequence[object], bodies: Sequence[object]
) -> None:
    insert_rows(connection, f"call_{generation} ({_CALL_COLUMNS})", _CALL_WIDTH, calls)
    insert_rows(connection, f"body_{generation}", _BODY_WIDTH, bodies)


def change_calls(connection: sqlite3.Connection, generation: int, changes: Iterable[RowChange]) -> None:
    """In their order. A call that is not there is passed over."""
    for change in changes:
        found = connection.execute(
            f"SELECT place, tags FROM call_{generation} WHERE id = ? AND bucket = ?",
            (change.id, change.bucket),
        ).fetchall()
        names = ", ".join(f"{name} = ?" for name in change.columns)
        for place, tags in found:
            connection.execute(
                f"UPDATE call_{generation} SET {names} WHERE place = ?", (*change.columns.values(), place)
            )
            if change.tags is not None:
                connection.execute(
                    f"""DELETE FROM tag_{generation}
                    WHERE bucket = ? AND tag IN (SELECT value FROM json_each(?)) AND place = ?""",
                    (change.bucket, tags, place),
                )
                flat = [value for tag in change.tags for value in (change.bucket, tag, place)]
                insert_rows(connection, f"tag_{generation}", _TAG_WIDTH, flat)
