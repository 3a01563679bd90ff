"""Ask and answer: one reply of the promised type, or an error that says what happened."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import bus
from bus import asking, codec
from bus.event import Event
from bus.message import Ask, Fact
from bus.router import Delivery, Router
from bus.transport import Frame
from tests.bus.memory import memory_bus


class Stock(msgspec.Struct, frozen=True):
    item: str
    count: int


class StockOf(Ask[Stock], frozen=True):
    TYPE = "shop.stock.of"
    item: str


class Forget(Ask[None], frozen=True):
    TYPE = "shop.item.forget"
    item: str


class StockAsked(Fact, frozen=True):
    TYPE = "shop.stock.asked"


def stock_router(deadline_s: float = 30.0) -> Router:
    router = Router("stock", deadline_s=deadline_s)

    @router.answers(StockOf)
    async def answer_stock_of(ask: StockOf, delivery: Delivery) -> Stock:
        match ask.item:
            case "coffee":
                raise bus.Refused("no-such-item", "there is no coffee")
            case "milk":
                raise bus.Unavailable("the cow is out")
            case "cake":
                raise ZeroDivisionError("by zero")
            case "everything":
                return Stock("x" * codec.MAX_FRAME_BYTES, 1)
            case "nonsense":
                return {1, "a", object()}  # type: ignore[return-value]
            case "patience":
                await asyncio.Event().wait()
            case "told":
                await delivery.publish(StockAsked())
        return Stock(ask.item, 7)

    @router.answers(Forget)
    async def answer_forget(ask: Forget, delivery: Delivery) -> None:
        return None

    return router


async def test_a_reply_has_the_promised_type() -> None:
    async with memory_bus() as (b, _), b.serve(stock_router()):
        assert await b.ask(StockOf("tea")) == Stock("tea", 7)
        assert await b.ask(Forget("tea")) is None  # type: ignore[func-returns-value]


async def test_nobody_serves_it() -> None:
    async with memory_bus() as (b, _):
        with pytest.raises(bus.NobodyAnswers):
            await b.ask(StockOf("tea"))
        async with b.serve(stock_router()):
            await b.ask(StockOf("tea"))
        with pytest.raises(bus.NobodyAnswers):
            await b.ask(StockOf("tea"))


async def test_refused_names_the_reason_for_programs_and_for_people() -> None:
    async with memory_bus() as (b, _), b.serve(stock_router()):
        with pytest.raises(bus.Refused) as raised:
            await b.ask(StockOf("coffee"))
        assert (raised.value.reason, raised.value.detail) == ("no-such-item", "there is no coffee")


async def test_a_dependency_of_the_answering_side_is_away() -> None:
    async with memory_bus() as (b, _), b.serve(stock_router()):
        with pytest.raises(bus.Unavailable, match="the cow is out"):
            await b.ask(StockOf("milk"))


@pytest.mark.parametrize(
    ("item", "said"),
    [
        ("cake", "shop.stock.of failed at the answering side: ZeroDivisionError: by zero"),
        ("nonsense", "TypeError"),
        ("everything", "the reply has [0-9]+ bytes; the limit is 1048576"),
    ],
)
async def test_a_failure_of_the_answering_side_is_told(item: str, said: str) -> None:
    async with memory_bus() as (b, _), b.serve(stock_router()):
        with pytest.raises(bus.AskFailed, match=said):
            await b.ask(StockOf(item))


async def test_a_deadline_passes_at_either_side() -> None:
    async with memory_bus() as (b, _), b.serve(stock_router(deadline_s=0.01)):
        with pytest.raises(bus.AskFailed, match=r"no answer within 0.01 s"):
            await b.ask(StockOf("patience"))
    async with memory_bus() as (b, _), b.serve(stock_router()):
        with pytest.raises(bus.DeadlinePassed):
            await b.ask(StockOf("patience"), timeout_s=0.01)


async def test_an_ask_of_a_later_version_or_with_bad_data_is_refused() -> None:
    async with memory_bus() as (b, transport), b.serve(stock_router()):
        for event in (
            Event("1", "s", "shop.stock.of", 2, "_", None, b.clock.now()),
            Event("2", "s", "shop.stock.of", 1, "_", None, b.clock.now()),
        ):
            body = await transport.request(Frame(codec.encode_batch([event]), (event.topic,)), timeout_s=1)
            with pytest.raises(bus.Refused) as raised:
                asking.read_reply(body, StockOf("tea"))
            assert raised.value.reason == "malformed"
        body = await transport.request(Frame(b"?", ("shop.stock.of._",)), timeout_s=1)
        with pytest.raises(bus.Refused):
            asking.read_reply(body, StockOf("tea"))


async def test_what_an_answer_publishes_is_caused_by_the_ask() -> None:
    seen: list[Event] = []

    async def on_event(event: Event, delivery: Delivery) -> None:
        seen.append(event)

    router = stock_router()
    router.on_event("shop.stock.asked.#", on_event)
    async with memory_bus() as (b, _), b.serve(router):
        await b.ask(StockOf("told"), key="eu")
        await b.settled()
    assert seen[0].key == "eu"
    assert seen[0].causationid == seen[0].correlationid is not None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"?",
        asking.encode_ok("a string"),
        asking.encode_ok({"item": "tea"}),
        msgspec.msgpack.encode((2, "ok", None, "")),
        msgspec.msgpack.encode((1, "refused", 7, "")),
    ],
)
def test_a_reply_that_is_not_what_was_promised_is_malformed(body: bytes) -> None:
    with pytest.raises(bus.Malformed, match=r"reply to shop.stock.of"):
        asking.read_reply(body, StockOf("tea"))


@given(st.binary(max_size=80) | st.binary(max_size=60).map(lambda tail: b"\x94\x01\xa2ok" + tail))
def test_any_bytes_are_a_reply_or_an_error_of_the_bus(body: bytes) -> None:
    try:
        reply = asking.read_reply(body, StockOf("tea"))
    except bus.BusError:
        return
    assert isinstance(reply, Stock)


def test_an_unknown_outcome_is_a_failure() -> None:
    with pytest.raises(bus.AskFailed, match="at the answering side: what happened"):
        asking.read_reply(asking.encode_failure("exploded", "", "what happened"), StockOf("tea"))


async def test_an_ask_too_large_to_travel_is_refused_before_it_is_sent() -> None:
    async with memory_bus() as (b, _), b.serve(stock_router()):
        with pytest.raises(bus.TooLarge):
            await b.ask(StockOf("x" * codec.MAX_FRAME_BYTES))
