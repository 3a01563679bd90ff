"""The journal's thread: group commit, a disk that takes nothing, a loop that is busy."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path
from sqlite3 import Connection

import pytest

from bus.embedded import EmbeddedTransport, open_embedded
from bus.embedded.committer import Job
from bus.errors import Unavailable
from bus.testing import ManualClock
from tests.bus.embedded.catching import ORDERS, Catcher, frame

MIB = 1024 * 1024

FILL_THE_DISK = """
import asyncio, resource, signal, sys
from bus.clock import SystemClock
from bus.embedded import open_embedded
from bus.errors import Unavailable
from bus.message import Subscription
from bus.transport import Frame

def allow(size_bytes):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, resource.RLIM_INFINITY))

async def main():
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    async with open_embedded(sys.argv[1], clock=SystemClock()) as transport:
        await transport.declare([Subscription(name="billing", patterns=("shop.#",))])
        allow(4 * 1024 * 1024)
        confirmed = 0
        try:
            while confirmed < 1000:
                await transport.publish(Frame(body=b"%0100000d" % confirmed, topics=("shop.order.placed",)))
                confirmed += 1
        except Unavailable:
            assert transport.state() == "blocked"
        allow(resource.RLIM_INFINITY)
        async with asyncio.timeout(10):
            await transport.wait_ready()
        await transport.publish(Frame(body=b"%d" % confirmed, topics=("shop.order.placed.eu",)))
        print(confirmed + 1, flush=True)

