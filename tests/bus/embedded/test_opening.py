"""Opening a journal: what is no journal is refused and left as it is."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from bus.embedded import open_embedded
from bus.embedded.format import APPLICATION_ID, VERSION
from bus.errors import CannotOpen, InUse, JournalDamaged, JournalVersion
from bus.testing import ManualClock
from tests.bus.embedded.catching import ORDERS, frame, reopened

GOLDEN = Path("tests/golden/embedded-journal-1.sql")

HOLD_IT = """
import asyncio, sys
from bus.clock import SystemClock
from bus.embedded import open_embedded

async def main():
    async with open_embedded(sys.argv[1], clock=SystemClock()):
        print("open", flush=True)
        await asyncio.to_thread(sys.stdin.read)

asyncio.run(main())
"""


async def opens(journal: Path) -> None:
    async with open_embedded(journal, clock=ManualClock()):
        pass


async def filled(journal: Path) -> bytes:
    async with open_embedded(journal, clock=ManualClock()) as transport:
        await transport.declare([ORDERS])
        for _ in range(5):
            await transport.publish(frame(os.urandom(50_000)))
    return journal.read_bytes()


def test_a_second_process_is_refused_and_told_who_has_it(journal: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD_IT, str(journal)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == b"open\n"
    with pytest.raises(InUse, match=rf"shop\.db is in use by process {process.pid}$"):
        asyncio.run(opens(journal))
    process.stdin.close()
    assert process.wait() == 0
    process.stdout.close()
    asyncio.run(opens(journal))


async def test_the_same_process_cannot_open_it_twice_either(journal: Path) -> None:
    async with open_embedded(journal, clock=ManualClock()):
        with pytest.raises(InUse, match=str(os.getpid())):
            await opens(journal)
    await opens(journal)


@pytest.mark.parametrize("keep", [0, 50, 100, 16_384, 100_000])
async def test_a_truncated_journal_is_refused_and_left_alone(journal: Path, keep: int) -> None:
    whole = await filled(journal)
    journal.write_bytes(whole[:keep])
    with pytest.raises(JournalDamaged, match=r"shop\.db"):
        await opens(journal)
    assert journal.read_bytes() == whole[:keep]
    assert sorted(path.name for path in journal.parent.iterdir()) == ["shop.db", "shop.db.lock"]
    journal.write_bytes(whole)
    await opens(journal)


async def test_garbage_is_refused_and_left_alone(journal: Path) -> None:
    journal.write_bytes(b"not a journal at all" * 100)
    with pytest.raises(JournalDamaged, match="no SQLite file"):
        await opens(journal)
    assert journal.read_bytes() == b"not a journal at all" * 100


async def test_a_journal_with_garbage_inside_is_refused_and_left_alone(journal: Path) -> None:
    damaged = bytearray(await filled(journal))
    damaged[16_384 : 16_384 * 8] = os.urandom(16_384 * 7)
    journal.write_bytes(damaged)
    with pytest.raises(JournalDamaged):
        await opens(journal)
    assert journal.read_bytes() == damaged


async def test_a_journal_of_another_version_is_refused_and_left_alone(journal: Path) -> None:
    await filled(journal)
    connection = sqlite3.connect(journal)
    connection.execute(f"PRAGMA user_version = {VERSION + 1}")
    connection.close()
    before = journal.read_bytes()
    with pytest.raises(
        JournalVersion, match=f"has format {VERSION + 1}; this version reads format {VERSION}"
    ):
        await opens(journal)
    assert journal.read_bytes() == before


async def test_another_database_is_refused(journal: Path) -> None:
    connection = sqlite3.connect(journal)
    connection.execute("CREATE TABLE vault (id)")
    connection.close()
    with pytest.raises(JournalDamaged, match="something else"):
        await opens(journal)


async def test_a_log_without_its_journal_is_refused(journal: Path) -> None:
    journal.with_name("shop.db-wal").write_bytes(b"something")
    with pytest.raises(JournalDamaged, match="missing"):
        await opens(journal)
    assert not journal.exists()


async def test_a_folder_that_cannot_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(CannotOpen, match="file"):
        await opens(tmp_path / "file" / "shop.db")
    (tmp_path / "folder").mkdir()
    with pytest.raises(CannotOpen, match="folder"):
        await opens(tmp_path / "folder")


async def test_a_half_made_journal_is_made_again(journal: Path) -> None:
    journal.with_name("shop.db.new").write_bytes(b"half")
    await opens(journal)
    assert sorted(path.name for path in journal.parent.iterdir()) == ["shop.db", "shop.db.lock"]
    assert journal.stat().st_mode & 0o777 == 0o600


async def test_a_journal_of_format_1_can_be_read(journal: Path, clock: ManualClock) -> None:
    connection = sqlite3.connect(journal)
    connection.executescript(GOLDEN.read_text())
    assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
    assert connection.execute("PRAGMA user_version").fetchone() == (1,)
    connection.close()
    found = await reopened(journal, clock, ORDERS)
    assert sorted(found["billing"]) == [("a suspect", 1), ("held twice", 2), ("waiting", 0)]
    async with open_embedded(journal, clock=clock) as transport:
        assert [(kept.body, kept.topics) async for kept in transport.kept()] == [
            (b"kept", ("bus.event.parked.billing",))
        ]
