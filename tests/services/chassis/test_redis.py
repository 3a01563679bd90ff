"""The inbox on Redis, and what happens when Redis is away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from bus import Delivery, Fact, Router
from bus.errors import Unavailable
from bus.middleware.dedupe import Inbox
from bus.testing import harness
from deploy.stack import Stack
from services.chassis.redis import RedisUrlInvalid, open_inbox

ONE = ("shop", "event-1")


class Charged(Fact, frozen=True):
    TYPE = "test.card.charged"

    cents: int


@pytest.fixture
async def shared(redis_url: str) -> AsyncIterator[Inbox]:
    async with open_inbox(redis_url) as inbox:
        assert inbox is not None
        yield inbox


async def test_it_holds_what_was_added(shared: Inbox) -> None:
    assert not await shared.holds("billing", ONE)
    await shared.add("billing", ONE)
    assert await shared.holds("billing", ONE)
    assert not await shared.holds("mailing", ONE), "each subscription has its own"
    assert not await shared.holds("billing", ("shop", "event-2"))
    assert not await shared.holds("billing", ("shop:", "event-1")), "source and id do not run into each other"


async def test_an_event_is_handled_once_by_two_processes(shared: Inbox) -> None:
    charges: list[int] = []

    async def on_charged(charged: Charged, delivery: Delivery) -> None:
        charges.append(charged.cents)

    for _ in range(2):  # two buses: nothing but Redis joins them
        router = Router("billing", inbox=shared)
        router.on(Charged, on_charged)
        async with harness(router) as b:
            await b.publish(Charged(500), id="event-1")
            await b.settled()
    assert charges == [500]


async def test_memory_means_that_nothing_is_shared() -> None:
    async with open_inbox("memory:") as inbox:
        assert inbox is None


async def test_two_processes_share_what_redis_holds(redis_url: str) -> None:
    async with open_inbox(redis_url) as first, open_inbox(redis_url) as second:
        assert first is not None
        assert second is not None
        await first.add("billing", ONE)
        assert await second.holds("billing", ONE)


async def test_a_redis_that_is_away_is_unavailable_and_then_goes_on(shared: Inbox, stack: Stack) -> None:
    await shared.add("billing", ONE)
    server = stack["redis"]
    await asyncio.to_thread(server.pause)
    try:
        with pytest.raises(Unavailable, match="redis"):
            await shared.holds("billing", ONE)
        with pytest.raises(Unavailable, match="redis"):
            await shared.add("billing", ONE)
    finally:
        await asyncio.to_thread(server.resume)
    assert await shared.holds("billing", ONE)


async def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(RedisUrlInvalid, match="redis_url"):
        async with open_inbox("http://127.0.0.1"):
            pass
