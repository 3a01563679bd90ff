"""Copying a log into another vault, link by link, and what the two have in common then."""

from __future__ import annotations

from collections.abc import AsyncIterator

from services.request_vault.domain.calls import CallQuery
from services.request_vault.domain.links import Link, last_number
from services.request_vault.store.port import Scope, Store
from tests.conformance.vault.proofs import every_link
from tests.conformance.vault.vaults import whole_log
from tests.services.request_vault.samples import BUCKET


async def copy(source: Store, target: Store, step: int = 100, most: int | None = None) -> None:
    """Observations first, as `load` asks for; `most`: only so many pages."""
    ends = await source.ends()
    for end in (*ends[1:], ends[0]):
        after = 0
        while page := await source.links(end.partition, after, step):
            await target.load(page)
            after = last_number(page[-1])
            if most is not None and (most := most - 1) == 0:
                return


async def content(store: Store) -> object:
    """What two vaults of one log share."""
    links = [[link async for link in every_link(store, end.partition)] for end in await store.ends()]
    stats = await store.stats()
    calls = await store.search_calls(CallQuery(BUCKET, limit=500))
    return (
        links,
        await whole_log(store),
        stats.partitions,
        stats.usage,
        stats.calls,
        calls.calls,
        store.heads(),
    )


async def pages(store: Store, partition: int, limit: int, after: int = 0) -> AsyncIterator[list[Link]]:
    while page := await store.links(partition, after, limit):
        yield page
        after = last_number(page[-1])


async def trim_all_but(store: Store, records: int) -> None:
    while (await store.trim(Scope(keep_records=records), 250)).more:
        pass
