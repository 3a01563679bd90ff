"""How many calls of each kind a query finds."""

from __future__ import annotations

import sqlite3

import msgspec

from schemas.request_vault import Facets
from services.request_vault.domain.calls import CallQuery
from services.request_vault.domain.facets import Kind, facets_of
from services.request_vault.store import port
from services.request_vault.store.sqlite.models import Generations
from services.request_vault.store.sqlite.rows import fetch, select
from services.request_vault.store.sqlite.texts import Texts
from services.request_vault.store.sqlite.walking import Walking

_decoder = msgspec.json.Decoder(list[tuple[Kind, int]])


def facets(
    connection: sqlite3.Connection,
    generations: Generations,
    query: CallQuery,
    limit: int,
    partition: int,
    texts: Texts | None,
) -> Facets:
    """`Store.facets`."""
    walking = Walking(
        connection,
        generations,
        query,
        partition,
        before=None,
        after=None,
        scan=port.FACET_CALLS,
        texts=texts,
    )
    counted = fetch(
        connection,
        select(
            "json_array(host, method, status, template), calls",
            f"""(SELECT host, method, status / 100 * 100 AS status, template, count(*) AS calls
            {walking.source} GROUP BY host, method, status / 100, template)""",
        ),
        walking.parameters,
        _decoder,
    )
    return facets_of(counted, limit, complete=walking.reached() is None)
