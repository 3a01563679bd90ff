"""The read model of calls: pages of calls, and one call."""

from __future__ import annotations

import sqlite3

import msgspec

from services.request_vault.domain.calls import CallQuery, CallRow, fitting, marks, summary
from services.request_vault.domain.queries import asks_for_words
from services.request_vault.store import port
from services.request_vault.store.port import PAGE_BYTES, FoundCall, FoundCalls
from services.request_vault.store.sqlite.models import Generations
from services.request_vault.store.sqlite.places import NUMBER_MASK, position_of
from services.request_vault.store.sqlite.rows import fetch, select
from services.request_vault.store.sqlite.texts import Texts
from services.request_vault.store.sqlite.walking import Walking

FIRST_PAGES = 2
WORD_SCANS = (1_500, 6_000)

_calls_decoder = msgspec.json.Decoder(list[tuple[int, CallRow]])
_row_decoder = msgspec.json.Decoder(CallRow)
_FIELDS = ", ".join(CallRow._fields)
_ROW = f"json_array({_FIELDS})"


def search(
    connection: sqlite3.Connection,
    generations: Generations,
    query: CallQuery,
    partition: int,
    before: int | None,
    after: int | None,
    texts: Texts | None,
) -> FoundCalls:
    """`Store.search_calls`."""
    # Of words, all places are fetched that are looked at: mostly a few fill the page.
    words = (FIRST_PAGES * query.limit, *WORD_SCANS)
    for scan in (*words, port.SCAN_CALLS) if asks_for_words(query) else (port.SCAN_CALLS,):
        walking = Walking(
            connection,
            generations,
            query,
            partition,
            before=before,
            after=after,
            scan=min(scan, port.SCAN_CALLS),
            texts=texts,
        )
        walking.parameters["limit"] = query.limit + 1
        found = fetch(
            connection,
            select(f"place, {_ROW}", f"(SELECT place, {_FIELDS} {walking.source} LIMIT :limit)"),
            walking.parameters,
            _calls_decoder,
        )
        reached = None if len(found) > query.limit else walking.reached()
        if reached is None:
            break
    calls = [summary(row, position_of(place)) for place, row in found[: query.limit]]
    kept = tuple(calls[: fitting(calls, PAGE_BYTES)])
    if len(kept) < len(found):
        return FoundCalls(kept, more=True, reached=kept[-1].position[1])
    if reached is None:
        return FoundCalls(kept, more=False, reached=0 if after is None else NUMBER_MASK)
    return FoundCalls(kept, more=True, reached=reached & NUMBER_MASK)


def get_call(
    connection: sqlite3.Connection, generations: Generations, id: str, bucket: str | None, deleted: bool
) -> FoundCall | None:
    """`Store.get_call`: the first one recorded with this id."""
    condition = "c.id = ? AND (? IS NULL OR c.bucket = ?) AND (? OR c.deleted_us IS NULL)"
    return _first(connection, generations, condition, (id, bucket, bucket, deleted))


def get_shared(connection: sqlite3.Connection, generations: Generations, share: str) -> FoundCall | None:
    """`Store.get_shared`."""
    return _first(connection, generations, "c.share = ? AND c.deleted_us IS NULL", (share,))


def _first(
    connection: sqlite3.Connection,
    generations: Generations,
    condition: str,
    parameters: tuple[str | bool | None, ...],
) -> FoundCall | None:
    row = connection.execute(
        f"""SELECT r.place, r.recorded_us, r.event, json_array({", ".join(f"c.{f}" for f in CallRow._fields)})
        FROM {generations.call} c CROSS JOIN record r ON r.place = c.place
        WHERE {condition} ORDER BY c.place LIMIT 1""",
        parameters,
    ).fetchone()
    if row is None:
        return None
    place, recorded_us, event, entry = row
    return FoundCall(position_of(place), recorded_us, event, marks(_row_decoder.decode(entry)))
