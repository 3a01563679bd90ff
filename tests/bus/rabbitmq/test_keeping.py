from __future__ import annotations

from collections.abc import AsyncGenerator

from bus.transport import Frame
from tests.bus.rabbitmq.inbox import BILLING, Inbox, done, frame, opened


async def test_what_is_told_of_the_bus_is_kept_in_order_and_reading_takes_nothing_away(amqp_url: str) -> None:
    sent = [Frame(bytes([number]) * 2000, (f"bus.event.parked.k{number}",)) for number in range(250)]
    async with opened(amqp_url) as transport:
        assert [kept async for kept in transport.kept()] == []
        for one in sent:
            await transport.publish(one)
        for _ in range(2):
            assert [kept async for kept in transport.kept()] == sent
    async with opened(amqp_url) as transport:
        assert [kept async for kept in transport.kept()] == sent


async def test_a_reader_may_stop_in_the_middle(amqp_url: str) -> None:
    async with opened(amqp_url) as transport:
        for number in range(10):
            await transport.publish(frame(f"{number}", "bus.event.parked._"))
        reading = transport.kept()
        assert isinstance(reading, AsyncGenerator)
        assert (await anext(reading)).body == b"0"
        await reading.aclose()
        assert len([kept async for kept in transport.kept()]) == 10


async def test_other_events_are_not_kept_and_those_that_are_reach_subscriptions_too(amqp_url: str) -> None:
    async with opened(amqp_url) as transport:
        inbox = Inbox(done)
        await transport.consume(BILLING, inbox)
        await transport.publish(frame("x", "shop.order.placed._"))
        await transport.publish(frame("y", "bus.event.parked._", "shop.order.placed._"))
        await inbox.until(lambda: inbox.bodies == ["x", "y"])
        assert [kept.body async for kept in transport.kept()] == [b"y"]
