"""What is SQLite's own of removal, proof and backup: the file gets smaller, ingest is never held up for long,
and a tool reads beside a running vault without leaving a trace."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path

import pytest

from bus.clock import SystemClock
from bus.errors import Unavailable
from schemas.request_vault import NO_STREAM
from services.request_vault.domain.calls import CallQuery
from services.request_vault.domain.recording import to_us
from services.request_vault.store import open_archive, open_store
from services.request_vault.store.errors import VaultDamaged
from services.request_vault.store.port import Scope, Store
from services.request_vault.store.sqlite import copying
from services.request_vault.store.sqlite.engine import SqliteStore, open_sqlite
from services.request_vault.store.sqlite.writer import Writer
from tests.conformance.vault.proofs import problems
from tests.conformance.vault.vaults import Clock, whole_log
from tests.services.request_vault.samples import BUCKET, START, captured, decision, order

LONGEST_HOLD_S = 0.25
"""Generous: what a step is made for is 10 ms, what may never be passed 50 ms; this machine may be busy."""


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    async with open_sqlite(tmp_path / "vault.db", Clock(), partitions=1, readers=2) as opened:
        yield opened


def size_of(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir() if file.name.startswith("vault.db"))


# --- disk


async def test_the_folder_gets_smaller_when_calls_go(tmp_path: Path) -> None:
    clock = Clock()
    async with open_store("sqlite:", tmp_path, clock, partitions=1, readers=1) as store:
        for n in range(40):
            clock.at_s += 3600
            await store.record([captured(f"c-{n}-{i}") for i in range(100)])
    full = size_of(tmp_path)
    async with open_store("sqlite:", tmp_path, clock, partitions=1, readers=1) as store:
        before_us = to_us(START) + 36 * 3600 * 1_000_000
        while (await store.trim(Scope(BUCKET, before_us=before_us), 300)).more:
            pass
        while await store.forget(to_us(clock.now()) + 1, 500):
            pass
        assert (await store.stats()).calls == 500
        reclaimed = 0
        while pages := await store.reclaim(64):
            assert pages <= 64
            reclaimed += pages
        assert reclaimed * 8192 > full / 2
    assert size_of(tmp_path) < full / 3
    async with open_store("sqlite:", tmp_path, clock, partitions=1, readers=1) as store:
        assert len((await store.search_calls(CallQuery(BUCKET, limit=500))).calls) == 500
        assert await problems(store) == []
        assert await store.reclaim(64) == 0


@pytest.mark.slow
async def test_no_step_holds_the_writer_for_long_while_calls_arrive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    holds: list[float] = []
    commit: Callable[..., None] = Writer._commit

    def timed(self: Writer, group: list[object]) -> None:
        begun = time.perf_counter()
        commit(self, group)
        holds.append(time.perf_counter() - begun)

    monkeypatch.setattr(Writer, "_commit", timed)
    done = asyncio.Event()
    async with open_store("sqlite:", tmp_path, SystemClock(), partitions=1, readers=1) as store:
        for n in range(20):
            await store.record([captured(f"c-{n}-{i}") for i in range(500)])
        holds.clear()

        async def ingest() -> None:
            number = 0
            while not done.is_set():
                await store.record([captured(f"n-{number + i}") for i in range(50)])
                number += 50

        async def keep() -> None:
            while (await store.trim(Scope(BUCKET, keep_records=1000), 300)).records >= 100:
                pass
            while await store.reclaim(500) >= 100:
                pass
            done.set()

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(ingest())
            tasks.create_task(keep())
        assert (await store.stats()).partitions[1] > 10_000
    assert len(holds) > 40
    assert max(holds) < LONGEST_HOLD_S


# --- reading beside a vault


async def test_a_tool_reads_a_running_vault_as_of_one_moment(tmp_path: Path, store: SqliteStore) -> None:
    await store.record([captured(f"c-{n}") for n in range(1200)])
    await store.append("shop.thing-a", NO_STREAM, [decision("a1")])
    await store.mark_published(1)
    async with open_archive("sqlite:", tmp_path) as archive:
        await store.record([captured("later")])
        while (await store.trim(Scope(BUCKET, keep_records=10), 300)).more:
            pass
        assert await problems(archive) == []
        stats = await archive.stats()
        assert (stats.partitions, stats.calls, archive.published_to()) == ((1, 1200), 1200, 1)
    async with open_archive("sqlite:", tmp_path) as archive:
        assert (await archive.stats()).calls == 10
        assert await problems(archive) == []


async def test_a_tool_leaves_a_closed_vault_as_it_is(tmp_path: Path) -> None:
    async with open_store("sqlite:", tmp_path, Clock(), partitions=1, readers=1) as store:
        await store.record([order(n) for n in range(10)])
    before = {path.name: path.read_bytes() for path in tmp_path.glob("vault.db*")}
    async with open_archive(f"sqlite:{tmp_path / 'vault.db'}", tmp_path) as archive:
        assert await problems(archive) == []
        assert (await archive.stats()).events == 10
    assert {path.name: path.read_bytes() for path in tmp_path.glob("vault.db*")} == before


async def test_a_vault_that_starts_while_its_file_is_read_alone_is_noticed(tmp_path: Path) -> None:
    async with open_store("sqlite:", tmp_path, Clock(), partitions=1, readers=1) as store:
        await store.record([order(1)])
    async with open_archive("sqlite:", tmp_path) as archive:
        async with open_store("sqlite:", tmp_path, Clock(), partitions=1, readers=1) as store:
            await store.record([order(2)])
        with pytest.raises(Unavailable, match="begin again"):
            await archive.links(1, 0, 10)


@pytest.mark.parametrize("shared_memory", [True, False])
async def test_what_a_killed_vault_has_not_put_into_its_file_is_read(
    tmp_path: Path, store: SqliteStore, shared_memory: bool
) -> None:
    await store.record([order(1), order(2)])
    killed = tmp_path / "killed"
    killed.mkdir()
    for name in ("vault.db", "vault.db-wal", "vault.db-shm"):
        if shared_memory or name != "vault.db-shm":
            shutil.copy(tmp_path / name, killed / name)
    async with open_archive("sqlite:", killed) as archive:
        assert (await archive.stats()).events == 2
        assert await problems(archive) == []


async def test_no_vault_and_no_database_are_said(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no vault .*vault\.db"):
        async with open_archive("sqlite:", tmp_path):
            pass
    (tmp_path / "vault.db").write_bytes(b"x" * 5000)
    with pytest.raises(VaultDamaged):
        async with open_archive("sqlite:", tmp_path):
            pass


# --- backup


async def test_a_backup_is_of_one_moment_while_ingest_goes_on(tmp_path: Path, store: SqliteStore) -> None:
    for n in range(10):
        await store.record([captured(f"c-{n}-{i}") for i in range(300)])
    target = tmp_path / "copies" / "copy.db"
    target.parent.mkdir()
    done = asyncio.Event()

    async def ingest() -> None:
        number = 0
        while not done.is_set() or number < 200:
            await store.record([captured(f"n-{number + i}") for i in range(20)])
            number += 20

    async def back_up() -> None:
        await store.backup(target)
        done.set()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(ingest())
        tasks.create_task(back_up())
    assert [path.name for path in target.parent.iterdir()] == ["copy.db"]
    async with open_archive(f"sqlite:{target}", tmp_path) as copy:
        events = (await copy.stats()).events
        assert 3000 <= events < (await store.stats()).events
        assert await problems(copy) == []
    async with open_store(f"sqlite:{target}", tmp_path, Clock(), partitions=1, readers=1) as copied:
        assert (await copied.stats()).calls == events
        assert (await copied.record([captured("c-3-3"), captured("new")])).recorded == 1


async def test_a_backup_is_never_written_over_another_file(tmp_path: Path, store: SqliteStore) -> None:
    target = tmp_path / "copy.db"
    target.write_bytes(b"something of worth")
    with pytest.raises(FileExistsError):
        await store.backup(target)
    assert target.read_bytes() == b"something of worth"


async def test_a_backup_that_is_given_up_leaves_nothing(
    tmp_path: Path, store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.record([captured(f"c-{n}") for n in range(500)])
    monkeypatch.setattr(copying, "STEP_PAGES", 1)
    target = tmp_path / "copies" / "copy.db"
    target.parent.mkdir()
    begun = asyncio.Event()
    loop = asyncio.get_running_loop()
    copy = copying.copy

    def begin(connection: sqlite3.Connection, to: Path, going: Callable[[], bool]) -> None:
        def still_going() -> bool:
            loop.call_soon_threadsafe(begun.set)
            return going()

        copy(connection, to, still_going)

    monkeypatch.setattr(copying, "copy", begin)
    backing_up = asyncio.create_task(store.backup(target))
    await begun.wait()
    backing_up.cancel()
    with pytest.raises(asyncio.CancelledError):
        await backing_up
    assert list(target.parent.iterdir()) == []
    await store.backup(target)
    assert [path.name for path in target.parent.iterdir()] == ["copy.db"]


async def test_a_backup_to_nowhere_is_unavailable(tmp_path: Path, store: SqliteStore) -> None:
    with pytest.raises(Unavailable):
        await store.backup(tmp_path / "no folder" / "copy.db")


async def test_a_backup_that_died_is_written_anew(tmp_path: Path, store: SqliteStore) -> None:
    await store.record([order(1)])
    (tmp_path / ".copy.db.partial").write_bytes(os.urandom(5000))
    await store.backup(tmp_path / "copy.db")
    assert not (tmp_path / ".copy.db.partial").exists()
    with closing(sqlite3.connect(tmp_path / "copy.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


# --- what a check sees


async def check_after(folder: Path, *statements: str) -> list[str]:
    with closing(sqlite3.connect(folder / "vault.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA writable_schema=ON")
        for statement in statements:
            connection.execute(statement)
    async with open_archive("sqlite:", folder) as archive:
        return await archive.check()


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("DELETE FROM call_1 WHERE place & 0xffff = 1", "position (1, 1): the read model of calls"),
        ("DELETE FROM event_1 WHERE place & 0xffff = 2", "position (1, 2): the read model of events"),
        ("DELETE FROM seen WHERE id = 'order-1'", "position (1, 2): its identity"),
        ("UPDATE usage SET calls = 7", "the usage of key"),
        ("INSERT INTO usage VALUES ('ghost', 1, 1, 1)", "the usage of key 'ghost'"),
        (
            "INSERT INTO seen VALUES ('x', 'y', 5, x'00', 7, 7, 7)",
            "an identity was left, but nothing is gone",
        ),
        ("INSERT INTO tag_1 VALUES ('b', 't', 5)", "rows in tag_1"),
        ("DELETE FROM record WHERE place & 0xffff = 2", "partition 1 ends at 2, but holds 1 numbers"),
        ("UPDATE record SET salt = CAST(salt AS TEXT)", "values of another type"),
        ("DROP INDEX record_category", "index record_category is not what this format has"),
        ("CREATE TABLE extra (x)", "extra is not what this format has"),
        ("UPDATE checkpoint SET number = 1 WHERE name = 'published'", "checkpoint published does not match"),
    ],
)
async def test_what_does_not_follow_from_the_log_is_said(tmp_path: Path, statement: str, told: str) -> None:
    async with open_store("sqlite:", tmp_path, Clock(), partitions=1, readers=1) as store:
        await fill(store)
    assert await check_after(tmp_path) == []
    problems = await check_after(tmp_path, statement)
    assert any(told in problem for problem in problems), problems


async def fill(store: Store) -> None:
    await store.record([captured("c-1"), order(1)])
    await store.append("shop.thing-a", NO_STREAM, [decision("a1")])
    assert len(await whole_log(store)) == 3
