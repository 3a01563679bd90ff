"""Appends: all or none, on the version they expect, once."""

from __future__ import annotations

import asyncio

import pytest

from bus import codec
from bus.errors import Refused, Reject
from bus.event import Stamp
from schemas.request_vault import ANY_VERSION, NO_STREAM, LogPage
from services.request_vault.store.port import Store
from tests.conformance.vault.vaults import ids, stamped, whole_log
from tests.services.request_vault.samples import (
    OrderPlaced,
    decision,
    event_of,
    order,
)


async def test_appends_number_versions_and_chain_the_category(store: Store) -> None:
    first = await store.append("shop.thing-a", NO_STREAM, [decision("a1"), decision("a2")])
    assert (first.version, first.positions, first.repeated) == (2, ((0, 1), (0, 2)), False)
    other = await store.append("bank.account-x", NO_STREAM, [decision("x1")])
    assert other.positions == ((0, 3),)
    await store.append("shop.thing-b", ANY_VERSION, [decision("b1")])
    await store.append("shop.thing-a", 2, [decision("a3")])
    page = await store.read_category("shop", 0, 10)
    assert [(r.position, r.stream, r.version, r.prev) for r in page.records] == [
        ((0, 1), "shop.thing-a", 1, None),
        ((0, 2), "shop.thing-a", 2, 1),
        ((0, 4), "shop.thing-b", 1, 2),
        ((0, 5), "shop.thing-a", 3, 4),
    ]
    assert (page.next_after, page.head) == (5, 5)
    assert store.heads() == {"shop": 5, "bank": 3}
    assert ids((await store.read_category("shop", 2, 1)).records) == ["b1"]
    assert await store.read_category("nothing", 0, 10) == LogPage((), 0, 0)


@pytest.mark.parametrize("expected", [0, 1, 3])
async def test_an_append_on_another_version_is_a_conflict_and_leaves_nothing(
    store: Store, expected: int
) -> None:
    await store.append("shop.thing-a", NO_STREAM, [decision("a1"), decision("a2")])
    with pytest.raises(Refused, match=f"at version 2, not {expected}") as caught:
        await store.append("shop.thing-a", expected, [decision("a3")])
    assert caught.value.reason == "version-conflict"
    assert ids((await store.read_decisions(0, 10)).records) == ["a1", "a2"]


async def test_a_repeated_append_answers_as_the_first_time_whatever_version_it_expects(store: Store) -> None:
    first = await store.append("shop.thing-a", NO_STREAM, [decision("a1"), decision("a2")])
    await store.append("shop.thing-a", 2, [decision("a3")])
    for expected in (NO_STREAM, 2, 3, 17, ANY_VERSION):
        again = await store.append("shop.thing-a", expected, [decision("a1"), decision("a2")])
        assert (again.version, again.positions, again.repeated) == (first.version, first.positions, True)
    assert ids((await store.read_decisions(0, 10)).records) == ["a1", "a2", "a3"]


@pytest.mark.parametrize(
    ("stream", "events", "why"),
    [
        (
            "shop.thing-a",
            [decision("a1", what="another")],
            "a1 of shop .* was recorded before with other content",
        ),
        ("shop.thing-a", [decision("a1"), decision("new")], "new of shop .* is new, but others"),
        ("shop.thing-a", [decision("new"), decision("a1")], "new of shop .* is new, but others"),
        ("shop.thing-b", [decision("a1")], "not as decisions of stream shop.thing-b"),
        ("shop.thing-a", [codec.encode_event(order(1))], "not as decisions of stream shop.thing-a"),
    ],
)
async def test_a_known_identity_with_anything_else_is_an_event_conflict(
    store: Store, stream: str, events: list[bytes], why: str
) -> None:
    await store.record([order(1)])
    await store.append("shop.thing-a", NO_STREAM, [decision("a1")])
    with pytest.raises(Refused, match=why) as caught:
        await store.append(stream, ANY_VERSION, events)
    assert caught.value.reason == "event-conflict"
    assert ids((await store.read_decisions(0, 10)).records) == ["a1"]


async def test_a_stream_is_decided_or_observed_never_both(store: Store) -> None:
    await store.record([order(1, subject="o")])
    with pytest.raises(Refused, match="holds observations") as caught:
        await store.append("shop.order-o", ANY_VERSION, [decision("d")])
    assert caught.value.reason == "stream-observed"
    await store.append("shop.order-p", NO_STREAM, [decision("p1")])
    ingested = await store.record([order(2, subject="p"), order(3, subject="q")])
    ((index, error),) = ingested.refused
    assert index == 0
    assert isinstance(error, Reject)
    assert "stream shop.order-p holds decisions" in str(error)
    assert sorted(ids(await whole_log(store))) == ["order-1", "order-3", "p1"]


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        ("shop.thing-a", []),
        ("shop.thing-a", [b"\xc1"]),
        ("shop.thing-a", [decision("a") + decision("b")]),
        ("shop.thing-a", [decision("a"), decision("a")]),
        ("shop.thing-a", [codec.encode_event(stamped(order(1), Stamp("shop.order-o-1", 1, (0, 1), None)))]),
        ("shop.thing-a", [codec.encode_event(event_of(OrderPlaced(), "a\x01b"))]),
        ("shop.thing-a", [decision("a")] * 1001),
        ("shop.thing", [decision("a")]),
        ("shop-a", [decision("a")]),
        ("shop.thing-", [decision("a")]),
        ("shop.thing-a b", [decision("a")]),
        ("", [decision("a")]),
        ("shop.thing-" + "a" * 1024, [decision("a")]),
    ],
)
async def test_a_malformed_append_is_refused(store: Store, stream: str, events: list[bytes]) -> None:
    with pytest.raises(Refused) as caught:
        await store.append(stream, ANY_VERSION, events)
    assert caught.value.reason == "event-malformed"
    assert await whole_log(store) == ()


async def test_concurrent_appends_and_observations_leave_no_gap(store: Store) -> None:
    async def append(number: int) -> None:
        await store.append(
            f"shop.thing-{number % 7}", ANY_VERSION, [decision(f"d-{number}-{n}") for n in range(3)]
        )

    async def conflict(number: int) -> None:
        with pytest.raises(Refused):
            await store.append(f"shop.thing-{number % 7}", 1_000, [decision(f"never-{number}")])

    async with asyncio.TaskGroup() as tasks:
        for number in range(60):
            tasks.create_task(append(number))
            tasks.create_task(conflict(number))
            tasks.create_task(store.record([order(number * 2), order(number * 2 + 1)]))
    decisions = (await store.read_decisions(0, 500)).records
    assert [record.position for record in decisions] == [(0, number) for number in range(1, 181)]
    assert [record.prev for record in decisions] == [None, *range(1, 180)]
    for stream in {record.stream for record in decisions}:
        versions = [record.version for record in decisions if record.stream == stream]
        assert versions == list(range(1, len(versions) + 1))
    observed = [r.position for r in await whole_log(store) if r.position[0] == 1]
    assert observed == [(1, number) for number in range(1, 121)]


async def test_of_two_decisions_on_one_version_one_is_taken(store: Store) -> None:
    outcomes = await asyncio.gather(
        *(store.append("shop.thing-a", NO_STREAM, [decision(f"d-{number}")]) for number in range(8)),
        return_exceptions=True,
    )
    assert [getattr(outcome, "reason", "taken") for outcome in outcomes].count("taken") == 1
    assert {getattr(outcome, "reason", "taken") for outcome in outcomes} == {"taken", "version-conflict"}
