"""Frames that are not due yet."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from bus.embedded import EmbeddedTransport, delays, open_embedded
from bus.errors import NotRouted
from bus.message import Subscription
from bus.testing import ManualClock
from tests.bus.embedded.catching import ORDERS, Catcher, frame, leave_as_after_a_crash

HOUR_S = 3600.0


async def test_ten_hours_and_ninety_seconds_live_side_by_side(
    transport: EmbeddedTransport, clock: ManualClock
) -> None:
    caught = Catcher(settles=True)
    await transport.consume(ORDERS, caught)
    await transport.send_later("billing", frame("10 h"), due=clock.now() + timedelta(hours=10))
    await transport.send_later("billing", frame("90 s"), due=clock.now() + timedelta(seconds=90))
    await clock.advance(89.9)
    await transport.publish(frame("now"))
    await caught.until(1)
    assert caught.bodies == ["now"]
    await clock.advance(0.1)
    await caught.until(2)
    await clock.advance(10 * HOUR_S - 90.001)
    await transport.publish(frame("now again"))
    await caught.until(3)
    await clock.advance(0.001)
    await caught.until(4)
    assert caught.bodies == ["now", "90 s", "now again", "10 h"]


async def test_what_is_due_already_goes_at_once(transport: EmbeddedTransport, clock: ManualClock) -> None:
    caught = Catcher(settles=True)
    await transport.consume(ORDERS, caught)
    await transport.send_later("billing", frame("a"), due=clock.now())
    await transport.publish(frame("b"), due=clock.now() - timedelta(seconds=1))
    await caught.until(2)
    assert caught.bodies == ["a", "b"]


async def test_a_delayed_publish_is_routed_when_it_is_due(
    transport: EmbeddedTransport, clock: ManualClock
) -> None:
    await transport.publish(frame("a"), due=clock.now() + timedelta(seconds=60))  # nobody takes it yet
    caught = Catcher(settles=True)
    await transport.consume(ORDERS, caught)
    await clock.advance(60)
    await caught.until(1)


async def test_a_delayed_frame_that_nobody_takes_is_kept_and_tried_again(
    transport: EmbeddedTransport, clock: ManualClock
) -> None:
    await transport.publish(frame("a"), due=clock.now() + timedelta(seconds=60))
    await clock.advance(60)
    while transport._delays._sleeper is None:  # until it was looked at, and put off
        await transport._committer.run(lambda connection: None)
    caught = Catcher(settles=True)
    await transport.consume(ORDERS, caught)
    await clock.advance(delays.UNROUTED_AGAIN_S)
    await caught.until(1)


async def test_a_delayed_frame_goes_to_its_subscription_only(
    transport: EmbeddedTransport, clock: ManualClock
) -> None:
    billing, audit = Catcher(settles=True), Catcher(settles=True)
    await transport.consume(ORDERS, billing)
    await transport.consume(Subscription(name="audit", patterns=("#",)), audit)
    due = clock.now() + timedelta(seconds=5)
    await transport.send_later("billing", frame("a"), due=due)
    await transport.send_later("billing", frame("b", suspect=True), due=due)
    await transport.publish(frame("c", "bus.event.parked.billing"), due=due)
    await clock.advance(5)
    await billing.until(2)
    await audit.until(1)
    assert sorted(billing.bodies) == ["a", "b"]
    assert [delivered.frame.suspect for delivered in billing.caught] == [
        body == "b" for body in billing.bodies
    ]
    assert audit.bodies == ["c"]
    assert [kept.body async for kept in transport.kept()] == [b"c"]
    with pytest.raises(NotRouted):
        await transport.send_later("nobody", frame("a"), due=due)


async def test_delays_survive_the_process_and_what_is_overdue_goes_at_once(
    journal: Path, tmp_path: Path, clock: ManualClock
) -> None:
    async with open_embedded(journal, clock=clock) as transport:
        await transport.declare([ORDERS])
        await transport.send_later("billing", frame("late"), due=clock.now() + timedelta(seconds=600))
        await transport.send_later("billing", frame("soon"), due=clock.now() + timedelta(seconds=60))
        crashed = leave_as_after_a_crash(journal, tmp_path / "crashed.db")
    await clock.advance(120)
    async with open_embedded(crashed, clock=clock) as transport:
        caught = Catcher(settles=True)
        await transport.consume(ORDERS, caught)
        await caught.until(1)
        await clock.advance(480)
        await caught.until(2)
        assert caught.bodies == ["soon", "late"]


async def test_a_thousand_delays_come_in_the_order_of_their_times(
    transport: EmbeddedTransport, clock: ManualClock
) -> None:
    caught = Catcher(settles=True)
    await transport.consume(ORDERS, caught)
    async with asyncio.TaskGroup() as tasks:
        for number in range(1000):
            due = clock.now() + timedelta(seconds=1000 - number)
            tasks.create_task(transport.send_later("billing", frame(str(number)), due=due))
    assert len(asyncio.all_tasks()) < 10  # one sleeper, however many wait
    await clock.advance(500)
    await caught.until(500)
    await clock.advance(1000)
    await caught.until(1000)
    assert [int(body) for body in caught.bodies] == sorted(range(1000), reverse=True)
