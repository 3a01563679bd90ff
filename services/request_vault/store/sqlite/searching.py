"""The read model of calls: pages of calls, newest first, and one call.

A search walks one index from the newest call downwards and stops when its page is full. Which index: each
that a filter allows is probed for its newest PROBE entries, and the one that spreads them thinnest is
walked, because it holds the fewest calls between one that is wanted and the next.
"""

from __future__ import annotations

import sqlite3
from typing import Any

import msgspec

from schemas.request_vault import CallSummary
from services.request_vault.domain.calls import CLOCK_LEAD_US, CallQuery, after_prefix
from services.request_vault.domain.recording import from_us
from services.request_vault.store.port import PAGE_BYTES, FoundCall, FoundCalls
from services.request_vault.store.sqlite.filtering import condition_of
from services.request_vault.store.sqlite.rows import fetch, select
from services.request_vault.store.sqlite.schema import NUMBER_MASK, PARTITION_SHIFT

PROBE = 1000


class _Call(msgspec.Struct, array_like=True):
    place: int
    id: str
    bucket: str
    started_us: int
    method: str
    scheme: str
    host: str
    path: str
    query: str
    status: int | None
    duration_us: int
    request_bytes: int
    response_bytes: int
    content_type: str | None
    error: str | None
    origin: str


_call_decoder = msgspec.json.Decoder(list[_Call])
_COLUMNS = ", ".join(_Call.__struct_fields__)

# The first place in a partition whose record is not older than :oldest_us, by halving: times of recording
# never go back.
_FIRST_SINCE = """
WITH RECURSIVE halved(low, high) AS (
    VALUES (:low, :high)
    UNION ALL
    SELECT iif({late}, low, (low + high) / 2 + 1), iif({late}, (low + high) / 2, high)
    FROM halved WHERE low < high
)
SELECT low FROM halved WHERE low >= high
""".replace(
    "{late}",
    """coalesce(
        (SELECT recorded_us FROM record WHERE place >= (low + high) / 2 ORDER BY place LIMIT 1) >= :oldest_us,
        1
    )""",
)


def search(
    connection: sqlite3.Connection, query: CallQuery, partition: int, before: int | None, after: int | None
) -> FoundCalls:
    """`Store.search_calls`."""
    base = partition << PARTITION_SHIFT
    parameters: dict[str, Any] = {
        "bucket": query.bucket,
        "first": base + 1 + (after or 0),
        "before": base + (NUMBER_MASK if before is None else before),
        "limit": query.limit + 1,
        "probe": PROBE,
    }
    if query.since_us is not None:
        since = _first_since(connection, partition, query.since_us - CLOCK_LEAD_US)
        parameters["first"] = max(parameters["first"], since)
    order = "DESC" if after is None else "ASC"
    conditions = _conditions(query, parameters)
    index = _thinnest(connection, _candidates(query), parameters)
    statement = select(
        _COLUMNS,
        f"""(SELECT {_COLUMNS} FROM call INDEXED BY {index}
            WHERE bucket = :bucket AND place >= :first AND place < :before {conditions}
            ORDER BY place {order} LIMIT :limit)""",
    )
    rows = fetch(connection, statement, parameters, _call_decoder)
    kept = _within_page(rows[: query.limit])
    return FoundCalls(tuple(_summary(row) for row in kept), more=len(kept) < len(rows))


def get_call(connection: sqlite3.Connection, id: str, bucket: str | None) -> FoundCall | None:
    """`Store.get_call`: the first one recorded with this id."""
    row = connection.execute(
        """SELECT r.place, r.recorded_us, r.event FROM call c CROSS JOIN record r ON r.place = c.place
        WHERE c.id = ? AND (? IS NULL OR c.bucket = ?) ORDER BY c.place LIMIT 1""",
        (id, bucket, bucket),
    ).fetchone()
    return (
        None if row is None else FoundCall((row[0] >> PARTITION_SHIFT, row[0] & NUMBER_MASK), row[1], row[2])
    )


