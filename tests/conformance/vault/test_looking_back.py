"""Decisions read from the newest on, of some types and keys."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from bus import codec
from services.request_vault.store.port import Store
from tests.conformance.vault.vaults import Open, ids
from tests.services.request_vault.samples import OrderPaid, captured, decision, event_of, order


async def fill(store: Store) -> None:
    """d-0 to d-23 with the keys k-0, k-1, k-2 in turn, every fourth of another type; observations of the same
    keys between them."""
    for n in range(24):
        key = f"k-{n % 3}"
        other = codec.encode_event(event_of(OrderPaid(), f"d-{n}", key=key))
        await store.append(f"shop.thing-{n}", 0, [other if n % 4 == 0 else decision(f"d-{n}", key=key)])
        await store.record([order(n, key=key)])
    await store.record([captured("call-1")])


async def pages(store: Store, types: Sequence[str], keys: Sequence[str], limit: int) -> list[str]:
    found: list[str] = []
    before = 0
    while True:
        page = await store.look_back(types, keys, before, limit)
        assert len(page.records) <= limit
        assert page.next_before < before or not before
        found += ids(page.records)
        if not page.next_before:
            return found
        before = page.next_before


def expected(types: Sequence[str], keys: Sequence[str]) -> list[str]:
    return [
        f"d-{n}"
        for n in reversed(range(24))
        if (not keys or f"k-{n % 3}" in keys) and (not types or ("paid" in types[0]) == (n % 4 == 0))
    ]


@pytest.mark.parametrize("looked_at", [1, 5, 50_000])
@pytest.mark.parametrize("types", [(), ("shop.order.paid",), ("shop.thing.#", "nothing.*")])
@pytest.mark.parametrize(
    "keys", [(), ("k-1",), ("k-0", "k-2", "k-0"), ("nothing", "k-2"), ("k-0", "k-1", "k-2")]
)
async def test_decisions_from_the_newest_on(
    store: Store, monkeypatch: pytest.MonkeyPatch, types: Sequence[str], keys: Sequence[str], looked_at: int
) -> None:
    monkeypatch.setattr("services.request_vault.store.port.SCAN_RECORDS", looked_at)
    await fill(store)
    for limit in (1, 2, 7, 500):
        assert await pages(store, types, keys, limit) == expected(types, keys)


async def test_what_comes_later_does_not_move_the_pages(store: Store) -> None:
    await fill(store)
    first = await store.look_back((), ("k-1",), 0, 3)
    await store.append("shop.thing-late", 0, [decision("late", key="k-1")])
    second = await store.look_back((), ("k-1",), first.next_before, 3)
    assert ids(first.records + second.records) == expected((), ("k-1",))[:6]
    assert first.records[0].position[0] == 0
    assert first.records[0].stream == "shop.thing-22"


async def test_nothing_to_look_back_on(store: Store) -> None:
    page = await store.look_back((), (), 0, 10)
    assert (page.records, page.next_before) == ((), 0)
    await fill(store)
    for types, keys in ((("nothing.#",), ()), ((), ("nothing", "\0", "é"))):
        page = await store.look_back(types, keys, 0, 10)
        assert (page.records, page.next_before) == ((), 0)
    assert (await store.look_back((), (), 1, 10)).records == ()
    assert ids((await store.look_back((), (), 2**62, 1)).records) == ["d-23"]


async def test_a_page_ends_before_it_is_too_large_for_a_frame(store: Store) -> None:
    for n in range(5):
        await store.append(f"shop.thing-{n}", 0, [decision(f"large-{n}", what="x" * 200_000)])
    page = await store.look_back((), (), 0, 500)
    assert ids(page.records) == ["large-4", "large-3"]
    assert await pages(store, (), (), 500) == [f"large-{n}" for n in (4, 3, 2, 1, 0)]


@pytest.mark.parametrize("opened", [1, 3])
async def test_after_a_restart(opens: Open, opened: int) -> None:
    async with opens(partitions=opened) as store:
        await fill(store)
    async with opens(partitions=opened) as store:
        assert await pages(store, (), ("k-0",), 4) == expected((), ("k-0",))
