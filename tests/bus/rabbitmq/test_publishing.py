from __future__ import annotations

import asyncio

import pytest

from bus.codec import MAX_FRAME_BYTES
from bus.errors import Backpressure, NotRouted, TooLarge, Unavailable
from bus.message import Subscription
from bus.rabbitmq import RabbitTransport
from bus.transport import Frame
from deploy.stack import Server
from tests.bus.rabbitmq.inbox import BILLING, Inbox, done, frame, opened


async def test_a_published_frame_is_delivered_as_it_was(amqp_url: str) -> None:
    sent = Frame(
        b"\x00\xff" * 300_000, ("shop.order.placed.eu",), "application/json", {"cloudEvents:id": "1"}
    )
    async with opened(amqp_url) as transport:
        inbox = Inbox(done)
        await transport.consume(BILLING, inbox)
        await transport.publish(sent)
        delivered = await inbox.next()
        assert (delivered.frame, delivered.returned) == (sent, 0)


async def test_what_no_queue_takes_is_not_routed_and_not_stored(amqp_url: str) -> None:
    async with opened(amqp_url) as transport:
        await transport.declare([BILLING])
        with pytest.raises(NotRouted, match=r"crm\.lead\.found\._"):
            await transport.publish(frame("x", "crm.lead.found._"))
        with pytest.raises(NotRouted, match="no-such"):
            await transport.send_later("no-such", frame("x"))
        assert await transport.queue_depths([BILLING]) == {"billing": 0}


async def test_of_two_in_flight_each_gets_its_own_answer(amqp_url: str) -> None:
    """The same frame, to a topic that is bound and to one that is not, a hundred times at once."""
    async with opened(amqp_url) as transport:
        await transport.declare([BILLING])
        answers = await asyncio.gather(
            *(
                transport.publish(frame("same", "shop.order.placed._" if number % 2 else "crm.lead.found._"))
                for number in range(100)
            ),
            return_exceptions=True,
        )
        assert [type(answer) for answer in answers] == [NotRouted, type(None)] * 50
        assert await transport.queue_depths([BILLING]) == {"billing": 50}


async def test_a_frame_of_many_topics_reaches_each_queue_once(amqp_url: str) -> None:
    crm = Subscription("crm", ("crm.#", "*.lead.*.*"))
    async with opened(amqp_url) as transport:
        await transport.declare([BILLING, crm])
        topics = tuple(f"shop.order.placed.k{number}" for number in range(60))
        await transport.publish(frame("both", *topics, "crm.lead.found.eu", "crm.lead.lost.eu"))
        assert await transport.queue_depths([BILLING, crm]) == {"billing": 1, "crm": 1}


async def test_a_frame_that_is_too_large_is_refused_and_leaves_the_others_alone(amqp_url: str) -> None:
    async with opened(amqp_url) as transport:
        await transport.declare([BILLING])
        large = transport.publish(Frame(b"x" * (MAX_FRAME_BYTES + 1), ("shop.order.placed._",)))
        answers = await asyncio.gather(large, transport.publish(frame("small")), return_exceptions=True)
        assert isinstance(answers[0], TooLarge)
        assert answers[1] is None


async def test_a_full_queue_that_pushes_back_makes_publishers_wait(amqp_url: str) -> None:
    vault = Subscription("vault", ("#",), max_bytes=20_000, pushes_back=True)
    async with opened(amqp_url) as transport:
        await transport.declare([vault])
        with pytest.raises(Backpressure):
            await publish_for_ever(transport, Frame(b"x" * 1000, ("shop.order.placed._",)))
        inbox = Inbox(done)
        await transport.consume(vault, inbox)
        await inbox.until(lambda: len(inbox.arrived) >= 15)
        await transport.publish(frame("goes again"))
        await inbox.until(lambda: inbox.bodies[-1] == "goes again")


async def test_a_blocked_broker_stops_publishing_but_not_settling(amqp_url: str, broker: Server) -> None:
    async with opened(amqp_url, publish_bound_s=0.5) as transport:
        inbox = Inbox()
        await transport.consume(BILLING, inbox)
        for number in range(20):
            await transport.publish(frame(f"{number}"))
        await inbox.until(lambda: len(inbox.arrived) == 20)
        await asyncio.to_thread(broker.control, "set_vm_memory_high_watermark", "absolute", "1MB")
        try:
            with pytest.raises(Backpressure, match="blocks publishers"):
                await publish_for_ever(transport, frame("more"))
            assert transport.state() == "blocked"
            for delivered in inbox.arrived:
                delivered.done()
            async with asyncio.timeout(10):
                while await _unacknowledged(broker, amqp_url):
                    pass
        finally:
            await asyncio.to_thread(broker.control, "set_vm_memory_high_watermark", "0.4")
        async with asyncio.timeout(15):
            await transport.wait_ready()
        await transport.publish(frame("after"))


async def publish_for_ever(transport: RabbitTransport, sent: Frame) -> None:
    while True:
        await transport.publish(sent)


async def _unacknowledged(broker: Server, url: str) -> int:
    vhost = url.rpartition("/")[2]
    listed = await asyncio.to_thread(
        broker.control,
        "-q",
        "list_queues",
        "-p",
        vhost,
        "--no-table-headers",
        "name",
        "messages_unacknowledged",
    )
    return sum(int(line.split()[1]) for line in listed.splitlines() if line.split()[0] == "billing")


async def test_a_closed_transport_says_so(amqp_url: str) -> None:
    async with opened(amqp_url) as transport:
        await transport.declare([BILLING])
    assert transport.state() == "closed"
    with pytest.raises(Unavailable, match="closed"):
        await transport.publish(frame("x"))
    with pytest.raises(Unavailable, match="closed"):
        await transport.consume(BILLING, Inbox())
