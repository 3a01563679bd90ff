"""How many calls of each kind a query finds."""

from __future__ import annotations

from schemas.request_vault import Facets
from services.request_vault.domain.calls import CallQuery
from services.request_vault.domain.facets import facets_of
from services.request_vault.store import port
from services.request_vault.store.postgres.connections import Connection
from services.request_vault.store.postgres.models import Generations
from services.request_vault.store.postgres.rows import fetch, restored
from services.request_vault.store.postgres.texts import Texts
from services.request_vault.store.postgres.walking import Walking


async def facets(
    connection: Connection,
    generations: Generations,
    query: CallQuery,
    limit: int,
    partition: int,
    texts: Texts,
) -> Facets:
    """`Store.facets`."""
    walking = await Walking(
        connection,
        generations,
        query,
        partition,
        before=None,
        after=None,
        scan=port.FACET_CALLS,
        texts=texts,
    ).prepared()
    counted = await fetch(
        connection,
        f"""SELECT host, method, status / 100 * 100 AS status, template, count(*) AS calls
        {walking.source} GROUP BY host, method, status / 100, template""",
        walking.parameters,
    )
    kinds = (
        ((restored(host), restored(method), status, restored(template)), calls)
        for host, method, status, template, calls in counted
    )
    return facets_of(kinds, limit, complete=await walking.reached() is None)
