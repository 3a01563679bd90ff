"""The log by cursor, by filter and by tree, and what is there after a restart."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from bus import codec
from bus.errors import Refused
from schemas.request_vault import NO_STREAM
from services.request_vault.store.port import Selection, Store
from tests.conformance.vault.vaults import Clock, Open, ids, whole_log
from tests.services.request_vault.samples import (
    START,
    OrderPaid,
    OrderPlaced,
    captured,
    decision,
    event_of,
    order,
)


async def test_the_log_is_read_by_cursor_to_its_end_and_on_from_there(store: Store, clock: Clock) -> None:
    for number in range(10):
        clock.at_s = number
        await store.record([order(number)])
        await store.append(f"shop.thing-{number}", NO_STREAM, [decision(f"d-{number}")])
    seen: list[str] = []
    reached: dict[int, int] = {}
    more = True
    while more:
        page = await store.read_log(Selection(), reached, 3)
        seen += ids(page.records)
        reached, more = page.reached, page.more
    # What was recorded at one moment is told in the order of partitions.
    assert seen == [name for number in range(10) for name in (f"d-{number}", f"order-{number}")]
    assert (await store.read_log(Selection(), reached, 3)).records == ()
    await store.record([order(10)])
    assert ids((await store.read_log(Selection(), reached, 3)).records) == ["order-10"]


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (Selection(types=("shop.order.paid",)), ["paid"]),
        (Selection(types=("shop.*.placed", "shop.thing.#")), ["order-1", "order-2", "order-3", "d"]),
        (Selection(types=("nothing.#",)), []),
        (Selection(subject="o-2"), ["order-2"]),
        (Selection(key="us"), ["order-3"]),
        (Selection(correlation="order-1"), ["order-2", "paid"]),
        (Selection(correlation="order-1", types=("shop.order.paid",)), ["paid"]),
    ],
)
@pytest.mark.parametrize("limit", [1, 500])
async def test_the_log_is_filtered(
    store: Store, selection: Selection, expected: list[str], limit: int
) -> None:
    await store.record(
        [
            order(1),
            order(2, correlation="order-1"),
            order(3, key="us"),
            event_of(OrderPaid(), "paid", correlation="order-1"),
        ]
    )
    await store.append("shop.thing-a", NO_STREAM, [decision("d")])
    seen: list[str] = []
    reached: dict[int, int] = {}
    more = True
    while more:
        page = await store.read_log(selection, reached, limit)
        seen += ids(page.records)
        reached, more = page.reached, page.more
    assert sorted(seen) == sorted(expected)


async def test_a_filtered_read_looks_at_a_bounded_part_of_the_log(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.request_vault.store.port.SCAN_RECORDS", 10)
    await store.record([order(number) for number in range(25)])
    page = await store.read_log(Selection(subject="o-24"), {}, 5)
    assert (page.records, page.reached, page.more) == ((), {0: 0, 1: 10}, True)
    page = await store.read_log(Selection(subject="o-24"), {0: 0, 1: 20}, 5)
    assert (ids(page.records), page.more) == (["order-24"], False)


async def test_a_page_ends_before_it_is_too_large_for_a_frame(store: Store) -> None:
    class Large(OrderPlaced, frozen=True):
        TYPE = "shop.order.large"
        filling: bytes = b""

    await store.record([event_of(Large(n, b"x" * 200_000), f"large-{n}") for n in range(5)])
    first = await store.read_log(Selection(), {}, 500)
    assert ids(first.records) == ["large-0", "large-1"]
    assert (first.reached[1], first.more) == (2, True)
    stream = await store.read_stream("shop.order-eu", 2, 500)
    assert (ids(stream.records), stream.next_after, stream.head) == (["large-2", "large-3"], 4, 5)


async def test_times_of_recording_never_go_back(store: Store, clock: Clock) -> None:
    clock.at_s = 100
    await store.record([order(1)])
    clock.at_s = 50
    await store.record([order(2)])
    assert [r.recorded_at for r in await whole_log(store)] == [START + timedelta(seconds=100)] * 2


async def test_a_trace_is_the_tree_of_any_of_its_events_or_calls(store: Store, clock: Clock) -> None:
    root = captured("call-1")
    await store.record([root, order(5)])
    clock.at_s = 1
    await store.append("shop.thing-a", NO_STREAM, [codec.encode_event(order(1, correlation=root.id))])
    clock.at_s = 2
    await store.record([order(2, correlation=root.id, causation="order-1")])
    for id in (root.id, "call-1", "order-1", "order-2"):
        trace = await store.trace(id, 500)
        assert trace.root == root.id
        assert ids(trace.slice.records) == [root.id, "order-1", "order-2"]
        assert not trace.slice.more
    short = await store.trace("order-2", 2)
    assert (ids(short.slice.records), short.slice.more) == ([root.id, "order-1"], True)
    rest = await store.read_log(Selection(correlation=root.id), short.slice.reached, 500)
    assert ids(rest.records) == ["order-2"]
    assert ids((await store.trace("order-5", 500)).slice.records) == ["order-5"]
    with pytest.raises(Refused) as caught:
        await store.trace("nothing", 500)
    assert caught.value.reason == "event-unknown"


async def test_everything_is_there_after_a_restart(opens: Open) -> None:
    async with opens() as store:
        await store.append("shop.thing-a", NO_STREAM, [decision("a1"), decision("a2")])
        await store.record([captured("c"), order(1)])
        await store.mark_published(1)
        before = await whole_log(store)
    async with opens() as store:
        assert await whole_log(store) == before
        assert store.heads() == {"shop": 2}
        assert store.published_to() == 1
        assert (await store.record([captured("c"), order(1), order(2)])).repeated == 2
        again = await store.append("shop.thing-a", 0, [decision("a1"), decision("a2")])
        assert (again.version, again.repeated) == (2, True)
        following = await store.append("shop.thing-a", 2, [decision("a3")])
        assert following.positions == ((0, 3),)
        assert (await store.read_decisions(2, 10)).records[0].prev == 2
        stats = await store.stats()
    assert (stats.events, stats.calls, stats.partitions, stats.published_to) == (6, 1, (3, 3), 1)
    assert stats.size_bytes > 0


async def test_the_checkpoint_never_goes_back(store: Store) -> None:
    await store.append("shop.thing-a", NO_STREAM, [decision(f"a{number}") for number in range(5)])
    await asyncio.gather(store.mark_published(4), store.mark_published(2))
    assert store.published_to() == 4
