"""Coalescing without linger, the window that grows with load, order, and what callers are told."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from bus import codec, publisher
from bus.errors import Malformed, NotRouted, TooLarge, Unavailable
from bus.event import Event
from bus.message import Fact, Subscription
from bus.testing import Harness, turns
from bus.transport import Frame
from tests.bus.memory import MemoryTransport, memory_bus


class OrderPlaced(Fact, frozen=True):
    TYPE = "shop.order.placed"
    number: int = 0


class OrderMoved(Fact, frozen=True):
    TYPE = "shop.order.moved"
    ORDERED = True
    number: int = 0


class PackingRequested(Fact, frozen=True):
    TYPE = "shop.packing.requested"
    number: int = 0


class ChunkSent(Fact, frozen=True):
    TYPE = "shop.chunk.sent"
    EXCHANGE = "bodies"
    data: bytes = b""


EVERYTHING = Subscription("everything", ("#",))
BODIES = Subscription("bodies", ("#",), exchange="bodies")


async def declare(bus: Harness) -> None:
    await bus.declare(EVERYTHING, BODIES)


def sizes(transport: MemoryTransport) -> list[int]:
    return [len(codec.decode_batch(frame.body)) for _, frame in transport.published]


def events(transport: MemoryTransport) -> list[Event]:
    return [event for _, frame in transport.published for event in codec.decode_batch(frame.body)]


def numbers(transport: MemoryTransport, message: type[OrderPlaced | OrderMoved] = OrderPlaced) -> list[int]:
    return [event.read(message).number for event in events(transport)]


async def prove_routed(bus: Harness, transport: MemoryTransport, fact: Fact, *keys: str) -> None:
    """Publish once under each key, so that later batches mix them."""
    for key in keys:
        await bus.publish(fact, key=key)
    transport.published.clear()


async def test_a_single_event_goes_out_at_once() -> None:
    async with memory_bus() as (bus, transport):
        await declare(bus)
        await bus.publish(OrderPlaced(7), key="eu", subject="o-7")
        [(exchange, frame)] = transport.published
        [event] = codec.decode_batch(frame.body)
        assert (exchange, frame.topics, event.source) == ("events", ("shop.order.placed.eu",), "test")
        assert (event.subject, event.time, event.read(OrderPlaced)) == (
            "o-7",
            bus.clock.now(),
            OrderPlaced(7),
        )


async def test_what_arrives_in_one_turn_of_the_loop_is_one_batch() -> None:
    async with memory_bus() as (bus, transport):
        await declare(bus)
        async with asyncio.TaskGroup() as tasks:
            for number in range(200):
                tasks.create_task(bus.publish(OrderPlaced(number)))
        assert sizes(transport) == [200]
        assert numbers(transport) == list(range(200))


async def test_what_arrives_while_a_batch_is_unconfirmed_is_the_next_batch() -> None:
    async with memory_bus() as (bus, transport):
        await declare(bus)
        transport.hold = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            for number in range(20):
                tasks.create_task(bus.publish(OrderPlaced(number)))
                await turns(3)
            assert transport.unconfirmed == 1
            transport.hold.set()
        assert sizes(transport) == [1, 19]


async def test_the_window_grows_with_what_waits_and_is_bounded() -> None:
    async with memory_bus() as (bus, transport):
        await declare(bus)
        transport.hold = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            for _ in range(40 * codec.MAX_BATCH_EVENTS):
                tasks.create_task(bus.publish(OrderPlaced()))
            await turns(5)
            assert transport.unconfirmed == publisher.WINDOW
            transport.hold.set()
        assert transport.most_unconfirmed == publisher.WINDOW
        assert max(sizes(transport)) == codec.MAX_BATCH_EVENTS
        assert sum(sizes(transport)) == 40 * codec.MAX_BATCH_EVENTS


async def test_an_ordered_type_keeps_one_batch_unconfirmed_and_its_order() -> None:
    async with memory_bus() as (bus, transport):
        await declare(bus)
        transport.hold = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            for number in range(1000):
                tasks.create_task(bus.publish(OrderMoved(number)))
            await turns(5)
            assert transport.unconfirmed == 1
            transport.hold.set()
        assert transport.most_unconfirmed == 1
        assert numbers(transport, OrderMoved) == list(range(1000))


async def test_a_lane_that_began_unordered_becomes_ordered_for_whom_it_matters() -> None:
    async with memory_bus() as (bus, transport):
        await declare(bus)
        await bus.emit(bus.envelop(OrderPlaced()))
        transport.hold = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            for number in range(1000):
                tasks.create_task(bus.emit(bus.envelop(OrderPlaced(number)), ordered=True))
            await turns(5)
            assert transport.unconfirmed == 1
            transport.hold.set()


async def test_work_travels_one_event_a_message() -> None:
    async with memory_bus() as (bus, transport):
        await declare(bus)
        transport.hold = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(bus.publish(*(PackingRequested(number) for number in range(50))))
            await turns(5)
            assert transport.unconfirmed == publisher.WINDOW
            transport.hold.set()
        assert sizes(transport) == [1] * 50


async def test_types_and_exchanges_do_not_share_a_batch_and_keys_do() -> None:
    async with memory_bus() as (bus, transport):
        await declare(bus)
        await prove_routed(bus, transport, OrderPlaced(), "eu", "us")
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(bus.publish(OrderPlaced(1), OrderMoved(1), ChunkSent(b"x"), key="eu"))
            tasks.create_task(bus.publish(OrderPlaced(2), key="us"))
        topics = {frame.topics: exchange for exchange, frame in transport.published}
        assert topics == {
            ("shop.order.placed.eu", "shop.order.placed.us"): "events",
            ("shop.order.moved.eu",): "events",
            ("shop.chunk.sent.eu",): "bodies",
        }


async def test_a_topic_is_mixed_with_others_only_when_a_queue_has_taken_it_before() -> None:
    async with memory_bus() as (bus, _):
        await bus.declare(Subscription("europe", ("shop.order.placed.eu",)))
        async with asyncio.TaskGroup() as tasks:
            taken = tasks.create_task(bus.publish(OrderPlaced(1), id="same", key="eu"))
            nowhere = tasks.create_task(_not_routed(bus, OrderPlaced(2), id="same", key="mars"))
        assert taken.result() is None
        assert "mars" in nowhere.result()


async def _not_routed(bus: Harness, fact: Fact, *, id: str, key: str) -> str:
    with pytest.raises(NotRouted) as raised:
        await bus.publish(fact, id=id, key=key)
    return str(raised.value)


async def test_a_batch_keeps_its_limits_of_bytes_and_topics() -> None:
    async with memory_bus() as (bus, transport):
        await declare(bus)
        async with asyncio.TaskGroup() as tasks:
            for _ in range(10):
                tasks.create_task(bus.publish(ChunkSent(b"x" * 100_000)))
        assert sum(sizes(transport)) == 10
        assert all(len(frame.body) <= codec.MAX_BATCH_BYTES + 8 for _, frame in transport.published)
        keys = [f"{number:03d}" + "k" * 230 for number in range(300)]
        await prove_routed(bus, transport, OrderPlaced(), *keys)
        async with asyncio.TaskGroup() as tasks:
            for key in keys:
                tasks.create_task(bus.publish(OrderPlaced(), key=key))
        assert len(transport.published) == 2
        assert all(
            sum(len(topic) + 1 for topic in frame.topics) <= codec.MAX_TOPICS_BYTES
            for _, frame in transport.published
        )


async def test_a_large_event_travels_alone() -> None:
    async with memory_bus() as (bus, transport):
        await declare(bus)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(bus.publish(ChunkSent(b"x" * 900_000)))
            tasks.create_task(bus.publish(ChunkSent(b"y")))
        assert sizes(transport) == [1, 1]


async def test_what_no_queue_takes_is_not_routed() -> None:
    async with memory_bus() as (bus, _):
        await bus.declare(BODIES)
        with pytest.raises(NotRouted):
            await bus.publish(OrderPlaced())
        await bus.declare(EVERYTHING)
        await bus.publish(OrderPlaced())


async def test_an_event_that_cannot_travel_is_refused_before_anything_is_sent() -> None:
    async with memory_bus() as (bus, transport):
        await declare(bus)
        good = bus.envelop(OrderPlaced(1))
        with pytest.raises(TooLarge):
            await bus.publish(ChunkSent(b"x" * (64 * 1024 * 1024)))
        with pytest.raises(Malformed, match="no id"):
            await bus.emit(good, Event("", "s", "a.b", 1, "_", None, bus.clock.now()))
        with pytest.raises(Malformed, match="limit is 255"):
            await bus.publish(OrderPlaced(), key="k" * 300)
        assert transport.published == []


async def test_nothing_to_send_is_sent_at_once() -> None:
    async with memory_bus() as (bus, transport):
        await bus.publish()
        await bus.emit()
        assert transport.published == []


async def test_an_id_is_for_one_fact() -> None:
    async with memory_bus() as (bus, _):
        with pytest.raises(ValueError, match="one fact"):
            await bus.publish(OrderPlaced(), OrderPlaced(), id="e-1")


async def test_a_batch_is_sent_again_with_the_same_ids_until_the_bus_takes_it() -> None:
    async with memory_bus() as (bus, transport):
        await declare(bus)
        tried: list[bytes] = []

        def refusal(frame: Frame) -> Exception | None:
            tried.append(frame.body)
            return Unavailable("down") if len(tried) <= 4 else None

        transport.refusal = refusal
        async with asyncio.TaskGroup() as tasks:
            publishing = tasks.create_task(bus.publish(OrderPlaced(1)))
            await turns(5)
            assert not publishing.done()
            await bus.clock.advance(10)
        assert len(tried) == 5
        assert len(set(tried)) == 1
        assert sizes(transport) == [1]


async def test_a_caller_is_told_when_its_time_is_over_and_its_events_are_not_sent_after() -> None:
    async with memory_bus() as (bus, transport):
        await declare(bus)
        transport.refusal = lambda frame: Unavailable("down")
        with pytest.raises(Unavailable, match=r"memory, ready\) did not confirm within 0.01 s"):
            await bus.publish(OrderPlaced(1), timeout_s=0.01)
        transport.refusal = lambda frame: None
        await bus.clock.advance(10)
        await bus.publish(OrderPlaced(2))
        assert numbers(transport) == [2]


async def test_a_closed_transport_is_told_at_once() -> None:
    async with memory_bus() as (bus, transport):
        await declare(bus)
        transport.refusal = lambda frame: Unavailable("closed")
        transport.current = "closed"
        with pytest.raises(Unavailable, match=r"^closed$"):
            await bus.publish(OrderPlaced(1))
        with pytest.raises(Unavailable, match=r"^closed$"):
            await bus.publish(OrderPlaced(1), at=bus.clock.now() + timedelta(hours=1))


async def test_one_callers_failure_is_not_anothers() -> None:
    async with memory_bus() as (bus, _):
        await bus.declare(Subscription("moved", ("shop.order.moved.*",)))
        async with asyncio.TaskGroup() as tasks:
            good = tasks.create_task(bus.publish(OrderMoved()))
            bad = tasks.create_task(_not_routed(bus, OrderPlaced(), id="x", key="eu"))
        assert good.result() is None
        assert bad.result()


async def test_waiting_bytes_are_bounded_and_callers_wait_for_room() -> None:
    async with memory_bus() as (bus, transport):
        await declare(bus)
        transport.hold = asyncio.Event()
        size = 900_000
        count = 2 * publisher.MAX_WAITING_BYTES // size
        async with asyncio.TaskGroup() as tasks:
            for _ in range(count):
                tasks.create_task(bus.publish(ChunkSent(b"x" * size)))
            await turns(10)
            assert bus.publisher._waiting_bytes < publisher.MAX_WAITING_BYTES + 2 * size
            transport.hold.set()
        assert sum(sizes(transport)) == count
        assert bus.publisher._waiting_bytes == 0


async def test_a_cancelled_caller_takes_its_waiting_events_with_it() -> None:
    async with memory_bus() as (bus, transport):
        await declare(bus)
        transport.hold = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(bus.publish(OrderPlaced(1)))
            await turns(3)
            cancelled = tasks.create_task(bus.publish(OrderPlaced(2)))
            await turns(3)
            cancelled.cancel()
            await turns(3)
            transport.hold.set()
        await bus.publisher.idle()
        assert numbers(transport) == [1]
        assert bus.publisher._waiting_bytes == 0


async def test_a_delayed_event_is_handed_over_at_once_and_routed_when_due() -> None:
    async with memory_bus() as (bus, transport):
        await declare(bus)
        await bus.publish(OrderPlaced(1), at=bus.clock.now() + timedelta(hours=10))
        assert transport.queues["everything"].depth == 0
        await bus.clock.advance(10 * 3600 - 1)
        assert transport.queues["everything"].depth == 0
        await bus.clock.advance(1)
        assert transport.queues["everything"].depth == 1


async def test_a_delayed_event_is_sent_again_while_the_bus_is_away_and_its_caller_is_told_in_time() -> None:
    async with memory_bus() as (bus, transport):
        await declare(bus)
        transport.refusal = lambda frame: Unavailable("down")
        due = bus.clock.now() + timedelta(hours=1)
        with pytest.raises(Unavailable, match="did not confirm"):
            await bus.publish(OrderPlaced(1), at=due, timeout_s=0.01)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(bus.publish(OrderPlaced(2), at=due))
            await turns(3)
            transport.refusal = lambda frame: None
            await bus.clock.advance(1)
        assert numbers(transport) == [2]


async def test_leaving_the_bus_sends_what_is_still_awaited() -> None:
    async with asyncio.TaskGroup() as tasks:
        async with memory_bus() as (bus, transport):
            await declare(bus)
            publishing = tasks.create_task(bus.publish(OrderPlaced(1)))
            await asyncio.sleep(0)
        assert sizes(transport) == [1]
    assert publishing.done()


async def test_the_bodys_own_error_comes_out_as_it_is() -> None:
    with pytest.raises(KeyError, match="mine"):
        async with memory_bus():
            raise KeyError("mine")
