"""Which observations retention takes next: the oldest of what a scope holds too much of. Runs inside the
writer's transaction.
"""

from __future__ import annotations

import sqlite3
from typing import Any

import msgspec

from services.request_vault.domain.recording import partition_of
from services.request_vault.store.port import Scope, Trimmed
from services.request_vault.store.sqlite.ledger import Ledger
from services.request_vault.store.sqlite.models.definitions import PROTECTED
from services.request_vault.store.sqlite.places import PARTITION_SHIFT, position_of
from services.request_vault.store.sqlite.removing import remove
from services.request_vault.store.sqlite.rows import fetch, select

STEP_BYTES = 1024 * 1024
"""A step takes no more payload than this, but at least one record."""


class _Candidate(msgspec.Struct, array_like=True):
    place: int
    recorded_us: int
    event_bytes: int
    is_call: int


_candidate_decoder = msgspec.json.Decoder(list[_Candidate])

_COLUMNS = "r.place, r.recorded_us, length(r.event) AS event_bytes, c.place IS NOT NULL AS is_call"
_OF_KEY = """
FROM {event} e INDEXED BY {event}_key CROSS JOIN record r ON r.place = e.place
LEFT JOIN {call} c ON c.place = e.place
WHERE e.key = :key AND e.place >= :first AND e.place < :end AND NOT coalesce({protected}, false)
ORDER BY e.place LIMIT :most
"""
_OF_PARTITION = """
FROM record r LEFT JOIN {call} c ON c.place = r.place
WHERE r.place >= :first AND r.place < :end AND NOT coalesce({protected}, false)
ORDER BY r.place LIMIT :most
"""
_DELETED = """
FROM {call} c CROSS JOIN record r ON r.place = c.place
WHERE c.deleted_us < :deleted_before_us AND c.deleted_us IS NOT NULL AND (:key IS NULL OR c.bucket = :key)
ORDER BY c.deleted_us LIMIT :most
"""


def trim(connection: sqlite3.Connection, ledger: Ledger, scope: Scope, most: int, now_us: int) -> Trimmed:
    """`Store.trim`."""
    if scope.deleted_before_us is not None:
        found = _candidates(
            connection, ledger, _DELETED, key=scope.key, deleted_before_us=scope.deleted_before_us, most=most
        )
    else:
        found = _too_much(connection, ledger, scope, most, now_us)
    chosen = _within_step(found)
    removal = remove(connection, ledger, sorted(each.place for each in chosen), now_us)
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


def _too_much(
    connection: sqlite3.Connection, ledger: Ledger, scope: Scope, most: int, now_us: int
) -> list[_Candidate]:
    """The oldest first."""
    oldest: list[_Candidate] = []
    partitions = range(1, ledger.partitions + 1)
    if scope.key is not None:
        partitions = range(own := partition_of(scope.key, ledger.partitions), own + 1)
    for partition in partitions:
        oldest += _candidates(
            connection,
            ledger,
            _OF_PARTITION if scope.key is None else _OF_KEY,
            key=scope.key,
            first=partition << PARTITION_SHIFT,
            end=partition + 1 << PARTITION_SHIFT,
            most=most,
            now_us=now_us,
        )
    oldest.sort(key=lambda each: (each.recorded_us, each.place))
    records, calls, bytes_ = _excess(connection, scope)
    chosen: list[_Candidate] = []
    for each in oldest[:most]:
        old = scope.before_us is not None and each.recorded_us < scope.before_us
        if not (old or records > 0 or calls > 0 or bytes_ > 0):
            break
        chosen.append(each)
        records -= 1
        calls -= each.is_call
        bytes_ -= each.event_bytes
    return chosen


def _excess(connection: sqlite3.Connection, scope: Scope) -> tuple[int, int, int]:
    """How many records, calls and bytes there are beyond what the scope keeps."""
    kept = (scope.keep_records, scope.keep_calls, scope.keep_bytes)
    if kept == (None, None, None):
        return 0, 0, 0
    held = connection.execute(
        """SELECT coalesce(sum(records), 0), coalesce(sum(calls), 0), coalesce(sum(bytes), 0) FROM usage
        WHERE :key IS NULL OR key = :key"""
        if scope.key is None
        else "SELECT records, calls, bytes FROM usage WHERE key = :key",
        {"key": scope.key},
    ).fetchone() or (0, 0, 0)
    records, calls, bytes_ = (0 if most is None else has - most for has, most in zip(held, kept, strict=True))
    return records, calls, bytes_


def _candidates(
    connection: sqlite3.Connection, ledger: Ledger, source: str, **parameters: Any
) -> list[_Candidate]:
    generations = ledger.generations
    rows = source.format(event=generations.event, call=generations.call, protected=PROTECTED)
    statement = select("place, recorded_us, event_bytes, is_call", f"(SELECT {_COLUMNS} {rows})")
    return fetch(connection, statement, parameters, _candidate_decoder)


def _within_step(candidates: list[_Candidate]) -> list[_Candidate]:
    """As many as STEP_BYTES hold, at least one."""
    size = 0
    for count, each in enumerate(candidates):
        size += each.event_bytes
        if size > STEP_BYTES and count:
            return candidates[:count]
    return candidates
