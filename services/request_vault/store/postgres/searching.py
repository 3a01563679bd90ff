"""The read model of calls: pages of calls, and one call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from services.calls.query import Words, within
from services.request_vault.domain.calls import CallQuery, CallRow, fitting, marks, summary
from services.request_vault.store import port
from services.request_vault.store.port import FoundCall, FoundCalls
from services.request_vault.store.postgres.connections import Connection
from services.request_vault.store.postgres.models import VERSIONS, Generations
from services.request_vault.store.postgres.models.removing import unnamed
from services.request_vault.store.postgres.places import NUMBER_MASK, position_of
from services.request_vault.store.postgres.rows import fetch, restored, stored
from services.request_vault.store.postgres.texts import Texts
from services.request_vault.store.postgres.walking import Walking

LOOKS = (2, 30)
"""How many pages of calls that hold the words are looked at first."""

_FIELDS = ", ".join(f"c.{name}" for name in CallRow._fields)


async def search(
    connection: Connection,
    generations: Generations,
    query: CallQuery,
    partition: int,
    before: int | None,
    after: int | None,
    texts: Texts,
) -> FoundCalls:
    """`Store.search_calls`. What holds common words is mostly found among the first that hold them: those
    are looked at by themselves before as many as may be are gathered."""
    scans = [port.SCAN_CALLS]
    if query.where is not None and any(isinstance(term, Words) for term in within(query.where)):
        scans = [*(min(port.SCAN_CALLS, pages * query.limit) for pages in LOOKS), port.SCAN_CALLS]
    for scan in scans:
        found = await _searched(connection, generations, query, partition, before, after, texts, scan)
        if len(found.calls) == query.limit or not found.more:
            break
    return found


async def _searched(
    connection: Connection,
    generations: Generations,
    query: CallQuery,
    partition: int,
    before: int | None,
    after: int | None,
    texts: Texts,
    scan: int,
) -> FoundCalls:
    walking = await Walking(
        connection,
        generations,
        query,
        partition,
        before=before,
        after=after,
        scan=scan,
        texts=texts,
    ).prepared()
    walking.parameters["limit"] = query.limit + 1
    found = await fetch(
        connection,
        f"SELECT c.place, {_FIELDS} {walking.source} {walking.order} LIMIT :limit",
        walking.parameters,
    )
    calls = [summary(call_row(row[1:]), position_of(row[0])) for row in found[: query.limit]]
    kept = tuple(calls[: fitting(calls, port.PAGE_BYTES)])
    if len(kept) < len(found):
        return FoundCalls(kept, more=True, reached=kept[-1].position[1])
    reached = await walking.reached()
    if reached is None:
        return FoundCalls(kept, more=False, reached=0 if after is None else NUMBER_MASK)
    return FoundCalls(kept, more=True, reached=reached & NUMBER_MASK)


async def get_call(
    connection: Connection, generations: Generations, id: str, bucket: str | None, deleted: bool
) -> FoundCall | None:
    """`Store.get_call`: the first one recorded with this id."""
    return await _first(
        connection,
        generations,
        "c.id = $1 AND ($2::text IS NULL OR c.bucket = $2) AND ($3 OR c.deleted_us IS NULL) ORDER BY c.place",
        stored(id),
        None if bucket is None else stored(bucket),
        deleted,
    )


async def get_shared(connection: Connection, generations: Generations, share: str) -> FoundCall | None:
    """`Store.get_shared`."""
    return await _first(
        connection,
        generations,
        """left(c.share, 200) = left($1, 200) AND c.share = $1 AND c.share IS NOT NULL
        AND c.deleted_us IS NULL ORDER BY c.place + 0""",
        stored(share),
    )


async def named(
    connection: Connection, generations: Generations, bucket: str, hashes: Sequence[str]
) -> set[str]:
    """`Store.named`."""
    if generations.versions["calls"] != VERSIONS["calls"]:
        return set(hashes)  # a model of an older version may not know
    none = await unnamed(connection, generations, [(bucket, sha256) for sha256 in hashes])
    return set(hashes) - {sha256 for _, sha256 in none}


async def _first(
    connection: Connection, generations: Generations, condition: str, *parameters: str | bool | None
) -> FoundCall | None:
    row = await connection.fetchrow(
        f"""SELECT r.place, r.recorded_us, r.event, {_FIELDS}
        FROM {generations.call} c JOIN record r ON r.class = c.class AND r.day = c.day AND r.place = c.place
        WHERE {condition} LIMIT 1""",
        *parameters,
    )
    if row is None:
        return None
    place, recorded_us, event, *fields = row
    return FoundCall(position_of(place), recorded_us, event, marks(call_row(fields)))


def call_row(fields: Sequence[Any]) -> CallRow:
    """A row of the table, its columns in the order of CallRow."""
    texts: list[Any] = [restored(field) if type(field) is str else field for field in fields]
    row = CallRow(*texts)
    tags: Any = row.tags
    return row._replace(tags=msgspec.json.encode([restored(tag) for tag in tags]).decode() if tags else "[]")
