"""`Store.look_back`, over the read model of events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from schemas.request_vault import DecisionPage
from services.request_vault.store import looking_back as rules
from services.request_vault.store.postgres.connections import Connection
from services.request_vault.store.postgres.models import Generations
from services.request_vault.store.postgres.places import NUMBER_MASK
from services.request_vault.store.postgres.reading import records_at, type_numbers
from services.request_vault.store.postgres.rows import stored

# Decisions are in partition 0: their places are their numbers. Each key's index is walked for itself.
_WITHIN = "e.place > $4 AND e.place < $2"
_TASTE = 8
_LOOKED_AT = """
SELECT e.place, e.type FROM {event} e WHERE {of_key} AND {within} ORDER BY e.place DESC LIMIT $3
"""
_MATCHING = """
SELECT k.key, m.place FROM unnest($1::text[]) k (key) CROSS JOIN LATERAL (
    SELECT s.place FROM ({looked_at}) s {of_types} ORDER BY s.place DESC LIMIT $5
) m
"""
_LOOKED_TO = """
SELECT k.key, m.place FROM unnest($1::text[]) k (key) CROSS JOIN LATERAL (
    SELECT e.place FROM {event} e WHERE {of_key} AND {within} ORDER BY e.place DESC LIMIT 1 OFFSET $3 - 1
) m
"""


async def look_back(
    connection: Connection,
    generations: Generations,
    types: Sequence[str],
    keys: Sequence[str],
    before: int,
    limit: int,
) -> DecisionPage:
    of = {
        "event": generations.event,
        "within": _WITHIN,
        "of_key": 'e.key = k.key COLLATE "C"' if keys else "true",
    }
    looked_at = _LOOKED_AT.format(**of)
    of_types = "WHERE s.type = ANY ($6::integer[])" if types else ""
    asked: list[Any] = [
        [stored(key) for key in dict.fromkeys(keys)] if keys else [""],
        min(before, NUMBER_MASK) or NUMBER_MASK,
        rules.share(keys, limit),
    ]
    numbers = [await type_numbers(connection, types)] if types else []
    matching = _MATCHING.format(looked_at=looked_at, of_types=of_types)
    floor = 0
    if len(asked[0]) > 1:  # a few of each tell how far back the page can reach at most
        each = min(limit, 2 * limit // len(asked[0]) + _TASTE)
        tasted = await connection.fetch(matching, *asked, 0, each, *numbers)
        few = rules.newest((place for _, place in tasted), limit)
        floor = few[-1] - 1 if len(few) == limit else 0
    found: dict[str, list[int]] = {}
    for key, place in await connection.fetch(matching, *asked, floor, limit, *numbers):
        found.setdefault(key, []).append(place)
    full = {key: min(places) for key, places in found.items() if len(places) == limit}
    looked_to = max(full.values(), default=0)
    asked[0] = [key for key in asked[0] if key not in full]
    if asked[0]:
        for _, place in await connection.fetch(_LOOKED_TO.format(**of), *asked, floor):
            looked_to = max(looked_to, place)
    page, reached = rules.kept((place for places in found.values() for place in places), looked_to, limit)
    records = await records_at(connection, page)
    if records and len(records) < len(page):
        reached = records[-1].position[1]
    return DecisionPage(records, reached)
