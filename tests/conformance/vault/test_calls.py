"""The read model of calls."""

from __future__ import annotations

from datetime import timedelta

import pytest

from bus import codec
from bus.errors import Malformed, UnknownType
from bus.event import Event
from services.request_vault.domain.calls import CallQuery
from services.request_vault.domain.recording import to_us
from services.request_vault.store.port import Store
from tests.conformance.vault.vaults import Clock
from tests.services.request_vault.samples import (
    BUCKET,
    START,
    OrderPlaced,
    call,
    call_event,
    captured,
    event_of,
    order,
)

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