def _candidates(query: CallQuery) -> dict[str, str]:
    """The indices that this query can walk, each with the condition that it answers by itself."""
    candidates: dict[str, str] = {}
    if query.error or query.error_slug is not None:
        candidates["call_error"] = "AND error IS NOT NULL"
    if query.status_class is not None:
        candidates["call_status"] = "AND status / 100 = :status_class"
    if query.host is not None:
        candidates["call_host"] = "AND host = :host"
    if query.method is not None:
        candidates["call_method"] = "AND method = :method"
    return candidates or {"call_newest": ""}


def _thinnest(connection: sqlite3.Connection, candidates: dict[str, str], parameters: dict[str, Any]) -> str:
    if len(candidates) == 1:
        return next(iter(candidates))
    spreads: list[tuple[bool, int, str]] = []
    for index, condition in candidates.items():
        count, oldest = connection.execute(
            f"""SELECT count(*), min(place) FROM (SELECT place FROM call INDEXED BY {index}
            WHERE bucket = :bucket AND place >= :first AND place < :before {condition}
            ORDER BY place DESC LIMIT :probe)""",
            parameters,
        ).fetchone()
        whole = count < PROBE
        spreads.append((not whole, count if whole else oldest, index))
    return min(spreads)[2]


def _conditions(query: CallQuery, parameters: dict[str, Any]) -> str:
    """Every filter as SQL over `parameters`, which are filled in."""
    conditions: list[str] = []

    def add(sql: str, **values: object) -> None:
        conditions.append(f"AND {sql}")
        parameters.update(values)

    if query.method is not None:
        add("method = :method", method=query.method)
    if query.host is not None:
        add("host = :host", host=query.host)
    if query.path is not None:
        add("path >= :path", path=query.path)
        if (following := after_prefix(query.path)) is not None:
            add("path < :following", following=following)
    if query.status_class is not None:
        add("status / 100 = :status_class", status_class=query.status_class)
    if query.status is not None:
        # The plus keeps SQLite from putting the constant into `status / 100`, which would hide the index.
        add("+status = :status", status=query.status)
    if query.error_slug is not None:
        add("error = :error_slug", error_slug=query.error_slug)
    if query.error or query.error_slug is not None:
        add("error IS NOT NULL")
    elif query.error is False:
        add("error IS NULL")
    if query.since_us is not None:
        add("started_us >= :since_us", since_us=query.since_us)
    if query.before_us is not None:
        add("started_us < :before_us", before_us=query.before_us)
    if query.where is not None:
        add(condition_of(query.where, parameters))
    return " ".join(conditions)


def _first_since(connection: sqlite3.Connection, partition: int, oldest_us: int) -> int:
    (head,) = connection.execute("SELECT number FROM head WHERE partition = ?", (partition,)).fetchone()
    low = (partition << PARTITION_SHIFT) + 1
    (place,) = connection.execute(
        _FIRST_SINCE, {"low": low, "high": low + head, "oldest_us": oldest_us}
    ).fetchone()
    return int(place)


def _within_page(rows: list[_Call]) -> list[_Call]:
    """As many as PAGE_BYTES hold, at least one."""
    size = 0
    for count, row in enumerate(rows):
        texts = row.path + row.query + row.host
        size += 512 + len(texts) * (1 if texts.isascii() else 4)
        if size > PAGE_BYTES and count:
            return rows[:count]
    return rows


def _summary(row: _Call) -> CallSummary:
    return CallSummary(
        id=row.id,
        bucket=row.bucket,
        started_at=from_us(row.started_us),
        method=row.method,
        scheme=row.scheme,
        host=row.host,
        path=row.path,
        query=row.query,
        status=row.status,
        duration_ms=row.duration_us / 1000,
        request_bytes=row.request_bytes,
        response_bytes=row.response_bytes,
        content_type=row.content_type,
        error=row.error,
        origin=row.origin,
        position=(row.place >> PARTITION_SHIFT, row.place & NUMBER_MASK),
    )
