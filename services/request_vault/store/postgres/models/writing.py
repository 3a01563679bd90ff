"""The read models' rows of records that are being written, in the same transaction."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from bus.event import Event
from services.request_vault.domain.calls import CAPTURED_FIELDS, CallEntry
from services.request_vault.domain.marking import RowChange, change_of
from services.request_vault.store.postgres.connections import Connection
from services.request_vault.store.postgres.models.generations import Generations
from services.request_vault.store.postgres.rows import copy, storable, stored

EVENT = ("place", "class", "day", "type", "key", "subject", "correlation")
CALL = ("place", "class", "day", *CAPTURED_FIELDS)
BODY = ("bucket", "sha256", "place")
_TAG = ("bucket", "tag", "place")


class NewRows:
    """Collects rows. A model that is being built gets them too; decisions about calls it gets later, in their
    order."""

    def __init__(self) -> None:
        self._events: list[tuple[Any, ...]] = []
        self._calls: list[tuple[Any, ...]] = []
        self._bodies: list[tuple[Any, ...]] = []
        self._changes: list[RowChange] = []

    def add(
        self,
        place: int,
        leaf: tuple[int, int],
        event: Event,
        type_number: int,
        call: CallEntry | None,
        change: RowChange | None,
    ) -> None:
        """leaf: the class and day of the record."""
        self._events.append(event_row(place, leaf, event, type_number))
        if call is not None:
            self._calls.append(call_row(place, leaf, call))
            self._bodies += body_rows(place, call)
        if change is not None:
            self._changes.append(change)

    async def write(self, connection: Connection, generations: Generations) -> None:
        for generation in generations.written("events"):
            await copy(connection, f"event_{generation}", EVENT, self._events)
        for generation in generations.written("calls"):
            await copy_calls(connection, generation, self._calls, self._bodies)
        await change_calls(connection, generations.calls, self._changes)


def decided_change(event: Event, category: str) -> RowChange | None:
    """Raises Malformed or UnknownType for a decision about a call that cannot be read."""
    return change_of(event, category)


def event_row(place: int, leaf: tuple[int, int], event: Event, type_number: int) -> tuple[Any, ...]:
    return (place, *leaf, type_number, event.key, event.subject, event.correlationid)


def call_row(place: int, leaf: tuple[int, int], call: CallEntry) -> tuple[Any, ...]:
    return (place, *leaf, *storable(call.row[: len(CAPTURED_FIELDS)]))


def body_rows(place: int, call: CallEntry) -> list[tuple[Any, ...]]:
    return [(call.row.bucket, stored(sha256), place) for sha256 in call.bodies]


async def copy_calls(
    connection: Connection,
    generation: int,
    calls: list[tuple[Any, ...]],
    bodies: list[tuple[Any, ...]],
) -> None:
    await copy(connection, f"call_{generation}", CALL, calls)
    await copy(connection, f"body_{generation}", BODY, bodies)


async def change_calls(connection: Connection, generation: int, changes: Iterable[RowChange]) -> None:
    """In their order. A call that is not there is passed over."""
    for change in changes:
        columns = {name: _column(name, value) for name, value in change.columns.items()}
        names = ", ".join(f"{name} = ${number}" for number, name in enumerate(columns, 3))
        found = await connection.fetch(
            f"UPDATE call_{generation} SET {names} WHERE id = $1 AND bucket = $2 RETURNING place",
            stored(change.id),
            stored(change.bucket),
            *columns.values(),
        )
        if change.tags is not None and found:
            places = [row[0] for row in found]
            await connection.execute(f"DELETE FROM tag_{generation} WHERE place = ANY ($1)", places)
            rows = [(stored(change.bucket), stored(tag), place) for place in places for tag in change.tags]
            await copy(connection, f"tag_{generation}", _TAG, rows)


def _column(name: str, value: str | int | None) -> Any:
    if name == "tags" and isinstance(value, str):
        return [stored(tag) for tag in msgspec.json.decode(value, type=list[str])]
    return stored(value) if isinstance(value, str) else value
