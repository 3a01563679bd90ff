"""What a journal holds after its process died, or closed it."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from sqlite3 import Connection

import pytest

from bus.embedded import EmbeddedTransport, open_embedded
from bus.embedded import journal as statements
from bus.message import Subscription
from bus.testing import ManualClock
from bus.transport import Delivered
from tests.bus.embedded.catching import ORDERS, Catcher, frame, leave_as_after_a_crash, reopened

AUDIT = Subscription(name="audit", patterns=("#",))
STOCK = Subscription(name="stock", patterns=("shop.order.#",), mode="ordered")

PUBLISH_FOR_EVER = """
import asyncio, sys
from bus.clock import SystemClock
from bus.embedded import open_embedded
from bus.message import Subscription
from bus.transport import Frame

async def main():
    async with open_embedded(sys.argv[1], clock=SystemClock()) as transport:
        held = []
        billing = Subscription(name="billing", patterns=("shop.#",))
        await transport.consume(billing, held.append, window_frames=5)
        async def publish(publisher):
            for number in range(1_000_000):
                body = f"{publisher}.{number}"
                await transport.publish(Frame(body=body.encode(), topics=("shop.order.placed.eu",)))
                print(body, flush=True)
        async with asyncio.TaskGroup() as tasks:
            for publisher in range(4):
                tasks.create_task(publish(publisher))

