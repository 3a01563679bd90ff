from __future__ import annotations

import asyncio

from bus.clock import SystemClock
from bus.errors import NotRouted
from bus.message import Subscription
from bus.rabbitmq import RabbitTransport
from bus.transport import Delivered, Frame
from deploy.stack import Server
from tests.bus.rabbitmq.inbox import BILLING, Inbox, done, frame, opened

ORDERED = Subscription("ledger", ("shop.#",), "ordered")


async def publish_many(transport: RabbitTransport, count: int) -> list[str]:
    bodies = [f"{number:04}" for number in range(count)]
    await asyncio.gather(*(transport.publish(frame(body)) for body in bodies))
    return bodies


async def test_what_is_given_back_comes_again_and_is_counted(amqp_url: str) -> None:
    async with opened(amqp_url) as transport:
        inbox = Inbox()
        await transport.consume(BILLING, inbox)
        await transport.publish(frame("x"))
        for returned in range(4):
            delivered = await inbox.next()
            assert delivered.returned == returned
            delivered.give_back()
        (await inbox.next()).done()
    assert len(inbox.arrived) == 5


async def test_what_is_unsettled_at_the_end_goes_back_and_what_is_settled_does_not(amqp_url: str) -> None:
    async with opened(amqp_url) as transport:
        inbox = Inbox()
        await transport.consume(BILLING, inbox)
        await publish_many(transport, 20)
        await inbox.until(lambda: len(inbox.arrived) == 20)
        for delivered in inbox.arrived[1::2]:
            delivered.done()
    async with opened(amqp_url) as transport:
        again = Inbox(done)
        await transport.consume(BILLING, again)
        await again.until(lambda: len(again.arrived) == 10)
        await transport.publish(frame("last"))
        await again.until(lambda: "last" in again.bodies)
        assert sorted(again.bodies[:-1]) == sorted(inbox.bodies[::2])
        assert {delivered.returned for delivered in again.arrived[:-1]} == {1}


async def test_instances_divide_the_work(amqp_url: str) -> None:
    async with opened(amqp_url) as one, opened(amqp_url) as two:
        all_of_them = Inbox(done)
        inboxes = Inbox(all_of_them), Inbox(all_of_them)
        await one.consume(BILLING, inboxes[0], window_frames=10)
        await two.consume(BILLING, inboxes[1], window_frames=10)
        bodies = await publish_many(one, 200)
        await all_of_them.until(lambda: len(all_of_them.arrived) == 200)
        assert sorted(inboxes[0].bodies + inboxes[1].bodies) == bodies
        assert all(inbox.arrived for inbox in inboxes)


async def test_what_is_in_hand_never_passes_the_window(amqp_url: str) -> None:
    """Small frames open the window up to its limit, one consumer of the broker after the other; large ones
    close it."""
    in_hand, most = 0, 0
    waiting: list[Delivered] = []

    def keep(delivered: Delivered) -> None:
        nonlocal in_hand, most
        in_hand += 1
        most = max(most, in_hand)
        waiting.append(delivered)

    async with opened(amqp_url) as transport:
        inbox = Inbox(keep)
        await transport.consume(BILLING, inbox, window_frames=100, window_bytes=8 * 1024 * 1024)
        await publish_many(transport, 400)
        await inbox.until(lambda: in_hand == 100)
        assert most == 100
        large = asyncio.gather(
            *(transport.publish(Frame(bytes(1_000_000), ("shop.order.placed._",))) for _ in range(60))
        )
        most_large = 0
        while len(inbox.arrived) < 460:
            seen = len(inbox.arrived)
            for delivered in (now := waiting[:]):
                waiting.remove(delivered)
                in_hand -= 1
                delivered.done()
            if len(inbox.arrived) > 440:
                most_large = max(most_large, len(now))
            await inbox.until(lambda seen=seen: len(inbox.arrived) > seen)  # type: ignore[misc]
        await large
        assert most <= 100
        assert most_large <= 16, "8 MiB hold eight of them"


async def test_a_slow_frame_does_not_stop_the_others(amqp_url: str) -> None:
    """300 frames pass a window of 8 while its first is in hand."""
    async with opened(amqp_url) as transport:
        first: list[Delivered] = []
        inbox = Inbox(lambda delivered: delivered.done() if first else first.append(delivered))
        await transport.consume(BILLING, inbox, window_frames=8)
        await publish_many(transport, 300)
        await inbox.until(lambda: len(inbox.arrived) == 300)
        first[0].done()


async def test_a_paused_consumer_gets_nothing_and_leaves_the_rest_to_others(amqp_url: str) -> None:
    async with opened(amqp_url) as transport:
        paused, other = Inbox(), Inbox(done)
        consumer = await transport.consume(BILLING, paused)
        await consumer.pause()
        await publish_many(transport, 50)
        assert paused.arrived == []
        second = await transport.consume(BILLING, other)
        await other.until(lambda: len(other.arrived) == 50)
        assert paused.arrived == []
        await second.close()
        await consumer.resume()
        await transport.publish(frame("x"))
        (await paused.next()).done()
        await consumer.close()
        await consumer.close()


async def test_an_every_instance_subscription_gets_a_copy_for_each(amqp_url: str, broker: Server) -> None:
    live = Subscription("live", ("shop.#",), "every_instance")
    async with opened(amqp_url) as one, opened(amqp_url) as two:
        await one.declare([live])
        inboxes = Inbox(done), Inbox(done)
        await one.consume(live, inboxes[0])
        consumer = await two.consume(live, inboxes[1])
        await one.publish(frame("x"))
        for inbox in inboxes:
            await inbox.next()
        await consumer.close()
        await one.publish(frame("y"))
        await inboxes[0].next()
        assert len(await _queues_of(broker, amqp_url, "live@")) == 1
        await one.send_later("live", frame("again"))
        await inboxes[0].next()
        assert (inboxes[0].bodies, inboxes[1].bodies) == (["x", "y", "again"], ["x"])


