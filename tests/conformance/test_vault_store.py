"""What every engine of the vault promises (`services.request_vault.store.port`).

An engine joins by a branch in `stores` and its name in ENGINES. A store is opened through `open_store`,
as the service does, and is opened again over the same data to see what is durable.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from bus import codec
from bus.errors import Malformed, Refused, Reject, UnknownType
from bus.event import Event, Stamp
from schemas.request_vault import ANY_VERSION, NO_STREAM, LogPage, Recorded
from services.request_vault.domain.calls import CallQuery
from services.request_vault.domain.recording import to_us
from services.request_vault.store import open_store
from services.request_vault.store.port import Selection, Store
from tests.services.request_vault.samples import (
    BUCKET,
    START,
    OrderPaid,
    OrderPlaced,
    call,
    call_event,
    captured,
    decision,
    event_of,
    order,
)

ENGINES = ("sqlite",)

Open = Callable[..., AbstractAsyncContextManager[Store]]


class Clock:
    """Stands where it is put."""

    def __init__(self) -> None:
        self.at_s = 0.0

    def now(self) -> datetime:
        return START + timedelta(seconds=self.at_s)

    def monotonic(self) -> float:
        return self.at_s

    async def sleep(self, delay_s: float) -> None:
        raise AssertionError("a store does not sleep")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=ENGINES)
def opens(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Open:
    """Opens the same vault each time it is called."""

    def open_again(*, partitions: int = 1) -> AbstractAsyncContextManager[Store]:
        return open_store(f"{request.param}:", tmp_path / "vault", clock, partitions=partitions, readers=2)

    return open_again


@pytest.fixture
async def store(opens: Open) -> AsyncIterator[Store]:
    async with opens() as opened:
        yield opened


def ids(records: tuple[Recorded, ...]) -> list[str]:
    return [decoded(record).id for record in records]


def decoded(record: Recorded) -> Event:
    (event,) = codec.decode_batch(codec.join_batch([record.event]))
    return event


async def whole_log(store: Store) -> tuple[Recorded, ...]:
    return (await store.read_log(Selection(), {}, 500)).records


# --- observations


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


def stamped(event: Event, stamp: Stamp) -> Event:
    return Event(**{name: getattr(event, name) for name in event.__struct_fields__} | {"stamp": stamp})


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


# --- decisions


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


# --- reading the log


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
    assert seen == [name for number in range(10) for name in (f"d-{number}", f"order-{number}")] or seen == [
        name for number in range(10) for name in (f"order-{number}", f"d-{number}")
    ]
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
    monkeypatch.setattr("services.request_vault.store.sqlite.reading.SCAN_RECORDS", 10)
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


# --- calls

FOUND = {
    "a": captured("a", method="GET", url="https://api.example.com/v1/items?page=2", at_s=10),
    "b": captured("b", method="POST", url="https://api.example.com/v1/items", status=201, at_s=20),
    "c": captured(
        "c", method="GET", url="https://api.example.com:8443/v1/items_old/100%25", status=404, at_s=30
    ),
    "d": captured("d", method="DELETE", url="http://OTHER.example.com/v2", status=503, at_s=40),
    "e": captured(
        "e", method="get", url="https://api.example.com", status=None, error="connect-refused", at_s=50
    ),
    "f": captured("f", url="https://api.example.com/v1/x", status=200, error="client-disconnected", at_s=60),
    "z": captured("z", bucket="anotherbuckt"),
}


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, "fedcba"),
        ({"method": "get"}, "feca"),
        ({"host": "api.example.com"}, "feba"),
        ({"host": "api.example.com:8443"}, "c"),
        ({"host": "other.example.com"}, "d"),
        ({"path": "/v1/items"}, "cba"),
        ({"path": "/v1/items_"}, "c"),
        ({"path": "/v1/items_old/100%"}, "c"),
        ({"path": "/v1/%"}, ""),
        ({"path": "/"}, "fedcba"),
        ({"status": 404, "status_class": 4}, "c"),
        ({"status_class": 2}, "fba"),
        ({"status_class": 5}, "d"),
        ({"error": True}, "fe"),
        ({"error": False}, "dcba"),
        ({"error_slug": "connect-refused"}, "e"),
        ({"since_us": to_us(START + timedelta(seconds=30))}, "fedc"),
        ({"before_us": to_us(START + timedelta(seconds=30))}, "ba"),
        ({"method": "GET", "host": "api.example.com", "status_class": 2, "path": "/v1"}, "fa"),
        ({"method": "PATCH"}, ""),
    ],
)
@pytest.mark.parametrize("limit", [2, 50])
async def test_calls_are_found_newest_first(
    store: Store, filters: dict[str, object], expected: str, limit: int
) -> None:
    for event in FOUND.values():
        await store.record([event])
    found: list[str] = []
    before = None
    more = True
    while more:
        page = await store.search_calls(CallQuery(BUCKET, limit=limit, **filters), before=before)  # type: ignore[arg-type]
        found += [each.id for each in page.calls]
        more = page.more
        before = page.calls[-1].position[1] if page.calls else None
    assert "".join(found) == expected


async def test_a_followed_bucket_is_read_oldest_first(store: Store) -> None:
    await store.record(list(FOUND.values()))
    first = await store.search_calls(CallQuery(BUCKET, limit=2), after=0)
    assert ([each.id for each in first.calls], first.more) == (["a", "b"], True)
    rest = await store.search_calls(CallQuery(BUCKET, method="get"), after=first.calls[-1].position[1])
    assert ([each.id for each in rest.calls], rest.more) == (["c", "e", "f"], False)


async def test_pages_stay_right_while_calls_arrive(store: Store) -> None:
    await store.record([captured(f"old-{number}") for number in range(6)])
    first = await store.search_calls(CallQuery(BUCKET, limit=3))
    await store.record([captured(f"new-{number}") for number in range(6)])
    second = await store.search_calls(CallQuery(BUCKET, limit=3), before=first.calls[-1].position[1])
    assert [each.id for each in (*first.calls, *second.calls)] == [
        f"old-{number}" for number in range(5, -1, -1)
    ]


async def test_recent_calls_are_found_without_looking_at_older_ones_but_with_a_clock_that_runs_ahead(
    store: Store, clock: Clock
) -> None:
    day = 86_400.0
    for hour in range(24):
        clock.at_s = hour * 3600.0
        await store.record([captured(f"h-{hour}", at_s=hour * 3600.0)])
    await store.record([captured("ahead", at_s=day + 1800)])
    clock.at_s = day
    for since_hour, expected in ((22, ["ahead", "h-23", "h-22"]), (24, ["ahead"]), (0, 25), (48, [])):
        since_us = to_us(START + timedelta(hours=since_hour))
        found = [each.id for each in (await store.search_calls(CallQuery(BUCKET, since_us=since_us))).calls]
        assert found == expected or len(found) == expected


async def test_a_call_is_shown_as_a_row_and_read_whole(store: Store) -> None:
    ingested = await store.record([order(1), FOUND["b"], FOUND["a"]])
    assert ingested.calls == {BUCKET: (2, (store.partition_of(BUCKET), 3))}
    row = (await store.search_calls(CallQuery(BUCKET))).calls[0]
    assert (row.id, row.bucket, row.method, row.scheme, row.host) == (
        "a",
        BUCKET,
        "GET",
        "https",
        "api.example.com",
    )
    assert (row.path, row.query, row.status, row.duration_ms) == ("/v1/items", "page=2", 200, 12.345)
    assert (row.request_bytes, row.response_bytes, row.content_type) == (0, 11, "application/json")
    assert (row.error, row.origin, row.started_at) == (None, "gateway", START + timedelta(seconds=10))
    assert row.position == (1, 3)
    found = await store.get_call("a", BUCKET)
    assert found is not None
    assert (found.position, found.recorded_us) == ((1, 3), to_us(START))
    assert codec.decode_batch(codec.join_batch([found.event])) == [FOUND["a"]]
    assert await store.get_call("a", None) == found
    assert await store.get_call("a", "anotherbuckt") is None
    assert await store.get_call("nothing", None) is None


@pytest.mark.parametrize(
    ("event", "error", "why"),
    [
        (event_of(OrderPlaced(), "x"), None, ""),
        (call_event(call("x", bucket="b")), None, ""),
        (event_of(call("x", bucket="b"), "x", key="c"), Malformed, "its data name bucket 'b', its topic 'c'"),
        (event_of(call("", bucket="b"), "x", key="b"), Malformed, "its id has 0 characters"),
    ],
)
async def test_a_captured_call_that_has_no_row_is_refused(
    store: Store, event: Event, error: type[Exception] | None, why: str
) -> None:
    refused = (await store.record([event])).refused
    assert [type(each) for _, each in refused] == ([error] if error else [])
    assert all(why in str(each) for _, each in refused)


async def test_a_call_of_a_newer_version_waits_parked_for_a_vault_that_knows_it(store: Store) -> None:
    event = captured("x")
    fields = {name: getattr(event, name) for name in event.__struct_fields__}
    ((_, error),) = (await store.record([Event(**fields | {"version": 2})])).refused
    assert isinstance(error, UnknownType)
    ((_, error),) = (
        await store.record([Event(**fields | {"data": codec.encode_data(OrderPlaced())})])
    ).refused
    assert isinstance(error, Malformed)


async def test_odd_text_in_a_call_comes_back_as_it_was(store: Store) -> None:
    url = "https://api.example.com/a'b\"c\\d\x00\x07é€𐍈%00/?q='\"\\\x00"
    await store.record([captured("odd", url=url, method="M'\"")])
    (row,) = (await store.search_calls(CallQuery(BUCKET, path="/a'b\"c\\d\x00"))).calls
    assert f"{row.scheme}://{row.host}{row.path}?{row.query}" == url
    assert row.method == "M'\""


# --- what is durable


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
