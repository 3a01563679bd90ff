"""Events that simply happened: recorded once, whole, in order, or refused alone."""

from __future__ import annotations

import pytest

from bus.errors import Reject
from bus.event import Event, Stamp
from schemas.request_vault import NO_STREAM
from services.request_vault.store.port import Store
from tests.conformance.vault.vaults import Open, decoded, ids, stamped, whole_log
from tests.services.request_vault.samples import (
    START,
    OrderPaid,
    OrderPlaced,
    decision,
    event_of,
    order,
)


async def test_observations_are_recorded_once_in_order_and_whole(store: Store) -> None:
    events = [order(number, correlation="root", causation="root") for number in range(1, 4)]
    ingested = await store.record(events)
    assert (ingested.recorded, ingested.repeated, list(ingested.refused)) == (3, 0, [])
    records = await whole_log(store)
    assert [record.position for record in records] == [(1, 1), (1, 2), (1, 3)]
    assert [decoded(record) for record in records] == events
    assert [record.stream for record in records] == ["shop.order-o-1", "shop.order-o-2", "shop.order-o-3"]
    assert {(record.version, record.prev, record.recorded_at) for record in records} == {(1, None, START)}


async def test_a_repeated_event_is_recorded_once_whatever_its_time_and_trace(store: Store) -> None:
    first = order(1)
    later = order(1, at_s=60, correlation="another", causation="another")
    assert (await store.record([first, later])).repeated == 1
    again = await store.record([later])
    assert (again.recorded, again.repeated) == (0, 1)
    assert [decoded(record) for record in await whole_log(store)] == [first]


@pytest.mark.parametrize(
    "other",
    [
        event_of(OrderPlaced(2), "e", subject="s"),
        event_of(OrderPlaced(1), "e", subject="t"),
        event_of(OrderPlaced(1), "e", subject=None),
        event_of(OrderPlaced(1), "e", subject="s", key="us"),
        event_of(OrderPaid(1), "e", subject="s"),
    ],
    ids=["data", "subject", "no subject", "key", "type"],
)
@pytest.mark.parametrize("together", [True, False])
async def test_another_content_under_a_known_identity_is_refused_and_the_rest_recorded(
    store: Store, other: Event, together: bool
) -> None:
    first = event_of(OrderPlaced(1), "e", subject="s")
    if not together:
        await store.record([first])
    batch = [order(7), *([first] if together else []), other, order(8)]
    ingested = await store.record(batch)
    ((index, error),) = ingested.refused
    assert batch[index] is other
    assert isinstance(error, Reject)
    assert "recorded before with other content" in str(error)
    assert sorted(ids(await whole_log(store))) == ["e", "order-7", "order-8"]


async def test_the_same_id_from_two_sources_is_two_events(store: Store) -> None:
    assert (await store.record([order(1), order(1, source="other shop")])).recorded == 2


async def test_events_of_one_subject_are_versions_of_one_stream(store: Store) -> None:
    await store.record([order(1, subject="o"), order(2, subject="p")])
    await store.record([event_of(OrderPaid(1), "paid", subject="o"), order(3, subject="o")])
    page = await store.read_stream("shop.order-o", 0, 10)
    assert ids(page.records) == ["order-1", "paid", "order-3"]
    assert [record.version for record in page.records] == [1, 2, 3]
    assert (page.next_after, page.head) == (3, 3)
    assert ids((await store.read_stream("shop.order-o", 1, 1)).records) == ["paid"]


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (event_of(OrderPlaced(), "a\x00b"), "control characters"),
        (event_of(OrderPlaced(), "e", subject="a\nb"), "control characters"),
        (event_of(OrderPlaced(), "e" * 257), "its id has 257 characters"),
        (event_of(OrderPlaced(), "e", subject="s" * 1025), "its subject has 1025 characters"),
        (event_of(OrderPlaced(), "e", source="s" * 257), "its source has 257 characters"),
    ],
)
async def test_an_envelope_that_cannot_be_indexed_is_refused(store: Store, event: Event, reason: str) -> None:
    ingested = await store.record([order(1), event])
    ((index, error),) = ingested.refused
    assert index == 1
    assert isinstance(error, Reject)
    assert reason in str(error)
    assert ingested.recorded == 1


async def test_what_the_vault_published_itself_is_passed_over(store: Store) -> None:
    await store.append("shop.thing-1", NO_STREAM, [decision("d")])
    (record,) = (await store.read_decisions(0, 10)).records
    stamp = Stamp(record.stream, record.version, record.position, record.prev)
    ingested = await store.record([order(1), stamped(decoded(record), stamp)])
    assert (ingested.recorded, ingested.repeated) == (1, 1)


async def test_a_stamp_past_the_end_of_the_log_is_refused(store: Store) -> None:
    ingested = await store.record([stamped(order(1), Stamp("shop.order-o-1", 1, (0, 1), None))])
    ((_, error),) = ingested.refused
    assert isinstance(error, Reject)
    assert "this log ends at (0, 0)" in str(error)


async def test_buckets_are_spread_over_the_partitions_that_the_log_was_made_with(opens: Open) -> None:
    keys = [f"bucket-{number}" for number in range(40)]
    async with opens(partitions=4) as store:
        where = {key: store.partition_of(key) for key in keys}
        assert set(where.values()) == {1, 2, 3, 4}
        await store.record([order(number, key=key) for number, key in enumerate(keys)])
    async with opens(partitions=2) as store:
        assert {key: store.partition_of(key) for key in keys} == where
        records = await whole_log(store)
    assert {decoded(record).key: record.position[0] for record in records} == where
    for partition in (1, 2, 3, 4):
        numbers = [record.position[1] for record in records if record.position[0] == partition]
        assert numbers == list(range(1, len(numbers) + 1))
