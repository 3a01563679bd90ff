"""Lost connections, a broker that dies, freezes or stands still, and handlers that block the loop."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter

import pytest

from bus.errors import NotRouted, Unavailable
from bus.message import Subscription
from bus.rabbitmq import RabbitTransport
from bus.transport import Delivered
from deploy.stack import Server
from tests.bus.rabbitmq.inbox import BILLING, CLOCK, Inbox, done, frame, in_ms, opened

LEDGER = Subscription("ledger", ("ledger.#",), "ordered")


async def publish_surely(transport: RabbitTransport, body: str, topic: str = "shop.order.placed._") -> None:
    """As the publisher above does: again, until it is known."""
    while True:
        try:
            await transport.publish(frame(body, topic))
        except Unavailable:
            await CLOCK.sleep(0.02)
        else:
            return


async def publish_in_order(transport: RabbitTransport) -> None:
    await transport.declare([LEDGER])
    for number in itertools.count():
        await publish_surely(transport, f"{number:08}", "ledger.entry.made._")


async def flood(transport: RabbitTransport, counter: itertools.count[int], last: int) -> None:
    while (number := next(counter)) < last:
        await publish_surely(transport, f"{number}")


async def test_a_broker_killed_under_load_loses_nothing(amqp_url: str, broker: Server) -> None:
    """Not of what is published, not of what waits in a tier; and an ordered subscription never gets anything
    for the first time out of order (what comes twice steps back)."""
    count = 4000
    async with opened(amqp_url, heartbeat_s=4) as publishing, opened(amqp_url, heartbeat_s=4) as consuming:
        seen: Counter[str] = Counter()
        retried: set[str] = set()
        arrived = Inbox()

        def settle(delivered: Delivered) -> None:
            body = delivered.frame.body.decode()
            if int(body) % 50 == 0 and body not in retried:
                retried.add(body)
                tasks.create_task(later(delivered))
                return
            seen[body] += 1
            delivered.done()

        async def later(delivered: Delivered) -> None:
            while True:
                try:
                    await consuming.send_later("billing", delivered.frame, due=in_ms(300))
                except Unavailable:
                    await CLOCK.sleep(0.02)
                else:
                    delivered.done()
                    return

        arrived.settle = settle
        await consuming.consume(BILLING, arrived)
        in_order = Inbox(done)
        await consuming.consume(LEDGER, in_order)
        counter = itertools.count()
        async with asyncio.TaskGroup() as tasks:
            for _ in range(32):
                tasks.create_task(flood(publishing, counter, count))
            one_by_one = tasks.create_task(publish_in_order(publishing))
            for threshold in (1000, 2500):
                await arrived.until(lambda threshold=threshold: len(seen) > threshold, 60)  # type: ignore[misc]
                await asyncio.to_thread(broker.kill)
                await asyncio.to_thread(broker.start)
            one_by_one.cancel()
            await arrived.until(lambda: len(seen) == count, 60)
            arrived.settle = done
        assert set(seen) == {f"{number}" for number in range(count)}
        assert len(retried) == count // 50
        await publish_surely(publishing, "99999999", "ledger.entry.made._")
        await in_order.until(lambda: "99999999" in in_order.bodies)
        firsts = list(dict.fromkeys(in_order.bodies))
        assert len(firsts) > 50
        assert firsts[:-1] == [f"{number:08}" for number in range(len(firsts) - 1)]


async def test_cut_connections_are_mended_and_every_consumer_goes_on(amqp_url: str, broker: Server) -> None:
    live = Subscription("live", ("shop.#",), "every_instance")
    ordered = Subscription("ledger", ("shop.#",), "ordered")
    async with opened(amqp_url) as transport:
        inboxes = Inbox(), Inbox(done), Inbox(done)
        for subscription, inbox in zip((BILLING, live, ordered), inboxes, strict=True):
            await transport.consume(subscription, inbox)
        signals: asyncio.Queue[object] = asyncio.Queue()
        await transport.listen(["beat.#"], signals.put_nowait)
        await transport.publish(frame("held"))
        held = await inboxes[0].next()
        inboxes[0].settle = done
        await asyncio.to_thread(broker.control, "close_all_connections", "--global", "a test")
        async with asyncio.timeout(10):
            while transport.state() == "ready":
                await CLOCK.sleep(0.01)
            await transport.wait_ready()
        again = await inboxes[0].next()
        assert (again.frame.body, again.returned) == (b"held", 1)
        held.done()
        held.give_back()
        await publish_surely(transport, "after")
        for inbox in inboxes[::2]:
            await inbox.until(lambda inbox=inbox: "after" in inbox.bodies)  # type: ignore[misc]
        async with asyncio.timeout(10):  # what dies with its connection may have missed the first ones
            while "more" not in inboxes[1].bodies:
                await transport.publish(frame("more"))
            while signals.empty():
                await transport.signal(frame("x", "beat.heart._"))
                await CLOCK.sleep(0.01)


async def test_an_unconfirmed_publish_is_told_at_once_when_the_connection_is_lost(
    amqp_url: str, broker: Server
) -> None:
    async with opened(amqp_url) as transport:
        await transport.declare([BILLING])
        await transport.publish(frame("before"))
        await asyncio.to_thread(broker.pause)
        try:
            async with asyncio.TaskGroup() as tasks:
                publishing = [tasks.create_task(_told(transport)) for _ in range(10)]
                await CLOCK.sleep(0.1)
                started_s = CLOCK.monotonic()
                transport._publish_link.renew()
                assert [await told for told in publishing] == [True] * 10
                assert CLOCK.monotonic() - started_s < 2
        finally:
            await asyncio.to_thread(broker.resume)


async def _told(transport: RabbitTransport) -> bool:
    try:
        await transport.publish(frame("x"))
    except Unavailable:
        return True
    return False


async def test_a_frozen_broker_is_noticed_and_left_in_time(amqp_url: str, broker: Server) -> None:
    """SIGSTOP: connections stay open, nothing answers."""
    try:
        async with opened(amqp_url, heartbeat_s=1, publish_bound_s=0.5) as transport:
            consumer = await transport.consume(BILLING, Inbox())
            await transport.answer("stock", ["shop.stock.*"], _never)
            await asyncio.to_thread(broker.pause)
            with pytest.raises(Unavailable):
                await transport.publish(frame("x"))
            async with asyncio.timeout(5):
                while transport.state() != "connecting":
                    await CLOCK.sleep(0.02)
            async with asyncio.timeout(6):
                await consumer.pause()
            started_s = CLOCK.monotonic()
        assert CLOCK.monotonic() - started_s < 5.5
    finally:
        await asyncio.to_thread(broker.resume)


async def test_leaving_a_broker_that_has_just_frozen_is_bounded(amqp_url: str, broker: Server) -> None:
    try:
        async with opened(amqp_url) as transport:
            await transport.consume(BILLING, Inbox())
            await asyncio.to_thread(broker.pause)
            started_s = CLOCK.monotonic()
        assert CLOCK.monotonic() - started_s < 5.5
    finally:
        await asyncio.to_thread(broker.resume)


async def _never(asked: object) -> bytes:
    return b""


async def test_a_handler_that_blocks_the_loop_does_not_cost_the_connection(
    amqp_url: str, broker: Server
) -> None:
    """Blocked for longer than a silent broker would be given, while the broker is asked whether it lives."""
    async with opened(amqp_url, heartbeat_s=2) as transport:
        inbox = Inbox()
        await transport.consume(BILLING, inbox)
        await transport.publish(frame("x"))
        delivered = await inbox.next()
        await asyncio.to_thread(broker.pause)
        await CLOCK.sleep(1.2)  # it was asked at some moment since, and cannot answer yet
        _block(broker, 4)
        delivered.done()
        await transport.publish(frame("y"))
        after = await inbox.next()
        assert (after.frame.body, after.returned) == (b"y", 0)
        assert transport.state() == "ready"
        assert inbox.bodies == ["x", "y"]


def _block(broker: Server, seconds: float) -> None:
    broker.resume()
    time.sleep(seconds)


async def test_a_broker_that_comes_back_empty_gets_everything_again(amqp_url: str, broker: Server) -> None:
    crm = Subscription("crm", ("crm.#",))
    vhost = amqp_url.rpartition("/")[2]
    async with opened(amqp_url, heartbeat_s=2) as transport:
        inbox = Inbox(done)
        await transport.declare([crm])
        await transport.consume(BILLING, inbox)
        await asyncio.to_thread(broker.control, "delete_vhost", vhost)
        await asyncio.to_thread(broker.control, "add_vhost", vhost)
        await asyncio.to_thread(broker.control, "set_permissions", "-p", vhost, "trunkline", ".*", ".*", ".*")
        async with asyncio.timeout(20):
            await _routed(transport, "crm.lead.found._")
            await _routed(transport, "shop.order.placed._")
        await inbox.next()


async def _routed(transport: RabbitTransport, topic: str) -> None:
    while True:
        try:
            await transport.publish(frame("x", topic))
        except (NotRouted, Unavailable):
            await CLOCK.sleep(0.05)
        else:
            return


async def test_a_consumer_that_the_broker_has_lost_is_found_and_made_again(
    amqp_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing tells the client: only looking shows it."""
    monkeypatch.setattr("bus.rabbitmq.consuming.LOOK_EVERY_S", 0.3)
    async with opened(amqp_url) as transport:
        inbox = Inbox(done)
        await transport.consume(BILLING, inbox)
        consumption = next(each for each in transport._consumptions if each.name == "billing")
        for intake in consumption._intakes:
            for tag in intake._tags:
                await intake._channel.basic_cancel(tag)
        await transport.publish(frame("x"))
        await inbox.next()
