"""The vault as other services see it: over the bus, on the embedded transport."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest

import bus
from bus import codec
from bus.errors import Refused, Unavailable
from bus.event import Event
from bus.ids import derived
from bus.message import Subscription
from bus.router import Router
from bus.testing import Harness, ManualClock, harness
from schemas import request_vault as contract
from schemas.request_vault import (
    NO_STREAM,
    Append,
    BodyChunk,
    CallsRecorded,
    CategoryHeads,
    GetCall,
    GetVaultStats,
    ReadBody,
    ReadCategory,
    ReadLog,
    ReadStream,
    SearchCalls,
    TraceEvents,
)
from schemas.traffic_gateway import Body
from services.request_vault import service
from services.request_vault.config import Config
from tests.services.grounds import a_ground
from tests.services.request_vault.samples import (
    BUCKET,
    OrderPaid,
    OrderPlaced,
    call,
    call_event,
    captured,
    decision,
    event_of,
    order,
)

S = TypeVar("S", bound=bus.Signal)
Runs = Callable[..., AbstractAsyncContextManager[Harness]]


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    """Runs the vault over the same data each time."""

    @asynccontextmanager
    async def run(*routers: Router, clock: ManualClock | None = None) -> AsyncIterator[Harness]:
        followed = [each for router in routers if (each := router.subscription()) is not None]
        async with harness(
            *routers, source="request_vault", clock=clock, subscriptions=(*contract.SUBSCRIPTIONS, *followed)
        ) as b:
            ground = a_ground(b, tmp_path)
            async with service.build(Config(), ground):
                yield b

    return run


@pytest.fixture
async def b(runs: Runs) -> AsyncIterator[Harness]:
    async with runs() as running:
        yield running


class Heard:
    """What a router heard, and waiting for more of it."""

    def __init__(self) -> None:
        self.all: list[Any] = []
        self._more = asyncio.Condition()

    async def hear(self, message: Any, delivery: bus.Delivery) -> None:
        async with self._more:
            self.all.append(message)
            self._more.notify_all()

    async def first(self, count: int) -> list[Any]:
        async with asyncio.timeout(10), self._more:
            await self._more.wait_for(lambda: len(self.all) >= count)
        return self.all[:count]


# --- events in


async def test_every_event_of_the_bus_is_in_the_log(b: Harness) -> None:
    await b.publish(OrderPlaced(1), OrderPaid(2), key="eu", subject="o-1")
    await b.settled()
    page = await b.ask(ReadLog())
    assert [_event(record.event).type for record in page.records] == ["shop.order.placed", "shop.order.paid"]
    assert [record.stream for record in page.records] == ["shop.order-o-1"] * 2
    assert page.next_cursor is None
    await b.publish(OrderPlaced(3), key="eu")
    await b.settled()
    assert page.tail_cursor is not None
    assert len((await b.ask(ReadLog(cursor=page.tail_cursor))).records) == 1


async def test_of_a_batch_only_what_cannot_be_recorded_is_parked(b: Harness) -> None:
    await b.emit(order(1), order(2), order(3))
    await b.settled()
    await b.emit(order(4), event_of(OrderPlaced(77), "order-2", subject="o-2"), order(5))
    await b.settled()
    (parked,) = await b.parked()
    assert parked.subscription == "request_vault"
    assert parked.reason == "event order-2 of shop (shop.order.placed) was recorded before with other content"
    recorded = [_event(record.event) for record in (await b.ask(ReadLog(types=("shop.#",)))).records]
    assert sorted(event.id for event in recorded) == [f"order-{number}" for number in range(1, 6)]
    # The parking itself is remembered too.
    assert len((await b.ask(ReadLog(types=("bus.event.parked",)))).records) == 1


async def test_a_trace_shows_what_one_event_led_to(runs: Runs) -> None:
    shop = Router("shop")

    @shop.on(OrderPlaced)
    async def on_order_placed(placed: OrderPlaced, delivery: bus.Delivery) -> None:
        await delivery.publish(OrderPaid(placed.total_cents))

    async with runs(shop) as b:
        await b.publish(OrderPlaced(5), key="eu", id="the-order")
        await b.settled()
        traced = [_event(record.event) for record in (await b.ask(TraceEvents("the-order"))).records]
        assert [(event.type, event.causationid) for event in traced] == [
            ("shop.order.placed", None),
            ("shop.order.paid", "the-order"),
        ]
        assert (await b.ask(TraceEvents(traced[1].id))).records == (
            await b.ask(TraceEvents("the-order"))
        ).records
        with pytest.raises(Refused) as caught:
            await b.ask(TraceEvents("nothing"))
        assert caught.value.reason == "event-unknown"


# --- decisions


async def test_decisions_are_published_in_order_with_their_stamps(runs: Runs) -> None:
    heard = Heard()
    follower = Router(Subscription("follower", ("shop.#",), mode="ordered"))
    follower.on_event("shop.#", heard.hear)
    async with runs(follower) as b:
        first = await b.ask(Append("shop.thing-a", NO_STREAM, (decision("a1"), decision("a2"))))
        await b.ask(Append("bank.account-x", NO_STREAM, (decision("x1"),)))
        await b.ask(Append("shop.thing-a", first.version, (codec.encode_event(order(3)), decision("a3"))))
        published = await heard.first(5)
        assert [event.id for event in published] == ["a1", "a2", "x1", "order-3", "a3"]
        assert [(e.stamp.stream, e.stamp.version, e.stamp.position, e.stamp.prev) for e in published] == [
            ("shop.thing-a", 1, (0, 1), None),
            ("shop.thing-a", 2, (0, 2), 1),
            ("bank.account-x", 1, (0, 3), None),
            ("shop.thing-a", 3, (0, 4), 2),
            ("shop.thing-a", 4, (0, 5), 4),
        ]
        await b.settled()
        assert await b.parked() == []
        assert len((await b.ask(ReadLog())).records) == 5


async def test_an_append_is_answered_from_the_log(b: Harness) -> None:
    appended = await b.ask(Append("shop.thing-a", NO_STREAM, (decision("a1"),)))
    again = await b.ask(Append("shop.thing-a", NO_STREAM, (decision("a1"),)))
    assert (again.positions, again.repeated) == (appended.positions, True)
    refused: tuple[tuple[Append, str], ...] = (
        (Append("shop.thing-a", NO_STREAM, (decision("a2"),)), "version-conflict"),
        (Append("shop.thing-a", 1, (decision("a1", what="else"),)), "event-conflict"),
        (Append("shop.thing-a", 1, (b"no event",)), "event-malformed"),
    )
    for ask, reason in refused:
        with pytest.raises(Refused) as caught:
            await b.ask(ask)
        assert caught.value.reason == reason
    page = await b.ask(ReadCategory("shop"))
    assert (len(page.records), page.next_after, page.head) == (1, 1, 1)
    assert (await b.ask(ReadStream("shop.thing-a"))).records == page.records
    assert (await b.ask(ReadCategory("shop", after=1))).records == ()
    assert (await b.ask(ReadCategory("shop", after=-5, limit=10**6))).records == page.records


async def test_decisions_wait_for_a_bus_that_is_away(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    heard = Heard()
    follower = Router(Subscription("follower", ("shop.#",), mode="ordered"))
    follower.on_event("shop.#", heard.hear)
    async with runs(follower) as b:
        emit = b.emit
        tried = asyncio.Event()

        async def away(*events: Event, **options: Any) -> None:
            tried.set()
            raise Unavailable("the broker is away")

        monkeypatch.setattr(b, "emit", away)
        await b.ask(Append("shop.thing-a", NO_STREAM, (decision("a1"),)))
        await tried.wait()
        assert (await b.ask(GetVaultStats())).published_to == 0
        monkeypatch.setattr(b, "emit", emit)
        await b.clock.advance(1)
        assert [event.id for event in await heard.first(1)] == ["a1"]


async def test_what_was_appended_before_a_stop_is_published_by_its_end(runs: Runs) -> None:
    async with runs() as b:
        await b.ask(Append("shop.thing-a", NO_STREAM, tuple(decision(f"a{number}") for number in range(300))))
    async with runs() as b:
        assert (await b.ask(GetVaultStats())).published_to == 300


async def test_the_heads_of_categories_are_told_every_second(runs: Runs) -> None:
    heard = Heard()
    listener = Router("listener")
    listener.on(CategoryHeads, heard.hear)
    async with runs(listener) as b:
        assert (await heard.first(1))[0].heads == {}
        await b.ask(Append("shop.thing-a", NO_STREAM, (decision("a1"), decision("a2"))))
        await b.clock.advance(1)
        assert (await heard.first(2))[1].heads == {"shop": 2}


# --- calls and bodies


async def test_calls_are_searched_page_by_page_while_more_arrive(b: Harness) -> None:
    await b.emit(*[captured(f"c-{number}", status=200 + number % 2) for number in range(10)])
    await b.settled()
    found: list[str] = []
    ask = SearchCalls(BUCKET, status="201", limit=2)
    page = await b.ask(ask)
    while True:
        found += [each.id for each in page.calls]
        if page.next_cursor is None:
            break
        await b.emit(captured(f"new-{len(found)}", status=201))
        await b.settled()
        page = await b.ask(SearchCalls(BUCKET, status="201", limit=2, cursor=page.next_cursor))
    assert found == ["c-9", "c-7", "c-5", "c-3", "c-1"]
    assert (await b.ask(ask)).calls[0].id == "new-4"


async def test_a_cursor_is_for_its_own_question_only(b: Harness) -> None:
    await b.emit(*[captured(f"c-{number}") for number in range(3)])
    await b.settled()
    cursor = (await b.ask(SearchCalls(BUCKET, limit=1))).next_cursor
    log_cursor = (await b.ask(ReadLog(limit=1))).next_cursor
    asks: tuple[bus.Ask[Any], ...] = (
        SearchCalls("anotherbuckt", cursor=cursor),
        SearchCalls(BUCKET, method="GET", cursor=cursor),
        SearchCalls(BUCKET, cursor=log_cursor),
        SearchCalls(BUCKET, cursor="rubbish"),
        ReadLog(cursor=cursor or ""),
        ReadLog(cursor=log_cursor or "", key="eu"),
    )
    for ask in asks:
        with pytest.raises(Refused) as caught:
            await b.ask(ask)
        assert caught.value.reason == "cursor-invalid"
    assert len((await b.ask(SearchCalls(BUCKET, limit=2, cursor=cursor))).calls) == 2


async def test_calls_are_searched_by_what_a_person_types(b: Harness) -> None:
    await b.emit(*[captured(f"c-{number}", status=500 + number % 2) for number in range(5)])
    await b.settled()
    # The clock stands at the calls' start; `since:0s` is that moment.
    ask = SearchCalls(BUCKET, query="status:500 since:0s -host:other", limit=2)
    first = await b.ask(ask)
    await b.clock.advance(60)
    assert [each.id for each in first.calls] == ["c-4", "c-2"]
    again = SearchCalls(BUCKET, query=" status:500 since:1m -host:other", limit=2, cursor=first.next_cursor)
    with pytest.raises(Refused) as caught:
        await b.ask(again)
    assert caught.value.reason == "cursor-invalid"
    # The same words go on, though they mean a later moment now: there is nothing that late.
    assert (await b.ask(msgspec.structs.replace(ask, cursor=first.next_cursor))).calls == ()
    assert [each.id for each in (await b.ask(msgspec.structs.replace(ask, query="since:2m"))).calls] == [
        "c-4",
        "c-3",
    ]
    behind = await b.ask(SearchCalls(BUCKET, query="-status:501", after=(0, 0)))
    assert [each.id for each in behind.calls] == ["c-0", "c-2", "c-4"]


async def test_a_query_that_cannot_be_read_is_refused_at_its_character(b: Harness) -> None:
    for query, detail in (
        ("is:error statsu:5xx", "q, character 10: "),
        ("x" * 100_000, "q, character 2049: "),
    ):
        with pytest.raises(Refused) as caught:
            await b.ask(SearchCalls(BUCKET, query=query))
        assert (caught.value.reason, caught.value.detail[: len(detail)]) == ("query-invalid", detail)


async def test_a_bucket_is_followed_by_position(b: Harness) -> None:
    await b.emit(*[captured(f"c-{number}") for number in range(3)], captured("other", bucket="anotherbuckt"))
    await b.settled()
    page = await b.ask(SearchCalls(BUCKET, after=(0, 0), limit=2))
    assert [each.id for each in page.calls] == ["c-0", "c-1"]
    cursor = page.next_cursor
    page = await b.ask(SearchCalls(BUCKET, after=page.calls[-1].position))
    assert ([each.id for each in page.calls], page.next_cursor) == (["c-2"], None)
    assert await b.ask(SearchCalls(BUCKET, cursor=cursor)) == page
    assert (await b.ask(SearchCalls(BUCKET, after=page.calls[-1].position))).calls == ()
    for ask in (
        SearchCalls(BUCKET, after=(2, 1)),
        SearchCalls(BUCKET, after=(1, -1)),
        SearchCalls(BUCKET, limit=0),
    ):
        with pytest.raises(Refused) as caught:
            await b.ask(ask)
        assert caught.value.reason == "query-invalid"


async def test_a_pattern_that_is_none_is_refused(b: Harness) -> None:
    with pytest.raises(Refused) as caught:
        await b.ask(ReadLog(types=("shop.#", "a..b")))
    assert caught.value.reason == "pattern-invalid"


async def test_buckets_hear_of_their_calls(runs: Runs) -> None:
    heard = Heard()
    listener = Router("listener")
    listener.on(CallsRecorded, heard.hear, key=BUCKET)
    async with runs(listener) as b:
        await b.emit(captured("c-1"), captured("other", bucket="anotherbuckt"))
        (told,) = await heard.first(1)
        assert (told.bucket, told.count) == (BUCKET, 1)
        assert (await b.ask(SearchCalls(BUCKET))).calls[0].position == told.position
        # Within the interval they add up.
        await b.emit(captured("c-2"), captured("c-3"))
        await b.settled()
        await b.emit(captured("c-4"))
        await b.settled()
        assert len(heard.all) == 1
        await b.clock.advance(0.1)
        told = (await heard.first(2))[1]
        assert (told.count, told.position) == (3, (1, 5))


async def test_a_call_is_read_whole_with_what_is_missing_of_it(b: Harness) -> None:
    body = random.Random(1).randbytes(512_000)
    sha256 = hashlib.sha256(body).hexdigest()
    stored = Body(len(body), len(body), sha256)
    whole = call("c-1", request_body=stored, response_body=Body(3, 3, None, b"abc"))
    event = call_event(whole)
    await b.emit(event)
    await b.settled()
    record = await b.ask(GetCall("c-1"))
    assert (record.call, record.event_id, record.position, record.body_missing) == (
        whole,
        event.id,
        (1, 1),
        ("request",),
    )
    with pytest.raises(Refused) as caught:
        await b.ask(ReadBody(BUCKET, sha256))
    assert caught.value.reason == "body-unknown"

    await b.emit(*chunks_of(body, sha256), exchange="bodies")
    await b.settled()
    assert (await b.ask(GetCall("c-1", bucket=BUCKET))).body_missing == ()
    read = b""
    while len(read) < len(body):
        part = await b.ask(ReadBody(BUCKET, sha256, offset=len(read)))
        assert part.size_bytes == len(body)
        read += part.data
    assert read == body
    for id, bucket in (("c-2", None), ("c-1", "anotherbuckt")):
        with pytest.raises(Refused) as caught:
            await b.ask(GetCall(id, bucket))
        assert caught.value.reason == "call-unknown"
    stats = await b.ask(GetVaultStats())
    assert (stats.bodies, stats.calls, stats.events) == (1, 1, 1)
    assert stats.size_bytes > len(body)


async def test_a_body_with_a_wrong_hash_is_parked_and_the_others_kept(b: Harness) -> None:
    right = b"right" * 10
    await b.emit(
        *chunks_of(b"wrong" * 10, hashlib.sha256(b"promised").hexdigest()),
        *chunks_of(right, hashlib.sha256(right).hexdigest()),
        exchange="bodies",
    )
    await b.settled()
    (parked,) = await b.parked()
    assert parked.subscription == "request_vault.bodies"
    assert "1 chunks make 50 bytes" in parked.reason
    assert (await b.ask(ReadBody(BUCKET, hashlib.sha256(right).hexdigest()))).data == right


def chunks_of(body: bytes, sha256: str) -> list[Event]:
    size = contract.BODY_PART_BYTES
    count = -(-len(body) // size)
    return [
        event_of(
            BodyChunk(BUCKET, sha256, n, count, len(body), body[n * size : (n + 1) * size]),
            derived("body", BUCKET, sha256, str(n)),
            key=BUCKET,
            subject=sha256,
        )
        for n in range(count)
    ]


async def test_it_starts_and_stops_again_and_again(runs: Runs) -> None:
    for number in range(8):
        async with runs() as b:
            await b.emit(order(number))
            await b.ask(Append(f"shop.thing-{number}", NO_STREAM, (decision(f"d-{number}"),)))
            await b.settled()
    async with runs() as b:
        stats = await b.ask(GetVaultStats())
    assert (stats.partitions, stats.heads) == ((8, 8), {"shop": 8})


def _event(encoded: bytes) -> Event:
    event = codec.decode_event(encoded)
    return event