asyncio.run(main())
"""


async def test_publishers_that_come_together_share_a_commit(transport: EmbeddedTransport) -> None:
    await transport.declare([ORDERS])
    before = transport._committer.commits
    async with asyncio.TaskGroup() as tasks:
        for number in range(500):
            tasks.create_task(transport.publish(frame(str(number))))
    assert transport._committer.commits - before <= 50
    before = transport._committer.commits
    await transport.publish(frame("alone"))
    assert transport._committer.commits - before == 1


async def test_a_full_journal_blocks_and_goes_on_by_itself(journal: Path, clock: ManualClock) -> None:
    async with open_embedded(journal, clock=clock, limit_bytes=2 * MIB) as transport:
        caught = Catcher()
        consumer = await transport.consume(ORDERS, caught)
        confirmed: list[str] = []

        async def fill() -> None:
            for number in range(1000):
                body = f"{number:0100000d}"
                await transport.publish(frame(body))
                confirmed.append(body)

        with pytest.raises(Unavailable, match=r"shop\.db takes nothing: database or disk is full"):
            await fill()
        assert transport.state() == "blocked"
        assert 10 <= len(confirmed) < 21
        for delivered in await caught.until(len(confirmed)):
            delivered.done()
        async with asyncio.timeout(5):
            await transport.wait_ready()
        assert transport.state() == "ready"
        await transport.publish(frame("again"))
        await caught.until(len(confirmed) + 1)
        assert caught.bodies == [*confirmed, "again"]
        caught.caught[-1].done()
        await consumer.close()
        assert await transport.queue_depths([ORDERS]) == {"billing": 0}


async def test_a_failed_group_leaves_nothing_half_written(journal: Path, clock: ManualClock) -> None:
    async with open_embedded(journal, clock=clock, limit_bytes=2 * MIB) as transport:
        await transport.declare([ORDERS])
        results = await asyncio.gather(
            *(transport.publish(frame(f"{number:0100000d}")) for number in range(100)), return_exceptions=True
        )
        confirmed = sum(result is None for result in results)
        assert all(result is None or isinstance(result, Unavailable) for result in results)
        rows = await transport._committer.run(
            lambda connection: connection.execute("SELECT count(*) FROM frame").fetchone()[0], kind="read"
        )
        assert rows == confirmed
        assert await transport.queue_depths([ORDERS]) == {"billing": confirmed}


def test_a_disk_that_fills_up_and_is_back(journal: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", FILL_THE_DISK, str(journal)],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    confirmed = int(ran.stdout)
    assert confirmed > 5

    async def count() -> int:
        async with open_embedded(journal, clock=ManualClock()) as transport:
            return (await transport.queue_depths([ORDERS]))["billing"]

    assert asyncio.run(count()) == confirmed


async def test_bookkeeping_is_written_though_its_group_fails(transport: EmbeddedTransport) -> None:
    """It is what frees the space that the others need."""
    told: list[str] = []
    everything = asyncio.Event()

    def fail(_: Connection) -> None:
        raise sqlite3.OperationalError("disk is full")

    committer = transport._committer
    committer.submit(Job(fail, failed=lambda error: told.append(str(error))))
    committer.submit(Job(_nothing, kind="stubborn", done=lambda _: told.append("stubborn")))
    committer.submit(Job(_nothing, kind="stubborn", done=lambda _: everything.set()))
    async with asyncio.timeout(5):
        await everything.wait()
    assert told == [f"journal {committer._name} takes nothing: disk is full", "stubborn"]
    assert transport.state() == "blocked"
    async with asyncio.timeout(5):
        await transport.wait_ready()


async def test_reads_are_reported_after_the_writes_that_they_saw(transport: EmbeddedTransport) -> None:
    told: list[str] = []
    reported = asyncio.Event()
    committer = transport._committer
    committer.submit(Job(_nothing, done=lambda _: told.append("first write")))
    committer.submit(Job(_nothing, kind="read", done=lambda _: told.append("read")))
    committer.submit(Job(_nothing, done=lambda _: told.append("second write")))
    committer.submit(Job(_nothing, kind="read", done=lambda _: reported.set()))
    async with asyncio.timeout(5):
        await reported.wait()
    assert told == ["first write", "second write", "read"]


async def test_a_busy_loop_does_not_starve_the_journal(transport: EmbeddedTransport) -> None:
    """A loop that never rests keeps the GIL from other threads, unless it gives it away."""
    await transport.declare([ORDERS])
    loop = asyncio.get_running_loop()
    busy = True

    def spin() -> None:
        until = loop.time() + 0.0003
        while loop.time() < until:
            pass
        if busy:
            loop.call_soon(spin)

    loop.call_soon(spin)
    started = loop.time()
    for number in range(20):
        await transport.publish(frame(str(number)))
    busy = False
    assert loop.time() - started < 2.0  # without its turns it is some ten seconds


async def test_the_thread_ends_with_the_transport(journal: Path, clock: ManualClock) -> None:
    before = threading.active_count()
    for _ in range(20):
        async with open_embedded(journal, clock=clock) as transport:
            await transport.declare([ORDERS])
            assert threading.active_count() == before + 1
    journal.write_bytes(b"garbage")
    with pytest.raises(Exception, match="cut short"):
        async with open_embedded(journal, clock=clock):
            pass
    assert threading.active_count() == before


async def test_a_publisher_that_gives_up_waiting_breaks_nothing(transport: EmbeddedTransport) -> None:
    caught = Catcher(settles=True)
    await transport.consume(ORDERS, caught)
    publishing = [asyncio.ensure_future(transport.publish(frame(str(number)))) for number in range(20)]
    await asyncio.sleep(0)
    for task in publishing[::2]:
        task.cancel()
    await asyncio.gather(*publishing, return_exceptions=True)
    await transport.publish(frame("after"))
    await caught.until(21)
    assert caught.bodies[-1] == "after"


async def test_closing_finishes_what_was_submitted(journal: Path, clock: ManualClock) -> None:
    async with open_embedded(journal, clock=clock) as transport:
        await transport.declare([ORDERS])
        publishing = [asyncio.ensure_future(transport.publish(frame(str(number)))) for number in range(50)]
        await asyncio.sleep(0)
    assert await asyncio.gather(*publishing) == [None] * 50
    async with open_embedded(journal, clock=clock) as transport:
        assert await transport.queue_depths([ORDERS]) == {"billing": 50}


def _nothing(_: Connection) -> None:
    pass
