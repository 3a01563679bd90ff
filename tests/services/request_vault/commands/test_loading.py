"""Links that come one by one, given to a store as many at a time as it likes."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.request_vault.commands.loading import BATCH_LINKS, Batches
from services.request_vault.domain.comparing import LinksDiffer
from services.request_vault.domain.links import Anchor, Link
from services.request_vault.store.port import Scope, Store
from tests.conformance.vault.proofs import every_link, problems
from tests.services.request_vault.commands.a_vault import AVault
from tests.services.request_vault.samples import order

READ = 900
RECORDS = 1500


async def load(store: Store, links: list[Link]) -> None:
    batches = Batches(store)
    for link in links:
        await batches.add(link)
    await batches.flush()


@pytest.mark.parametrize("before", [0, BATCH_LINKS + 50, READ])
async def test_a_log_that_retention_went_through_while_it_was_read(tmp_path: Path, before: int) -> None:
    """Its records come first, and then what is left of their segment: nothing but a seal. That is taken, also
    by a vault that has the beginning of these records; by no other."""
    source, target = AVault(tmp_path / "source"), AVault(tmp_path / "target")
    async with source.opened(partitions=1) as store:
        await store.record([order(number) for number in range(RECORDS)])
        first = await store.links(1, 0, READ)
        while (await store.trim(Scope(keep_records=200), 250)).more:
            pass
        rest = await store.links(1, READ, RECORDS)
        whole = rest[0]
        assert isinstance(whole, Anchor)
        assert (whole.first, whole.digests) == (1, b"")
        async with target.opened(partitions=1) as copy:
            await copy.load(first[:before])
            await load(copy, [*first, *rest])
            links = [link async for link in every_link(copy, 1)]
            assert links == [link async for link in every_link(store, 1)]
            assert await problems(copy) == []


async def test_a_vault_that_has_more_of_a_segment_than_was_read(tmp_path: Path) -> None:
    source, target = AVault(tmp_path / "source"), AVault(tmp_path / "target")
    async with source.opened(partitions=1) as store, target.opened(partitions=1) as copy:
        await store.record([order(number) for number in range(RECORDS)])
        first = await store.links(1, 0, READ)
        await copy.load(first)
        while (await store.trim(Scope(keep_records=200), 250)).more:
            pass
        with pytest.raises(LinksDiffer, match="cannot be told"):
            await load(copy, [*first[: READ - 1], *await store.links(1, READ - 1, RECORDS)])
        assert [link async for link in every_link(copy, 1)] == first
