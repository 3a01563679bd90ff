"""The transport as a whole: open, closed, full, failing to read."""

from __future__ import annotations

import asyncio
import sqlite3
from sqlite3 import Connection

import pytest

from bus.embedded import EmbeddedTransport, backing, journal, open_embedded
from bus.errors import Backpressure, Unavailable
from bus.message import Subscription
from bus.testing import ManualClock
from tests.bus.embedded.catching import ORDERS, Catcher, frame


async def test_a_closed_transport_takes_nothing(clock: ManualClock) -> None:
    async with open_embedded(None, clock=clock) as transport:
        await transport.declare([ORDERS])
    assert transport.state() == "closed"
    for refused in (transport.publish(frame("a")), transport.wait_ready(), transport.declare([ORDERS])):
        with pytest.raises(Unavailable, match="closed"):
            await refused


async def test_without_a_path_everything_works_in_memory(clock: ManualClock) -> None:
    async with open_embedded(None, clock=clock) as transport:
        caught = Catcher(settles=True)
        await transport.declare([ORDERS])
        await transport.publish(frame("a"))
        await transport.consume(ORDERS, caught)
        await transport.publish(frame("b"))
        await caught.until(2)
        assert caught.bodies == ["a", "b"]


async def test_errors_of_the_caller_come_out_as_they_are(clock: ManualClock) -> None:
    with pytest.raises(ZeroDivisionError):
        async with open_embedded(None, clock=clock):
            raise ZeroDivisionError


async def test_a_full_subscription_pushes_back_until_it_is_worked_off(transport: EmbeddedTransport) -> None:
    vault = Subscription(name="vault", patterns=("#",), max_bytes=20, pushes_back=True)
    caught = Catcher()
    await transport.consume(vault, caught)
    await transport.publish(frame("x" * 15))
    await transport.publish(frame("y" * 15))
    with pytest.raises(Backpressure, match="vault"):
        await transport.publish(frame("z"))
    assert transport.state() == "blocked"
    waiting = asyncio.ensure_future(transport.wait_ready())
    for delivered in await caught.until(2):
        delivered.done()
    async with asyncio.timeout(5):
        await waiting
    assert transport.state() == "ready"
    await transport.publish(frame("z"))


async def test_a_read_that_fails_is_told_and_tried_again(
    transport: EmbeddedTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["message"]))
    load, tries = journal.load_after, iter([False, True])

    def fail_once(connection: Connection, number: int, after: int, limit: int, limit_bytes: int) -> object:
        if next(tries, True):
            return load(connection, number, after, limit, limit_bytes)
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(journal, "load_after", fail_once)
    monkeypatch.setattr(backing, "PROBE_EVERY_S", 0.0)
    await transport.declare([ORDERS])
    await transport.publish(frame("a"))
    caught = Catcher(settles=True)
    await transport.consume(ORDERS, caught)
    await caught.until(1)
    assert told == ["reading the embedded bus's journal failed; it is tried again"]
