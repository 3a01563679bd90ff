"""The log read from its end."""

from __future__ import annotations

import pytest

from services.request_vault.domain.cursors import Vector
from services.request_vault.store.port import Selection, Store
from tests.conformance.vault.vaults import Clock, Open, ids
from tests.services.request_vault.samples import captured, decision, order


async def fill(store: Store, clock: Clock) -> None:
    for start in range(0, 30, 5):
        clock.at_s += 1
        await store.record([order(n, key=f"k-{n % 3}") for n in range(start, start + 5)])
        clock.at_s += 1
        await store.append("shop.thing-a", start // 5, [decision(f"d-{start}")])


async def pages(store: Store, selection: Selection, limit: int, *, backwards: bool) -> list[str]:
    found: list[str] = []
    reached: Vector = {}
    while True:
        page = await store.read_log(selection, reached, limit, backwards=backwards)
        assert len(page.records) <= limit
        found += ids(page.records)
        reached = page.reached
        if not page.more:
            return found


@pytest.mark.parametrize("limit", [1, 3, 7, 500])
@pytest.mark.parametrize(
    "selection",
    [
        Selection(),
        Selection(types=("shop.order.#",)),
        Selection(types=("shop.thing.*",), subject="d-10"),
        Selection(key="k-1"),
        Selection(types=("nothing",)),
    ],
)
async def test_backwards_is_the_other_way_round(
    opens: Open, clock: Clock, limit: int, selection: Selection
) -> None:
    async with opens(partitions=1) as store:
        await fill(store, clock)
        forwards = await pages(store, selection, limit, backwards=False)
        assert await pages(store, selection, limit, backwards=True) == forwards[::-1]


async def test_backwards_over_several_partitions_leaves_nothing_out(opens: Open, clock: Clock) -> None:
    async with opens(partitions=3) as store:
        await fill(store, clock)
        for limit in (1, 4, 500):
            found = await pages(store, Selection(), limit, backwards=True)
            assert sorted(found) == sorted(await pages(store, Selection(), 500, backwards=False))
            assert len(found) == 36


async def test_a_page_before_a_place_goes_on_while_events_arrive(store: Store, clock: Clock) -> None:
    await fill(store, clock)
    first = await store.read_log(Selection(), {}, 4, backwards=True)
    await store.record([captured("late")])
    second = await store.read_log(Selection(), first.reached, 4, backwards=True)
    whole = await store.read_log(Selection(), {}, 500)
    before_late = ids(whole.records[:-1])
    assert ids(first.records + second.records) == before_late[:-9:-1]


async def test_a_stream_backwards(store: Store) -> None:
    for n in range(5):
        await store.append("shop.thing-a", n, [decision(f"d-{n}")])
    page = await store.read_stream("shop.thing-a", 0, 2, backwards=True)
    assert (ids(page.records), page.next_after, page.head) == (["d-4", "d-3"], 4, 5)
    page = await store.read_stream("shop.thing-a", page.next_after, 2, backwards=True)
    assert ids(page.records) == ["d-2", "d-1"]
    page = await store.read_stream("shop.thing-a", 2, 2, backwards=True)
    assert (ids(page.records), page.next_after) == (["d-0"], 1)
    assert (await store.read_stream("shop.thing-a", 1, 2, backwards=True)).records == ()


async def test_an_empty_log_backwards(store: Store) -> None:
    page = await store.read_log(Selection(), {}, 10, backwards=True)
    assert (page.records, page.more) == ((), False)
    assert (await store.read_stream("shop.thing-a", 0, 2, backwards=True)).records == ()
