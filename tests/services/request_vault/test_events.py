"""The log as outside clients read it: plain JSON, pages, and nothing that a limited caller may not see."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

import bus
from bus.errors import Refused
from bus.message import Fact
from bus.testing import Harness, harness
from schemas import request_vault as contract
from schemas.request_vault import Append, EventList, LoggedEvent, ReadEvents, TraceEvent
from services.request_vault import service
from services.request_vault.config import Config
from tests.services.grounds import a_ground
from tests.services.request_vault.samples import OrderPaid, OrderPlaced, captured, decision, event_of, order


class Filed(Fact, frozen=True):
    TYPE = "shop.paper.filed"

    scan: bytes
    pages: int = 1


@pytest.fixture
async def b(tmp_path: Path) -> AsyncIterator[Harness]:
    shop = bus.Router("shop")

    @shop.on(OrderPlaced)
    async def on_order_placed(placed: OrderPlaced, delivery: bus.Delivery) -> None:
        if placed.total_cents == 500:
            await delivery.publish(OrderPaid(500), OrderPaid(501))

    followed = [each for each in (shop.subscription(),) if each is not None]
    async with harness(
        shop, source="request_vault", subscriptions=(*contract.SUBSCRIPTIONS, *followed)
    ) as made:
        ground = a_ground(made, tmp_path)
        async with service.build(Config(), ground):
            yield made


def ids(page: EventList) -> list[str]:
    return [event.id for event in page.events]


async def test_an_event_is_a_cloudevent_with_its_place(b: Harness) -> None:
    await b.emit(order(7, key="eu", correlation="the-root", causation="the-cause"))
    await b.settled()
    (event,) = (await b.ask(ReadEvents())).events
    told = msgspec.to_builtins(event)
    assert told | {"recorded_at": ""} == {
        "specversion": "1.0",
        "id": "order-7",
        "source": "shop",
        "type": "shop.order.placed",
        "subject": "o-7",
        "time": "2026-01-01T00:00:00Z",
        "datacontenttype": "application/json",
        "dataschema": "/schemas/shop.order.placed/1",
        "key": "eu",
        "data": {"total_cents": 7},
        "data_omitted": False,
        "position": (1, 1),
        "stream": "shop.order-o-7",
        "version": 1,
        "recorded_at": "",
        "partitionkey": None,
        "correlationid": "the-root",
        "causationid": "the-cause",
        "traceparent": None,
    }


async def test_bytes_are_base64_and_what_cannot_travel_is_left_out(b: Harness) -> None:
    large = b"\x00\xff" * 450_000
    await b.emit(event_of(Filed(b"\x00\xff"), "small"), event_of(Filed(large), "large"), order(1))
    await b.settled()
    seen: dict[str, LoggedEvent] = {}
    after = ""
    while True:
        page = await b.ask(ReadEvents(after=after))
        seen |= {event.id: event for event in page.events}
        if page.next_cursor is None:
            break
        after = page.next_cursor
    assert seen["small"].data == {"scan": {"base64": base64.b64encode(b"\x00\xff").decode()}, "pages": 1}
    assert (seen["large"].data, seen["large"].data_omitted) == (None, True)
    assert seen["order-1"].data == {"total_cents": 1}


async def test_pages_end_to_end_and_a_tail_to_read_on_from(b: Harness) -> None:
    await b.emit(*(order(number) for number in range(1, 8)))
    await b.settled()
    first = await b.ask(ReadEvents(types=("shop.#",), limit=3))
    assert first.next_cursor is not None
    second = await b.ask(ReadEvents(types=("shop.#",), limit=4, after=first.next_cursor))
    assert ids(first) + ids(second) == [f"order-{number}" for number in range(1, 8)]
    assert second.next_cursor is None
    await b.emit(order(8))
    await b.settled()
    assert ids(await b.ask(ReadEvents(types=("shop.#",), after=second.tail_cursor))) == ["order-8"]
    with pytest.raises(Refused) as caught:
        await b.ask(ReadEvents(types=("bank.#",), after=second.tail_cursor))
    assert caught.value.reason == "cursor-invalid"


async def test_each_filter(b: Harness) -> None:
    await b.emit(
        order(1, key="eu"),
        order(2, key="us", correlation="order-1"),
        event_of(OrderPaid(3), "paid", key="us", subject="o-1"),
    )
    await b.settled()
    await b.ask(Append("shop.thing-a", 0, (decision("a1"),)))
    for ask, expected in (
        (ReadEvents(types=("shop.order.*",)), {"order-1", "order-2", "paid"}),
        (ReadEvents(types=("shop.order.paid", "shop.thing.#")), {"paid", "a1"}),
        (ReadEvents(subject="o-1"), {"order-1", "paid"}),
        (ReadEvents(correlation="order-1"), {"order-2"}),
        (ReadEvents(key="us"), {"order-2", "paid"}),
        (ReadEvents(key="us", types=("*.*.paid",)), {"paid"}),
        (ReadEvents(subject="nothing"), set()),
    ):
        assert set(ids(await b.ask(ask))) == expected, ask


async def test_a_limited_caller_sees_its_buckets_only(b: Harness) -> None:
    keys = [("eu", "us", "asia")[number % 3] for number in range(300)]
    await b.emit(*(order(number, key=key) for number, key in enumerate(keys)))
    await b.settled()
    for allowed in (("us",), ("eu", "asia")):
        seen: list[str] = []
        after = ""
        while True:
            page = await b.ask(ReadEvents(visible_keys=allowed, after=after, limit=40))
            assert {event.key for event in page.events} <= set(allowed)
            seen += ids(page)
            if page.next_cursor is None:
                break
            after = page.next_cursor
        assert seen == [f"order-{number}" for number, key in enumerate(keys) if key in allowed]
    assert ids(await b.ask(ReadEvents(key="us", visible_keys=("eu",)))) == []
    unlimited = await b.ask(ReadEvents(key="us", limit=5))
    assert unlimited.next_cursor is not None
    with pytest.raises(Refused) as caught:  # a cursor opens no door
        await b.ask(ReadEvents(key="us", after=unlimited.next_cursor, visible_keys=("eu",)))
    assert caught.value.reason == "cursor-invalid"


async def test_a_trace_of_an_event_and_of_a_call(b: Harness) -> None:
    await b.publish(OrderPlaced(500), key="eu", id="root")
    await b.emit(captured("call-1"))
    await b.settled()
    tree = await b.ask(TraceEvent("root"))
    assert (tree.root, tree.next_cursor) == ("root", None)
    assert [(event.type, event.causationid) for event in tree.events] == [
        ("shop.order.placed", None),
        ("shop.order.paid", "root"),
        ("shop.order.paid", "root"),
    ]
    assert await b.ask(TraceEvent(tree.events[1].id)) == tree
    assert [event.subject for event in (await b.ask(TraceEvent("call-1"))).events] == ["call-1"]


async def test_a_long_trace_comes_in_pages(b: Harness) -> None:
    await b.emit(
        order(0), *(order(number, correlation="order-0", causation="order-0") for number in range(1, 12))
    )
    await b.settled()
    seen: list[str] = []
    after = ""
    while True:
        tree = await b.ask(TraceEvent("order-3", after=after, limit=5))
        assert tree.root == "order-0"
        seen += [event.id for event in tree.events]
        if tree.next_cursor is None:
            break
        after = tree.next_cursor
    assert seen == [f"order-{number}" for number in range(12)]


async def test_a_trace_hides_what_is_not_the_callers(b: Harness) -> None:
    await b.emit(order(1, key="eu"), order(2, key="us", correlation="order-1", causation="order-1"))
    await b.settled()
    tree = await b.ask(TraceEvent("order-2", visible_keys=("us",)))
    assert [event.id for event in tree.events] == ["order-2"]
    for id in ("order-1", "nothing"):
        with pytest.raises(Refused) as caught:
            await b.ask(TraceEvent(id, visible_keys=("asia",)))
        assert (caught.value.reason, caught.value.detail) == (
            "event-unknown",
            f"the log has no event and no call {id!r}",
        )


@pytest.mark.parametrize(
    ("ask", "reason"),
    [
        (ReadEvents(limit=0), "query-invalid"),
        (ReadEvents(limit=501), "query-invalid"),
        (ReadEvents(types=("shop..x",)), "pattern-invalid"),
        (ReadEvents(types=("a",) * 51), "query-invalid"),
        (ReadEvents(after="x"), "cursor-invalid"),
        (TraceEvent("order-1", limit=0), "query-invalid"),
        (TraceEvent("order-1", after="x"), "cursor-invalid"),
        (TraceEvent("\x00"), "event-unknown"),
        (TraceEvent("x" * 5000), "event-unknown"),
    ],
)
async def test_what_cannot_be_answered_says_why(
    b: Harness, ask: ReadEvents | TraceEvent, reason: str
) -> None:
    await b.emit(order(1))
    await b.settled()
    with pytest.raises(Refused) as caught:
        await b.ask(ask)
    assert caught.value.reason == reason
