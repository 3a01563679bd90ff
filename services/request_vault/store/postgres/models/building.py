"""Building a read model anew, beside the one that answers, in small steps.

Once it has begun, the ingest of every instance puts new records into both: the heads, which whoever adds to
the log locks, say that something has changed. The records from before are put in step by step, then the
decisions about calls are applied, in their order; the last of these in the transaction in which the new
tables take the place, while nobody can add any. Each step is a transaction and stores how far it has come.
Called by the engine, one upkeep transaction at a time, so that no record is removed meanwhile.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec
import structlog

from bus import codec
from bus.errors import BusError
from bus.event import Event
from schemas.request_vault import CATEGORY, ModelState
from schemas.traffic_gateway import CallCaptured
from services.request_vault.domain.calls import call_entry
from services.request_vault.domain.marking import RowChange, change_of
from services.request_vault.store.postgres.connections import Connection
from services.request_vault.store.postgres.models.definitions import TABLES, VERSIONS
from services.request_vault.store.postgres.models.generations import Build, Generations, create, load
from services.request_vault.store.postgres.models.writing import (
    EVENT,
    body_rows,
    call_row,
    change_calls,
    copy_calls,
    event_row,
)
from services.request_vault.store.postgres.places import DECIDED, NUMBER_MASK, first_place
from services.request_vault.store.postgres.rows import copy

_GENERATION = re.compile(r"(call|tag|body|event)_([0-9]+)")
_DECISIONS = f"""
SELECT place, event FROM record WHERE class = {DECIDED} AND category = $1 AND place > $2
ORDER BY place LIMIT $3
"""

_log = structlog.get_logger("request_vault")


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


async def step(connection: Connection, name: str, most: int) -> None:
    """`Store.rebuild`, inside an upkeep transaction."""
    build = (await load(connection)).builds.get(name)
    if build is None:
        await _begin(connection, name)
        return
    behind = next((at for at, top in enumerate(build.tops) if build.done[at] < top), None)
    if behind is not None:
        build = await _put_records(connection, name, build, behind, most)
        if name == "calls" or build.done != build.tops:
            await _store(connection, name, build)
            return
    elif name == "calls":
        changes, decided, last = await _decisions(connection, build.decided, most)
        await change_calls(connection, build.generation, changes)
        build = msgspec.structs.replace(build, decided=decided)
        if not last:
            await _store(connection, name, build)
            return
    await note_change(connection)  # from here on nobody adds to the log
    if name == "calls":
        changes, decided, last = await _decisions(connection, build.decided, most)
        await change_calls(connection, build.generation, changes)
        if not last:
            await _store(connection, name, msgspec.structs.replace(build, decided=decided))
            return
    await connection.execute(
        "UPDATE model SET version = $2, generation = $3 WHERE name = $1",
        name,
        build.version,
        build.generation,
    )
    await connection.execute("DELETE FROM build WHERE name = $1", name)


async def drop_old(connection: Connection, generations: Generations, most: int) -> bool:
    """`Store.drop_old`. A table that nobody reads any more is dropped whole: that takes no longer when it is
    large."""
    kept = {table: generations.written(name) for name, named in TABLES.items() for table in named}
    for table, (kind, generation) in (await _tables(connection)).items():
        if generation not in kept[kind]:
            await connection.execute(f"DROP TABLE {table}")
            return True
    return False


async def note_change(connection: Connection) -> None:
    """Lock every head until the end of the transaction, and have whoever adds to the log after it look at the
    models and the floor again."""
    await connection.execute("SELECT FROM head ORDER BY partition FOR UPDATE")
    await connection.execute("UPDATE head SET changes = changes + 1")


async def _begin(connection: Connection, name: str) -> None:
    taken = [generation for _, generation in (await _tables(connection)).values()]
    generation = max(taken) + 1
    await create(connection, name, generation)
    await note_change(connection)
    numbers = [row[0] for row in await connection.fetch("SELECT number FROM head ORDER BY partition")]
    tops = _tops(name, numbers)
    await _store(connection, name, Build(VERSIONS[name], generation, tops, (0,) * len(tops), 0))


async def _put_records(connection: Connection, name: str, build: Build, behind: int, most: int) -> Build:
    base = first_place(behind)
    found = await connection.fetch(
        f"""SELECT place, event, class, day FROM record WHERE class {"=" if behind == 0 else "<>"} {DECIDED}
        AND place > $1 AND place <= $2 ORDER BY place LIMIT $3""",
        base | build.done[behind],
        base | build.tops[behind],
        most,
    )
    come_to = found[-1][0] & NUMBER_MASK if len(found) == most else build.tops[behind]
    if name == "events":
        types = {row[1]: row[0] for row in await connection.fetch("SELECT number, name FROM type")}
        rows = [
            event_row(place, (class_, day), event, types[event.type])
            for (place, _, class_, day), event in zip(found, _decoded(found), strict=True)
        ]
        await copy(connection, f"event_{build.generation}", EVENT, rows)
    else:
        calls: list[tuple[Any, ...]] = []
        bodies: list[tuple[Any, ...]] = []
        for (place, _, class_, day), event in zip(found, _decoded(found), strict=True):
            if event.type != CallCaptured.TYPE:
                continue
            try:
                entry = call_entry(event)
            except BusError as error:
                _log.error("a recorded call cannot be read", place=place, event=event.id, error=str(error))
                continue
            calls.append(call_row(place, (class_, day), entry))
            bodies += body_rows(place, entry)
        await copy_calls(connection, build.generation, calls, bodies)
    done = (*build.done[:behind], come_to, *build.done[behind + 1 :])
    return msgspec.structs.replace(build, done=done)


async def _decisions(connection: Connection, decided: int, most: int) -> tuple[list[RowChange], int, bool]:
    """What the next decisions change, the number of the last one, and whether there were no more."""
    found = await connection.fetch(_DECISIONS, CATEGORY, decided, most)
    changes = []
    for (place, _), event in zip(found, _decoded(found), strict=True):
        try:
            change = change_of(event, CATEGORY)
        except BusError as error:
            _log.error("a recorded decision cannot be read", place=place, event=event.id, error=str(error))
            continue
        if change is not None:
            changes.append(change)
    return changes, found[-1][0] if found else decided, len(found) < most


async def _tables(connection: Connection) -> dict[str, tuple[str, int]]:
    """The tables of models that are there: which, and of which generation."""
    rows = await connection.fetch(
        "SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r'"
    )
    matches = (_GENERATION.fullmatch(row[0]) for row in rows)
    return {found[0]: (found[1], int(found[2])) for found in matches if found is not None}


async def _store(connection: Connection, name: str, build: Build) -> None:
    await connection.execute(
        """INSERT INTO build VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (name) DO UPDATE
        SET version = excluded.version, generation = excluded.generation, tops = excluded.tops,
        done = excluded.done, decided = excluded.decided""",
        name,
        build.version,
        build.generation,
        list(build.tops),
        list(build.done),
        build.decided,
    )


def _tops(name: str, numbers: Sequence[int]) -> tuple[int, ...]:
    return tuple(numbers) if name == "events" else (0, *numbers[1:])


def _decoded(found: Sequence[Any]) -> list[Event]:
    return codec.decode_batch(codec.join_batch([row[1] for row in found])) if found else []
