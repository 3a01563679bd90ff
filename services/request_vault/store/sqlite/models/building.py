"""Building a read model anew, beside the one that answers, in small steps.

Once it has begun, the ingest puts new records into both. The records from before are read by a reader, which
makes their rows, and put in by the writer; then the decisions about calls are applied, in their order. The
last of these are read by the writer itself, in the transaction in which the new tables take the place.
Each step stores how far it has come, so that a process that dies goes on from there.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import msgspec
import structlog

from bus import codec
from bus.errors import BusError
from bus.event import Event
from schemas.request_vault import CATEGORY, ModelState
from schemas.traffic_gateway import CallCaptured
from services.request_vault.domain.calls import call_entry
from services.request_vault.domain.marking import RowChange, change_of
from services.request_vault.store.sqlite.ledger import Ledger
from services.request_vault.store.sqlite.models.definitions import TABLES, VERSIONS
from services.request_vault.store.sqlite.models.generations import Build, Generations, create, tables
from services.request_vault.store.sqlite.models.removing import delete_rows
from services.request_vault.store.sqlite.models.writing import (
    body_rows,
    call_row,
    change_calls,
    event_row,
    insert_calls,
    insert_events,
)
from services.request_vault.store.sqlite.places import NUMBER_MASK, PARTITION_SHIFT
from services.request_vault.store.sqlite.rows import fetch, json_list, select

_log = structlog.get_logger("request_vault")

_event_decoder = msgspec.json.Decoder(list[tuple[int, str]])
_type_decoder = msgspec.json.Decoder(list[tuple[int, str]])
_place_decoder = msgspec.json.Decoder(list[tuple[int]])

_RECORDS = select(
    "place, hex(event)",
    "(SELECT place, event FROM record WHERE place > ? AND place <= ? ORDER BY place LIMIT ?)",
)
_DECISIONS = select(
    "place, hex(event)",
    """(SELECT place, event FROM record INDEXED BY record_category
    WHERE category = ? AND place > ? ORDER BY place LIMIT ?)""",
)
_TYPES = select("number, name", "type")
_THERE = select("r.place", "json_each(?) w CROSS JOIN record r ON r.place = w.value")


class Part(msgspec.Struct):
    """What is put in next. since, until: the build before and after it. last: it seems to be the last one.
    removals: of the generations when it was read."""

    since: Build
    until: Build
    removals: int
    most: int
    places: list[int]
    events: list[object]
    calls: list[object]
    bodies: list[object]
    changes: list[RowChange]
    last: bool


def state_of(generations: Generations, name: str, numbers: Sequence[int]) -> ModelState:
    """numbers: the newest of each partition."""
    version = generations.versions[name]
    build = generations.builds.get(name)
    if build is not None:
        return ModelState(name, version, "rebuilding", sum(build.done), sum(build.tops))
    of = sum(_tops(name, numbers))
    if version != VERSIONS[name]:
        return ModelState(name, version, "rebuilding", 0, of)
    return ModelState(name, version, "ready", of, of)


def begin(connection: sqlite3.Connection, ledger: Ledger, name: str) -> None:
    taken = [generation for _, generation in tables(connection).items()]
    tops = _tops(name, ledger.numbers)
    build = Build(VERSIONS[name], max(taken) + 1, tops, (0,) * len(tops), 0)
    create(connection, name, build.generation)
    _store(connection, ledger, name, build)


def read_part(connection: sqlite3.Connection, name: str, build: Build, removals: int, most: int) -> Part:
    """Runs on a reader: at most `most` records, as rows."""
    part = Part(build, build, removals, most, [], [], [], [], [], last=False)
    behind = next((at for at, top in enumerate(build.tops) if build.done[at] < top), None)
    if behind is None and name == "events":
        part.last = True
        return part
    if behind is None:
        part.changes, decided, part.last = _decisions(connection, build.decided, most)
        part.until = msgspec.structs.replace(build, decided=decided)
        return part
    base = behind << PARTITION_SHIFT
    found = fetch(
        connection,
        _RECORDS,
        (base | build.done[behind], base | build.tops[behind], most),
        _event_decoder,
    )
    come_to = found[-1][0] & NUMBER_MASK if len(found) == most else build.tops[behind]
    done = (*build.done[:behind], come_to, *build.done[behind + 1 :])
    part.until = msgspec.structs.replace(build, done=done)
    part.last = name == "events" and done == build.tops
    _make_rows(connection, name, part, found)
    return part


def put_in(connection: sqlite3.Connection, ledger: Ledger, name: str, part: Part) -> None:
    build = ledger.generations.builds.get(name)
    if build != part.since:
        return  # someone else has put it in
    generation = build.generation
    insert_events(connection, generation, part.events)
    insert_calls(connection, generation, part.calls, part.bodies)
    change_calls(connection, generation, part.changes)
    if part.places and ledger.generations.removals != part.removals:
        there = {place for (place,) in fetch(connection, _THERE, (json_list(part.places),), _place_decoder)}
        delete_rows(connection, name, generation, [place for place in part.places if place not in there])
    build, last = part.until, part.last
    if last and name == "calls":
        changes, decided, last = _decisions(connection, build.decided, part.most)
        change_calls(connection, generation, changes)
        build = msgspec.structs.replace(build, decided=decided)
    if last:
        _swap(connection, ledger, name, build)
    else:
        _store(connection, ledger, name, build)


def drop_old(connection: sqlite3.Connection, generations: Generations, most: int) -> bool:
    """`Store.drop_old`. Row by row: an index that is large takes long to drop."""
    kept = {table: generations.written(name) for name, named in TABLES.items() for table in named}
    for table, generation in tables(connection).items():
        if generation in kept[table.partition("_")[0]]:
            continue
        keys = [row[1] for row in connection.execute(f"PRAGMA table_info({table})") if row[5]]
        key = ", ".join(keys)
        removed = connection.execute(
            f"DELETE FROM {table} WHERE ({key}) IN (SELECT {key} FROM {table} ORDER BY {key} LIMIT ?)",
            (most,),
        ).rowcount
        if removed < most:
            connection.execute(f"DROP TABLE {table}")
        return True
    return False


def _tops(name: str, numbers: Sequence[int]) -> tuple[int, ...]:
    return tuple(numbers) if name == "events" else (0, *numbers[1:])


def _make_rows(connection: sqlite3.Connection, name: str, part: Part, found: list[tuple[int, str]]) -> None:
    types: dict[str, int] = {}
    if name == "events":
        types = {type_: number for number, type_ in fetch(connection, _TYPES, (), _type_decoder)}
    for place, event in _decoded(found):
        if name == "events":
            part.places.append(place)
            part.events += event_row(place, event, types[event.type])
        elif event.type == CallCaptured.TYPE:
            try:
                entry = call_entry(event)
            except BusError as error:
                _log.error("a recorded call cannot be read", place=place, event=event.id, error=str(error))
                continue
            part.places.append(place)
            part.calls += call_row(place, entry)
            part.bodies += body_rows(place, entry)


def _decisions(connection: sqlite3.Connection, decided: int, most: int) -> tuple[list[RowChange], int, bool]:
    """What the next decisions change, the number of the last one, and whether there were no more."""
    found = fetch(connection, _DECISIONS, (CATEGORY, decided, most), _event_decoder)
    changes = []
    for place, event in _decoded(found):
        try:
            change = change_of(event, CATEGORY)
        except BusError as error:
            _log.error("a recorded decision cannot be read", place=place, event=event.id, error=str(error))
            continue
        if change is not None:
            changes.append(change)
    return changes, found[-1][0] if found else decided, len(found) < most


def _decoded(found: list[tuple[int, str]]) -> list[tuple[int, Event]]:
    events = codec.decode_batch(codec.join_batch([bytes.fromhex(text) for _, text in found])) if found else []
    return [(place, event) for (place, _), event in zip(found, events, strict=True)]


def _store(connection: sqlite3.Connection, ledger: Ledger, name: str, build: Build) -> None:
    connection.execute(
        "INSERT OR REPLACE INTO build VALUES (?, ?, ?, ?, ?, ?)",
        (name, build.version, build.generation, json_list(build.tops), json_list(build.done), build.decided),
    )
    _change(ledger, builds={**ledger.generations.builds, name: build})


def _swap(connection: sqlite3.Connection, ledger: Ledger, name: str, build: Build) -> None:
    connection.execute(
        "UPDATE model SET version = ?, generation = ? WHERE name = ?", (build.version, build.generation, name)
    )
    connection.execute("DELETE FROM build WHERE name = ?", (name,))
    generations = ledger.generations
    _change(
        ledger,
        **{name: build.generation},
        versions={**generations.versions, name: build.version},
        builds={each: other for each, other in generations.builds.items() if each != name},
    )


def _change(ledger: Ledger, **changes: object) -> None:
    ledger.generations = msgspec.structs.replace(ledger.generations, **changes)
