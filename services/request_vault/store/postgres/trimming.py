"""Which observations retention takes next, and which an erasure does. Runs inside an upkeep transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

from schemas.request_vault import CATEGORY, MARK_FACTS
from services.request_vault.domain.cursors import Vector
from services.request_vault.domain.recording import DECISIONS, partition_of
from services.request_vault.store.port import Erased, Scope, Trimmed
from services.request_vault.store.postgres.connections import Connection
from services.request_vault.store.postgres.models import Generations
from services.request_vault.store.postgres.models.definitions import PROTECTED
from services.request_vault.store.postgres.places import first_place, position_of
from services.request_vault.store.postgres.removing import Located, remove
from services.request_vault.store.postgres.rows import fetch, restored, stored

STEP_BYTES = 1024 * 1024
"""A step takes no more payload than this, but at least one record."""

_SAME_LEAF = "r.class = e.class AND r.day = e.day AND r.place = e.place"
_COLUMNS = "e.class, e.day, e.place, r.recorded_us, octet_length(r.event), c.id"
_OF_KEY = """
FROM {event} e JOIN record r ON {same_leaf} LEFT JOIN {call} c ON c.place = e.place
WHERE e.key = :key AND e.place >= :first AND e.place < :end AND NOT coalesce({protected}, false)
ORDER BY e.place LIMIT :most
"""
_OF_PARTITION = """
FROM {event} e JOIN record r ON {same_leaf} LEFT JOIN {call} c ON c.place = e.place
WHERE e.place >= :first AND e.place < :end AND NOT coalesce({protected}, false)
ORDER BY e.place LIMIT :most
"""
_DELETED = """
FROM {call} c JOIN {event} e ON e.place = c.place JOIN record r ON {same_leaf}
WHERE c.deleted_us < :deleted_before_us AND c.deleted_us IS NOT NULL AND (:key IS NULL OR c.bucket = :key)
ORDER BY c.deleted_us LIMIT :most
"""
_OBSERVED = """
FROM {event} e JOIN record r ON {same_leaf} LEFT JOIN {call} c ON c.place = e.place
WHERE e.key = :key AND e.place > :first AND e.place <= :end ORDER BY e.place LIMIT :most
"""
# What was said of calls that went before.
_SAID = """
FROM {event} e JOIN record r ON {same_leaf} LEFT JOIN {call} c ON false
WHERE e.key = :key AND e.place > :first AND e.place <= :end AND e.type = ANY (:types)
ORDER BY e.place LIMIT :most
"""
_OF_STREAMS = """
SELECT r.class, r.day, r.place FROM unnest($1::text[]) w (stream)
JOIN record r ON left(r.stream, 200) = left(w.stream, 200) AND r.stream = w.stream WHERE r.key = $2
"""


class _Candidate(NamedTuple):
    class_: int
    day: int
    place: int
    recorded_us: int
    event_bytes: int
    call_id: str | None

    @property
    def located(self) -> Located:
        return Located(self.class_, self.day, self.place)


async def trim(
    connection: Connection, generations: Generations, partitions: int, scope: Scope, most: int, now_us: int
) -> Trimmed:
    """`Store.trim`. partitions: of observations."""
    if scope.deleted_before_us is not None:
        found = await _candidates(
            connection,
            generations,
            _DELETED,
            key=None if scope.key is None else stored(scope.key),
            deleted_before_us=scope.deleted_before_us,
            most=most,
        )
    else:
        found = await _too_much(connection, generations, partitions, scope, most, now_us)
    chosen = _within_step(found)
    removal = await remove(connection, generations, [each.located for each in chosen], now_us)
    places = removal.places
    return Trimmed(
        records=len(places),
        calls=removal.calls,
        bytes=removal.bytes,
        first=position_of(places[0]) if places else None,
        last=position_of(places[-1]) if places else None,
        bodies=removal.bodies,
        more=bool(places) and (len(found) == most or len(chosen) < len(found)),
    )


async def erase(
    connection: Connection,
    generations: Generations,
    bucket: str,
    call_ids: Sequence[str],
    by: str,
    why: str,
    now_us: int,
) -> Erased:
    """`Store.erase`: the calls with these ids, other observations of theirs, and the decisions about them."""
    calls = await connection.fetch(
        f"SELECT class, day, place, id FROM {generations.call} WHERE id = ANY ($1::text[]) AND bucket = $2",
        [stored(id) for id in call_ids],
        stored(bucket),
    )
    streams = [f"{area}.call-{id}" for id in call_ids for area in ("traffic", CATEGORY)]
    located = [Located(*row[:3]) for row in calls] + await _of_streams(connection, streams, bucket)
    removal = await remove(connection, generations, located, now_us, erased=(by, why))
    found = dict.fromkeys(restored(row[3]) for row in sorted(calls, key=lambda row: row[2]))
    return Erased(calls=tuple(found), records=len(removal.places), bodies=removal.bodies)


async def erase_bucket(
    connection: Connection,
    generations: Generations,
    partitions: int,
    bucket: str,
    upto: Vector,
    most: int,
    by: str,
    why: str,
    now_us: int,
) -> Erased:
    """`Store.erase_bucket`."""
    own = partition_of(bucket, partitions)
    bounds: dict[str, Any] = {"key": stored(bucket), "most": most}
    found = _within_step(
        await _candidates(
            connection,
            generations,
            _OBSERVED,
            first=first_place(own),
            end=first_place(own) | upto.get(own, 0),
            **bounds,
        )
    )
    ids = tuple(dict.fromkeys(each.call_id for each in found if each.call_id is not None))
    located = [each.located for each in found]
    if ids:
        located += await _of_streams(connection, [f"{CATEGORY}.call-{restored(id)}" for id in ids], bucket)
    if not located:
        types = await connection.fetch(
            "SELECT number FROM type WHERE name = ANY ($1::text[])", [fact.TYPE for fact in MARK_FACTS]
        )
        said = await _candidates(
            connection,
            generations,
            _SAID,
            first=first_place(DECISIONS),
            end=first_place(DECISIONS) | upto.get(DECISIONS, 0),
            types=[row[0] for row in types],
            **bounds,
        )
        located = [each.located for each in said]
    removal = await remove(connection, generations, located, now_us, erased=(by, why))
    return Erased(calls=tuple(restored(id) for id in ids), records=len(removal.places), bodies=removal.bodies)


async def _too_much(
    connection: Connection, generations: Generations, partitions: int, scope: Scope, most: int, now_us: int
) -> list[_Candidate]:
    """The oldest first."""
    oldest: list[_Candidate] = []
    where = range(1, partitions + 1)
    bounds: dict[str, Any] = {"most": most, "now_us": now_us}
    if scope.key is not None:
        where = range(own := partition_of(scope.key, partitions), own + 1)
        bounds["key"] = stored(scope.key)
    for partition in where:
        oldest += await _candidates(
            connection,
            generations,
            _OF_PARTITION if scope.key is None else _OF_KEY,
            first=first_place(partition),
            end=first_place(partition + 1),
            **bounds,
        )
    oldest.sort(key=lambda each: (each.recorded_us, each.place))
    records, calls, bytes_ = await _excess(connection, scope)
    chosen: list[_Candidate] = []
    for each in oldest[:most]:
        old = scope.before_us is not None and each.recorded_us < scope.before_us
        if not (old or records > 0 or calls > 0 or bytes_ > 0):
            break
        chosen.append(each)
        records -= 1
        calls -= each.call_id is not None
        bytes_ -= each.event_bytes
    return chosen


async def _excess(connection: Connection, scope: Scope) -> tuple[int, int, int]:
    """How many records, calls and bytes there are beyond what the scope keeps."""
    kept = (scope.keep_records, scope.keep_calls, scope.keep_bytes)
    if kept == (None, None, None):
        return 0, 0, 0
    held = await connection.fetchrow(
        """SELECT coalesce(sum(records), 0)::bigint, coalesce(sum(calls), 0)::bigint,
        coalesce(sum(bytes), 0)::bigint FROM usage WHERE $1::text IS NULL OR key = $1""",
        None if scope.key is None else stored(scope.key),
    )
    assert held is not None
    records, calls, bytes_ = (0 if most is None else has - most for has, most in zip(held, kept, strict=True))
    return records, calls, bytes_


async def _candidates(
    connection: Connection, generations: Generations, source: str, **parameters: Any
) -> list[_Candidate]:
    rows = source.format(
        event=generations.event,
        call=generations.call,
        protected=PROTECTED.format(now_us=":now_us"),
        same_leaf=_SAME_LEAF,
    )
    return [_Candidate(*row) for row in await fetch(connection, f"SELECT {_COLUMNS} {rows}", parameters)]


async def _of_streams(connection: Connection, streams: Sequence[str], bucket: str) -> list[Located]:
    rows = await connection.fetch(_OF_STREAMS, [stored(stream) for stream in streams], stored(bucket))
    return [Located(*row) for row in rows]


C = TypeVar("C", bound=_Candidate)


def _within_step(candidates: list[C]) -> list[C]:
    """As many as STEP_BYTES hold, at least one."""
    size = 0
    for count, each in enumerate(candidates):
        size += each.event_bytes
        if size > STEP_BYTES and count:
            return candidates[:count]
    return candidates
