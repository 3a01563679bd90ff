"""`Store.look_back`, over the read model of events."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import msgspec

from schemas.request_vault import DecisionPage
from services.request_vault.store import looking_back as rules
from services.request_vault.store.sqlite.models import Generations
from services.request_vault.store.sqlite.places import NUMBER_MASK
from services.request_vault.store.sqlite.reading import records_at, type_numbers
from services.request_vault.store.sqlite.rows import fetch, json_list, select

_place_decoder = msgspec.json.Decoder(list[tuple[int]])

# Decisions are in partition 0: their places are their numbers.
_OF_KEY = "SELECT place, type FROM {event} WHERE key = :key AND place > :floor AND place < :before"
_OF_ANY = "SELECT place, type FROM {event} WHERE place > :floor AND place < :before"
_NEWEST = " ORDER BY place DESC"


def look_back(
    connection: sqlite3.Connection,
    generations: Generations,
    types: Sequence[str],
    keys: Sequence[str],
    before: int,
    limit: int,
) -> DecisionPage:
    shared = {
        "before": min(before, NUMBER_MASK) or NUMBER_MASK,
        "share": rules.share(keys, limit),
        "limit": limit,
        "types": json_list(type_numbers(connection, types)) if types else "",
    }
    source = (_OF_KEY if keys else _OF_ANY).format(event=generations.event)
    of_types = "WHERE type IN (SELECT value FROM json_each(:types))" if types else ""
    matching = select(
        "place", f"(SELECT place FROM ({source}{_NEWEST} LIMIT :share) {of_types}{_NEWEST} LIMIT :limit)"
    )
    looked_to_last = f"SELECT place FROM ({source}){_NEWEST} LIMIT 1 OFFSET :share - 1"
    found: list[int] = []
    looked_to = floor = 0
    for key in dict.fromkeys(keys) if keys else ("",):
        parameters = {**shared, "key": key, "floor": floor}
        places = [place for (place,) in fetch(connection, matching, parameters, _place_decoder)]
        found = rules.newest((*found, *places), limit)
        floor = found[-1] if len(found) == limit else 0  # nothing below it is on the page
        if len(places) == limit:
            looked_to = max(looked_to, places[-1])
        else:
            last = connection.execute(looked_to_last, parameters).fetchone()
            looked_to = max(looked_to, last[0] if last is not None else 0)
    page, reached = rules.kept(found, looked_to, limit)
    records = records_at(connection, page)
    if records and len(records) < len(page):
        reached = records[-1].position[1]
    return DecisionPage(records, reached)
