"""Routing, handing out, giving back: what a subscription gets and who of its consumers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import ContextVar
from datetime import UTC, datetime

import pytest

from bus.embedded import EmbeddedTransport
from bus.embedded import queue as queues
from bus.errors import NotRouted, TopicInvalid, TopologyDiffers
from bus.message import Subscription
from bus.testing import turns
from bus.transport import Delivered, Frame
from tests.bus.embedded.catching import ORDERS, Catcher, frame

AUDIT = Subscription(name="audit", patterns=("#",))
LIVE = Subscription(name="live", patterns=("shop.#",), mode="every_instance")
STOCK = Subscription(name="stock", patterns=("shop.order.#",), mode="ordered")


async def test_a_frame_reaches_every_subscription_that_takes_it_once(transport: EmbeddedTransport) -> None:
    billing, audit = Catcher(settles=True), Catcher(settles=True)
    await transport.consume(ORDERS, billing)
    await transport.consume(AUDIT, audit)
    await transport.publish(frame("a", "shop.order.placed.eu", "shop.order.placed.us"))
    await transport.publish(frame("b", "shop.stock.low.eu"))
    await transport.publish(frame("c", "shop.stock.low.eu", "shop.order.placed.us"))
    await audit.until(3)
    assert billing.bodies == ["a", "c"]
    assert audit.bodies == ["a", "b", "c"]


async def test_a_frame_comes_out_as_it_went_in(transport: EmbeddedTransport) -> None:
    given = Frame(
        body=b"\x00\xff",
        topics=("shop.order.placed.eu", "shop.order.placed.us"),
        content_type="application/json",
        headers={"cloudEvents:id": "ü"},
        attempt=3,
        first_failed_at=datetime(2026, 7, 1, 12, 30, 15, 123456, tzinfo=UTC),
        last_error="it broke \ud800",
    )
    await transport.declare([ORDERS])
    await transport.publish(given)  # nobody consumes, so it comes back from the journal
    caught = Catcher(settles=True)
    await transport.consume(ORDERS, caught)
    (delivered,) = await caught.until(1)
    assert delivered.frame == Frame(
        body=given.body,
        topics=given.topics,
        content_type=given.content_type,
        headers=given.headers,
        attempt=3,
        first_failed_at=given.first_failed_at,
        last_error="it broke ?",
    )


async def test_what_nobody_takes_is_not_stored(transport: EmbeddedTransport) -> None:
    await transport.declare([ORDERS])
    with pytest.raises(NotRouted, match=r"shop\.stock\.low\.eu"):
        await transport.publish(frame("a", "shop.stock.low.eu"))
    with pytest.raises(NotRouted, match="ingress"):
        await transport.publish(frame("a"), "ingress")
    assert transport._committer.commits == 1  # the declaration's


async def test_bindings_declared_anew_replace_the_old_ones(transport: EmbeddedTransport) -> None:
    await transport.declare([ORDERS])
    await transport.declare([Subscription(name="billing", patterns=("shop.stock.#",))])
    with pytest.raises(NotRouted):
        await transport.publish(frame("a"))
    await transport.publish(frame("b", "shop.stock.low.eu"))
    with pytest.raises(TopologyDiffers, match=r"billing.*'shared'.*'ordered'"):
        await transport.declare([Subscription(name="billing", patterns=("#",), mode="ordered")])
    with pytest.raises(TopicInvalid):
        await transport.declare([Subscription(name="billing", patterns=("a..b",))])
    assert await transport.queue_depths([ORDERS, LIVE]) == {"billing": 1}


async def test_consumers_of_a_shared_subscription_divide_the_work(transport: EmbeddedTransport) -> None:
    first, second, third = Catcher(), Catcher(), Catcher()
    for catcher in (first, second, third):
        await transport.consume(ORDERS, catcher, window_frames=4)
    async with asyncio.TaskGroup() as tasks:
        for number in range(12):
            tasks.create_task(transport.publish(frame(str(number))))
    for catcher in (first, second, third):
        await catcher.until(4)
    assert sorted(first.bodies + second.bodies + third.bodies, key=int) == [str(n) for n in range(12)]


async def test_what_is_unsettled_at_a_consumer_is_bounded(transport: EmbeddedTransport) -> None:
    few, small = Catcher(), Catcher()
    await transport.consume(ORDERS, few, window_frames=3)
    await transport.consume(AUDIT, small, window_bytes=25)
    for number in range(6):
        await transport.publish(frame(b"%010d" % number))
    await turns()
    assert (len(few.caught), len(small.caught)) == (3, 2)
    few.caught[0].done()
    small.caught[1].done()
    small.caught[1].done()  # a second time does nothing
    await turns()
    assert (len(few.caught), len(small.caught)) == (4, 3)


async def test_a_frame_larger_than_the_window_is_delivered_alone(transport: EmbeddedTransport) -> None:
    caught = Catcher()
    await transport.consume(ORDERS, caught, window_bytes=10)
    await transport.publish(frame("x" * 100))
    await transport.publish(frame("y"))
    await caught.until(1)
    await turns()
    assert len(caught.caught) == 1
    caught.caught[0].done()
    await caught.until(2)


async def test_a_paused_consumer_gets_nothing_until_it_resumes(transport: EmbeddedTransport) -> None:
    caught = Catcher()
    consumer = await transport.consume(ORDERS, caught)
    await consumer.pause()
    await transport.publish(frame("a"))
    await turns()
    assert caught.caught == []
    await consumer.resume()
    assert (await caught.until(1))[0].returned == 0


async def test_what_is_given_back_comes_again_first(transport: EmbeddedTransport) -> None:
    caught = Catcher()
    await transport.consume(ORDERS, caught, window_frames=2)
    for body in "abc":
        await transport.publish(frame(body))
    (first, _) = await caught.until(2)
    first.give_back()
    first.done()  # too late: it is settled already, by giving it back
    await caught.until(3)
    assert caught.bodies == ["a", "b", "a"]
    assert caught.caught[2].returned == 1


async def test_giving_back_from_within_deliver_does_not_hold_up_the_loop(
    transport: EmbeddedTransport,
) -> None:
    times = 0

    def deliver(delivered: Delivered) -> None:
        nonlocal times
        times += 1
        if delivered.returned < 100:
            delivered.give_back()

    await transport.consume(ORDERS, deliver)
    await transport.publish(frame("a"))
    await turns(300)
    assert times == 101


async def test_what_an_ordered_consumer_gives_back_at_once_holds_up_what_is_behind_it(
    transport: EmbeddedTransport,
) -> None:
    caught = Catcher()

    def deliver(delivered: Delivered) -> None:
        caught(delivered)
        if delivered.returned < 2:
            delivered.give_back()

    consumer = await transport.consume(STOCK, deliver)
    await consumer.pause()
    for body in "ab":
        await transport.publish(frame(body))
    await consumer.resume()
    await caught.until(6)
    assert caught.bodies == ["a", "a", "a", "b", "b", "b"]


async def test_what_a_closed_consumer_held_goes_to_the_others_in_order(transport: EmbeddedTransport) -> None:
    gone, caught = Catcher(), Catcher()
    consumer = await transport.consume(STOCK, gone, window_frames=3)
    await transport.consume(STOCK, caught)
    for body in "abcde":
        await transport.publish(frame(body))
    await gone.until(3)
    await turns()
    assert caught.caught == []  # one active consumer at a time
    gone.caught[1].done()
    await consumer.close()
    await consumer.close()
    gone.caught[0].done()  # its consumer is closed: this is ignored
    await caught.until(4)
    assert caught.bodies == ["a", "c", "d", "e"]
    assert [delivered.returned for delivered in caught.caught] == [1, 1, 0, 0]


async def test_what_came_back_is_read_again_before_anything_newer_goes_out(
    transport: EmbeddedTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    backing = transport._broker._backing
    load = backing.load_these
    asked: list[tuple[list[int], Callable[[list[queues.Entry]], None]]] = []
    monkeypatch.setattr(
        backing, "load_these", lambda *call: asked.append(call)
    )  # a journal that takes its time
    first, second = Catcher(), Catcher()
    consumer = await transport.consume(STOCK, first, window_frames=1)
    await transport.publish(frame("a"))
    await first.until(1)
    await consumer.close()  # the last one: what it held leaves memory
    await transport.consume(STOCK, second)
    await transport.publish(frame("b"))
    await turns()
    assert second.caught == []
    load(*asked[0])
    await second.until(2)
    assert second.bodies == ["a", "b"]


async def test_what_only_a_closed_listener_wanted_is_deleted(transport: EmbeddedTransport) -> None:
    consumer = await transport.consume(LIVE, Catcher())
    publishing = asyncio.ensure_future(transport.publish(frame("a")))
    await asyncio.sleep(0)
    await consumer.close()  # between publishing and the commit
    await publishing
    await until_frames_on_disk(transport, 0)


async def test_every_instance_gets_its_own_and_leaves_nothing_behind(transport: EmbeddedTransport) -> None:
    one, two = Catcher(), Catcher(settles=True)
    first = await transport.consume(LIVE, one)
    await transport.consume(LIVE, two)
    await transport.publish(frame("a"))
    await one.until(1)
    await two.until(1)
    await first.close()
    assert one.caught[0].returned == 0
    await transport.publish(frame("b"))
    await two.until(2)
    assert one.bodies == ["a"]
    await until_frames_on_disk(transport, 0)
    later = Catcher()
    await transport.consume(LIVE, later)
    await transport.publish(frame("c"))
    await later.until(1)
    assert later.bodies == ["c"]


async def test_a_slow_listener_costs_disk_not_memory_and_misses_nothing(
    transport: EmbeddedTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queues, "WINDOW_FRAMES", 10)
    slow, quick = Catcher(), Catcher(settles=True)
    consumer = await transport.consume(LIVE, slow, window_frames=1)
    await transport.consume(LIVE, quick)
    for number in range(100):
        await transport.publish(frame(str(number)))
    assert transport._broker.memory_frames() <= 10
    for number in range(60):
        (await slow.until(number + 1))[number].done()
    assert slow.bodies == [str(number) for number in range(60)]
    assert quick.bodies == [str(number) for number in range(100)]
    await consumer.close()
    await until_frames_on_disk(transport, 0)


async def test_memory_stays_bounded_while_a_consumer_is_slow(transport: EmbeddedTransport) -> None:
    caught = Catcher()
    await transport.consume(ORDERS, caught, window_frames=16)
    total, wave = 6000, 500
    for start in range(0, total, wave):
        async with asyncio.TaskGroup() as tasks:
            for number in range(start, start + wave):
                tasks.create_task(transport.publish(frame(str(number))))
    highest = 0
    for number in range(total):
        (await caught.until(number + 1))[number].done()
        highest = max(highest, transport._broker.memory_frames())
    assert caught.bodies == [str(number) for number in range(total)]
    assert highest <= queues.WINDOW_FRAMES
    assert not transport._broker.named("billing")._behind  # it has caught up, and lives in memory again
    assert await transport.queue_depths([ORDERS]) == {"billing": 0}


async def test_a_suspect_is_delivered_alone_and_counts_its_own_returns(transport: EmbeddedTransport) -> None:
    caught, other = Catcher(), Catcher()
    first = await transport.consume(ORDERS, caught)
    for body in "ab":
        await transport.send_later("billing", frame(body, suspect=True))
    await transport.send_later("billing", frame("c"))
    await caught.until(2)
    await turns()
    assert caught.bodies == ["a", "c"] or caught.bodies == ["c", "a"]
    suspect = next(delivered for delivered in caught.caught if delivered.frame.suspect)
    assert await transport.queue_depths([ORDERS]) == {"billing": 3}
    suspect.give_back()
    again = (await caught.until(3))[2]
    assert (again.frame.body, again.returned) == (b"a", 1)
    await transport.consume(ORDERS, other)
    assert (await other.until(1))[0].frame.body == b"b"
    again.done()
    other.caught[0].done()
    await first.close()
    assert (await other.until(2))[1].frame.body == b"c"
    other.caught[1].done()
    assert await transport.queue_depths([ORDERS]) == {"billing": 0}


async def test_send_later_needs_a_declared_subscription(transport: EmbeddedTransport) -> None:
    with pytest.raises(NotRouted, match="billing"):
        await transport.send_later("billing", frame("a"))


async def test_a_deliver_that_raises_stops_nobody_else(transport: EmbeddedTransport) -> None:
    told: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["message"]))

    def broken(_: Delivered) -> None:
        raise RuntimeError("no")

    caught = Catcher()
    await transport.consume(ORDERS, broken)
    await transport.consume(AUDIT, caught)
    await transport.publish(frame("a"))
    await caught.until(1)
    assert told == ["the consumer of billing failed to take a frame"]
    assert await transport.queue_depths([ORDERS]) == {"billing": 1}


async def test_a_delivery_does_not_inherit_the_context_of_who_settled_the_last(
    transport: EmbeddedTransport,
) -> None:
    cause: ContextVar[str] = ContextVar("cause", default="none")
    seen: list[str] = []
    caught = Catcher()

    def deliver(delivered: Delivered) -> None:
        seen.append(cause.get())
        caught(delivered)

    await transport.consume(ORDERS, deliver, window_frames=1)
    cause.set("event one")
    await transport.publish(frame("a"))
    await transport.publish(frame("b"))
    (await caught.until(1))[0].done()
    await caught.until(2)
    assert seen == ["none", "none"]


async def until_frames_on_disk(transport: EmbeddedTransport, count: int) -> None:
    """Wait until the flushes have left this many rows."""
    async with asyncio.timeout(5):
        while True:
            found = await transport._committer.run(
                lambda connection: connection.execute("SELECT count(*) FROM frame").fetchone()[0], kind="read"
            )
            if found == count:
                return
            transport._settling.flush()