async def _queues_of(broker: Server, url: str, prefix: str) -> list[str]:
    vhost = url.rpartition("/")[2]
    listed = await asyncio.to_thread(
        broker.control, "-q", "list_queues", "-p", vhost, "--no-table-headers", "name"
    )
    return [name for name in listed.split() if name.startswith(prefix)]


async def test_an_ordered_subscription_fails_over_in_order(amqp_url: str) -> None:
    """The active one leaves with frames in hand; the other goes on with exactly those."""
    async with opened(amqp_url) as survivor:
        first, second = Inbox(), Inbox(done)
        async with opened(amqp_url) as active:
            await active.consume(ORDERED, first, window_frames=10)
            await survivor.consume(ORDERED, second, window_frames=10)
            bodies = [f"{number:04}" for number in range(60)]
            for body in bodies:
                await survivor.publish(frame(body))
            await first.until(lambda: len(first.arrived) == 10)
            for delivered in first.arrived[:5]:
                delivered.done()
            await first.until(lambda: len(first.arrived) == 15)
            assert second.arrived == []
        await second.until(lambda: len(second.arrived) == 55)
    assert first.bodies == bodies[:15]
    assert second.bodies == bodies[5:]
    assert [delivered.returned for delivered in second.arrived] == [1] * 10 + [0] * 45


async def test_an_ordered_consumer_that_pauses_keeps_its_place_and_the_order(amqp_url: str) -> None:
    async with opened(amqp_url) as one, opened(amqp_url) as two:
        first, second = Inbox(), Inbox(done)
        consumer = await one.consume(ORDERED, first, window_frames=10)
        await two.consume(ORDERED, second)
        bodies = [f"{number:04}" for number in range(30)]
        for body in bodies:
            await two.publish(frame(body))
        await first.until(lambda: len(first.arrived) == 10)
        await consumer.pause()
        for delivered in (first.arrived[7], first.arrived[2], *first.arrived[3:7], *first.arrived[8:]):
            delivered.give_back()
        first.arrived[0].done()
        await SystemClock().sleep(0)
        assert len(first.arrived) == 10
        await consumer.resume()
        await first.until(lambda: len(first.arrived) >= 18)
        for delivered in first.arrived[10:]:
            delivered.done()
        first.arrived[1].done()
        first.settle = done
        await first.until(lambda: len(first.arrived) == 38)
        assert second.arrived == []
    assert first.bodies[10:] == bodies[2:]
    assert [delivered.returned for delivered in first.arrived[10:]] == [1] * 8 + [0] * 20


async def test_suspects_are_delivered_one_at_a_time(amqp_url: str) -> None:
    async with opened(amqp_url) as transport:
        inbox = Inbox()
        await transport.consume(BILLING, inbox)
        for number in range(4):
            await transport.send_later("billing", Frame(f"s{number}".encode(), ("shop.a._",), suspect=True))
        await publish_many(transport, 50)
        await inbox.until(lambda: len(inbox.arrived) == 51)
        for number in range(4):
            suspects = [delivered for delivered in inbox.arrived if delivered.frame.suspect]
            assert [delivered.frame.body for delivered in suspects] == [
                b"s%d" % at for at in range(number + 1)
            ]
            suspects[-1].done()
            if number < 3:
                await inbox.until(lambda number=number: len(inbox.arrived) == 52 + number)  # type: ignore[misc]


async def test_a_suspects_returns_count_only_its_own_losses(amqp_url: str) -> None:
    async with opened(amqp_url) as transport:
        inbox = Inbox()
        await transport.consume(BILLING, inbox)
        for body in (b"killer", b"innocent"):
            await transport.send_later("billing", Frame(body, ("shop.a._",), suspect=True))
        assert (await inbox.next()).frame.body == b"killer"
    async with opened(amqp_url) as transport:
        again = Inbox(done)
        await transport.consume(BILLING, again)
        await again.until(lambda: len(again.arrived) == 2)
        assert {delivered.frame.body: delivered.returned for delivered in again.arrived} == {
            b"killer": 1,
            b"innocent": 0,
        }


async def test_a_consumer_whose_queue_is_deleted_begins_again(amqp_url: str, broker: Server) -> None:
    async with opened(amqp_url) as transport:
        inbox = Inbox(done)
        await transport.consume(BILLING, inbox)
        await asyncio.to_thread(broker.control, "delete_queue", "-p", amqp_url.rpartition("/")[2], "billing")
        async with asyncio.timeout(10):
            while not await _taken(transport, frame("again")):
                pass
        await inbox.next()


async def _taken(transport: RabbitTransport, sent: Frame) -> bool:
    try:
        await transport.publish(sent)
    except NotRouted:
        return False
    return True


async def test_a_deliver_that_raises_does_not_stop_the_consumer(amqp_url: str) -> None:
    async with opened(amqp_url) as transport:

        def settle(delivered: Delivered) -> None:
            if not delivered.returned:
                raise RuntimeError("a mistake")
            delivered.done()

        inbox = Inbox(settle)
        await transport.consume(BILLING, inbox, window_frames=2)
        await publish_many(transport, 10)
        await inbox.until(lambda: len(inbox.arrived) >= 20)
        await transport.publish(frame("x"))
        await inbox.until(lambda: inbox.bodies.count("x") == 2)