asyncio.run(main())
"""


def test_what_was_published_survives_kill_9(journal: Path, clock: ManualClock) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", PUBLISH_FOR_EVER, str(journal)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    confirmed = [process.stdout.readline().strip() for _ in range(200)]
    os.kill(process.pid, signal.SIGKILL)
    confirmed += [line.strip() for line in process.stdout if line.endswith("\n")]
    process.wait()
    process.stdout.close()
    found = asyncio.run(reopened(journal, clock, ORDERS))["billing"]
    assert set(confirmed) <= {body for body, _ in found}
    assert len({body for body, _ in found}) == len(found)
    returned = [returned for _, returned in found]
    assert returned[:5] == [1] * 5  # these were in hand
    assert set(returned) <= {0, 1}


async def test_what_was_in_hand_counts_as_returned_after_a_crash(
    transport: EmbeddedTransport, journal: Path, tmp_path: Path, clock: ManualClock
) -> None:
    caught = Catcher()
    await transport.declare([AUDIT])  # nobody consumes it
    await transport.consume(ORDERS, caught)
    for body in "abcd":
        await transport.publish(frame(body))
    await caught.until(4)
    caught.caught[1].done()
    caught.caught[3].done()
    transport._settling.flush()
    await transport.publish(frame("e"))  # committed after the flush
    crashed = leave_as_after_a_crash(journal, tmp_path / "crashed.db")
    again = leave_as_after_a_crash(crashed, tmp_path / "again.db")
    assert await reopened(crashed, clock, ORDERS, AUDIT) == {
        "billing": [("a", 1), ("c", 1), ("e", 1)],
        "audit": [(body, 0) for body in "abcde"],
    }
    # closing properly gives back what was in hand, once
    assert (await reopened(crashed, clock, ORDERS))["billing"] == [("a", 2), ("c", 2), ("e", 2)]
    assert (await reopened(again, clock, ORDERS))["billing"] == [("a", 1), ("c", 1), ("e", 1)]


async def test_a_backlog_that_was_not_handed_out_does_not_count_as_returned(
    journal: Path, tmp_path: Path, clock: ManualClock
) -> None:
    async with open_embedded(journal, clock=clock) as transport:
        await transport.declare([ORDERS])
        async with asyncio.TaskGroup() as tasks:
            for number in range(1500):
                tasks.create_task(transport.publish(frame(str(number))))
        caught = Catcher()
        await transport.consume(ORDERS, caught, window_frames=10)
        await caught.until(10)
        crashed = leave_as_after_a_crash(journal, tmp_path / "crashed.db")
    found = (await reopened(crashed, clock, ORDERS))["billing"]
    assert [body for body, _ in found] == [str(number) for number in range(1500)]
    counts = [returned for _, returned in found]
    assert counts[:10] == [1] * 10
    assert sum(counts) == 256  # the mark: a bounded number of those behind them may count too much
    assert counts[256:] == [0] * 1244


async def test_a_suspects_returns_are_exact(journal: Path, tmp_path: Path, clock: ManualClock) -> None:
    caught = Catcher()
    async with open_embedded(journal, clock=clock) as transport:
        await transport.consume(ORDERS, caught)
        for body in "abc":
            await transport.send_later("billing", frame(body, suspect=True))
        (await caught.until(1))[0].done()
        await caught.until(2)  # b is in hand, and a's settling was flushed before
        crashed = leave_as_after_a_crash(journal, tmp_path / "crashed.db")
    seen: list[tuple[bytes, int]] = []
    async with open_embedded(crashed, clock=clock) as transport:
        assert await transport.queue_depths([ORDERS]) == {"billing": 2}

        def deliver(delivered: Delivered) -> None:
            assert delivered.frame.suspect
            seen.append((delivered.frame.body, delivered.returned))
            rest(delivered)
            delivered.done()

        rest = Catcher()
        await transport.consume(ORDERS, deliver)
        await rest.until(2)
    assert seen == [(b"b", 1), (b"c", 0)]


async def test_a_closed_journal_gives_back_what_was_held_and_counts_nothing_else(
    journal: Path, clock: ManualClock
) -> None:
    async with open_embedded(journal, clock=clock) as transport:
        caught = Catcher()
        consumer = await transport.consume(STOCK, caught, window_frames=2)
        for body in "abcd":
            await transport.publish(frame(body))
        (await caught.until(2))[0].done()
        await caught.until(3)
        await consumer.close()
    assert (await reopened(journal, clock, STOCK))["stock"] == [("b", 1), ("c", 1), ("d", 0)]


async def test_what_came_back_and_was_settled_then_stays_settled(journal: Path, clock: ManualClock) -> None:
    async with open_embedded(journal, clock=clock) as transport:
        await transport.declare([AUDIT])  # which does not settle it, so the frame stays in the file
        caught = Catcher()
        await transport.consume(ORDERS, caught)
        await transport.publish(frame("a"))
        await caught.until(1)
    async with open_embedded(journal, clock=clock) as transport:
        caught = Catcher(settles=True)
        await transport.consume(ORDERS, caught)
        await caught.until(1)
    assert await reopened(journal, clock, ORDERS, AUDIT) == {"billing": [], "audit": [("a", 0)]}


async def test_settled_frames_leave_the_file_and_its_space_is_used_again(
    transport: EmbeddedTransport, journal: Path
) -> None:
    caught = Catcher(settles=True)
    await transport.consume(ORDERS, caught)
    body = os.urandom(100_000)
    for wave in range(1, 16):
        for _ in range(20):
            await transport.publish(frame(body))
        await caught.until(wave * 20)
        transport._settling.flush()
    rows = await transport._committer.run(
        lambda connection: connection.execute("SELECT count(*) FROM frame").fetchone()[0], kind="read"
    )
    assert rows <= 20
    assert (
        journal.stat().st_size + journal.with_name("shop.db-wal").stat().st_size < 45_000_000
    )  # of 30 MB a second


async def test_a_backlog_that_was_worked_off_gives_its_disk_back(
    transport: EmbeddedTransport, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statements, "KEEP_PAGES", 64)
    monkeypatch.setattr(statements, "VACUUM_PAGES", 100)
    await transport.declare([ORDERS])
    body = os.urandom(100_000)
    for _ in range(100):
        await transport.publish(frame(body))
    caught = Catcher(settles=True)
    await transport.consume(ORDERS, caught)
    await caught.until(100)
    transport._settling.flush()
    async with asyncio.timeout(5):
        while await transport._committer.run(statements._much_unused, kind="read"):
            pass
        await transport._committer.run(_checkpoint, kind="read")
    assert journal.stat().st_size < 2_000_000  # of 10


async def test_a_subscription_of_a_stopped_service_keeps_its_frames(
    journal: Path, clock: ManualClock
) -> None:
    async with open_embedded(journal, clock=clock) as transport:
        await transport.declare([ORDERS])
    async with open_embedded(journal, clock=clock) as transport:  # nobody declares it in this run
        await transport.publish(frame("a"))
    assert (await reopened(journal, clock, ORDERS))["billing"] == [("a", 0)]


async def test_parked_events_are_kept_for_ninety_days(journal: Path, clock: ManualClock) -> None:
    async with open_embedded(journal, clock=clock) as transport:
        await transport.publish(frame("old", "bus.event.parked.billing"))  # taken by the keeper alone
        await clock.advance(timedelta(days=60).total_seconds())
        caught = Catcher(settles=True)
        await transport.consume(AUDIT, caught)
        await transport.publish(frame("new", "bus.event.parked.billing"))
        await transport.publish(frame("other"))
        await caught.until(2)
    async with open_embedded(journal, clock=clock) as transport:
        assert [kept.body async for kept in transport.kept()] == [b"old", b"new"]
        await clock.advance(timedelta(days=31).total_seconds())
        assert [kept.body async for kept in transport.kept()] == [b"new"]
        await transport.publish(frame("newest", "bus.event.parked.billing"))
    with sqlite3.connect(journal) as connection:
        assert connection.execute("SELECT body FROM kept ORDER BY id").fetchall() == [(b"new",), (b"newest",)]
    connection.close()


async def test_many_kept_frames_are_read_in_pages(transport: EmbeddedTransport) -> None:
    async with asyncio.TaskGroup() as tasks:
        for number in range(150):
            tasks.create_task(transport.publish(frame(str(number), "bus.event.parked.billing")))
    assert [int(kept.body) async for kept in transport.kept()] == list(range(150))


def _checkpoint(connection: Connection) -> None:
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
