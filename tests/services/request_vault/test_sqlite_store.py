"""What is SQLite's own: one process, group commit, a disk that fills up, and files that are not what they
should be."""

from __future__ import annotations

import asyncio
import resource
import sqlite3
import sys
import threading
from asyncio.subprocess import PIPE
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from pathlib import Path

import pytest

from bus.clock import SystemClock
from bus.errors import CannotOpen, Unavailable
from schemas.request_vault import NO_STREAM
from services.request_vault.domain.calls import CallQuery
from services.request_vault.domain.recording import checksum
from services.request_vault.store import open_store
from services.request_vault.store.errors import VaultDamaged, VaultInUse, VaultVersion
from services.request_vault.store.port import Selection
from services.request_vault.store.sqlite.engine import SqliteStore, open_sqlite
from services.request_vault.store.sqlite.ledger import Ledger
from services.request_vault.store.sqlite.schema import FORMAT
from tests.services.request_vault import golden
from tests.services.request_vault.samples import BUCKET, captured, decision, order


async def use(folder: Path) -> None:
    async with open_store("sqlite:", folder, SystemClock(), partitions=1, readers=1) as store:
        await store.record([order(1)])


def opened(folder: Path) -> AbstractAsyncContextManager[SqliteStore]:
    return open_sqlite(folder / "vault.db", SystemClock(), partitions=1, readers=1)


async def opening(folder: Path) -> CannotOpen:
    with pytest.raises(CannotOpen) as caught:
        await use(folder)
    return caught.value


# --- one process


async def test_a_second_process_is_told_who_has_the_vault(tmp_path: Path) -> None:
    program = """
import sys
from pathlib import Path
from services.request_vault.store.sqlite.schema import locked
with locked(Path(sys.argv[1])):
    print("locked", flush=True)
    sys.stdin.read()
"""
    path = str(tmp_path / "vault.db")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, path, stdin=PIPE, stdout=PIPE, cwd=Path(__file__).parents[3]
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"locked\n"
    error = await opening(tmp_path)
    assert isinstance(error, VaultInUse)
    assert f"in use by process {process.pid}" in str(error)
    process.kill()
    await process.communicate()
    await use(tmp_path)


async def test_a_second_opening_in_the_same_process_is_refused_too(tmp_path: Path) -> None:
    async with open_store("sqlite:", tmp_path, SystemClock(), partitions=1, readers=1):
        assert isinstance(await opening(tmp_path), VaultInUse)
    await use(tmp_path)


@pytest.mark.parametrize("error", [VaultInUse, VaultDamaged, VaultVersion])
def test_errors_say_what_to_do(error: type[CannotOpen]) -> None:
    assert error.slug.startswith("vault-")
    assert error.meaning
    assert error.remedy
    assert error.exit_code == 78


@pytest.mark.parametrize("url", ["", "sqlite", "mysql:x", "redis://h/d"])
async def test_a_url_of_no_engine_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(CannotOpen, match="is none that this version knows"):
        async with open_store(url, tmp_path, SystemClock(), partitions=1, readers=1):
            pass


async def test_a_path_in_the_url_is_where_the_vault_is(tmp_path: Path) -> None:
    path = tmp_path / "a folder" / "x%.db"
    url = f"sqlite:{str(path).replace('%', '%25')}"
    async with open_store(url, tmp_path / "elsewhere", SystemClock(), partitions=1, readers=1) as store:
        await store.record([order(1)])
    assert path.exists()


# --- files that are not what they should be


@pytest.mark.parametrize(
    ("content", "why"),
    [(b"no database" * 100, "is no SQLite database"), (b"short", "is no SQLite database")],
)
async def test_a_file_that_is_no_database_is_left_as_it_is(tmp_path: Path, content: bytes, why: str) -> None:
    file = tmp_path / "vault.db"
    file.write_bytes(content)
    error = await opening(tmp_path)
    assert isinstance(error, VaultDamaged)
    assert why in str(error)
    assert file.read_bytes() == content


async def test_another_programs_database_is_left_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "vault.db"
    other = sqlite3.connect(file)
    other.execute("CREATE TABLE theirs (x)")
    other.commit()
    other.close()
    before = file.read_bytes()
    error = await opening(tmp_path)
    assert isinstance(error, VaultDamaged)
    assert "some other program's database" in str(error)
    assert file.read_bytes() == before


async def test_a_vault_of_another_version_is_left_as_it_is(tmp_path: Path) -> None:
    await use(tmp_path)
    file = tmp_path / "vault.db"
    newer = sqlite3.connect(file)
    newer.execute("PRAGMA user_version = 99")
    newer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    newer.close()
    before = file.read_bytes()
    error = await opening(tmp_path)
    assert isinstance(error, VaultVersion)
    assert f"has format 99; this version of Trunkline reads format {FORMAT}" in str(error)
    assert file.read_bytes() == before
    assert [each.name for each in sorted(tmp_path.iterdir())] == [
        "vault.db",
        "vault.db.lock",
        "vault.text.db",
    ]


@pytest.mark.parametrize("keep", [0.3, 0.9, 0.99])
async def test_a_vault_that_was_cut_short_is_left_as_it_is(tmp_path: Path, keep: float) -> None:
    await use(tmp_path)
    file = tmp_path / "vault.db"
    before = file.read_bytes()[: int(file.stat().st_size * keep)]
    file.write_bytes(before)
    error = await opening(tmp_path)
    assert isinstance(error, VaultDamaged)
    assert "is cut short" in str(error)
    assert file.read_bytes() == before


async def test_a_vault_with_garbage_inside_is_damaged_or_unavailable(tmp_path: Path) -> None:
    await use(tmp_path)
    file = tmp_path / "vault.db"
    content = bytearray(file.read_bytes())
    content[8192:] = b"\xa5" * (len(content) - 8192)
    file.write_bytes(content)
    with pytest.raises((VaultDamaged, Unavailable), match=r"damaged|cannot be read"):
        await use(tmp_path)


async def test_an_empty_file_becomes_a_vault(tmp_path: Path) -> None:
    (tmp_path / "vault.db").touch()
    await use(tmp_path)
    await use(tmp_path)


async def test_a_creation_that_died_before_its_tables_is_begun_again(tmp_path: Path) -> None:
    begun = sqlite3.connect(tmp_path / "vault.db")
    begun.execute("PRAGMA page_size=8192")
    begun.execute("PRAGMA journal_mode=WAL")
    begun.close()
    await use(tmp_path)
    await use(tmp_path)


# --- the format


async def test_a_vault_of_this_format_stays_readable(tmp_path: Path) -> None:
    """The golden vault is never edited: a change that cannot read it needs a new format and a migration."""
    (tmp_path / "vault.db").write_bytes(golden.content(FORMAT))
    async with open_store("sqlite:", tmp_path, SystemClock(), partitions=1, readers=1) as store:
        await golden.check(store)
        await golden.check_kept(store)


async def test_each_record_carries_its_checksum(tmp_path: Path) -> None:
    async with open_store("sqlite:", tmp_path, SystemClock(), partitions=1, readers=1) as store:
        await golden.fill(store)
    connection = sqlite3.connect(tmp_path / "vault.db")
    rows = connection.execute(
        "SELECT place, stream, version, prev, recorded_us, event, checksum FROM record"
    ).fetchall()
    connection.close()
    assert len(rows) == 6
    for place, stream, version, prev, recorded_us, event, stored in rows:
        assert stored == checksum(
            place >> 48, place & (1 << 48) - 1, stream, version, prev, recorded_us, event
        )


# --- commits


class Stall:
    """A job that keeps the writer busy until it is let go."""

    def __init__(self) -> None:
        self._begun = threading.Event()
        self._let_go = threading.Event()

    async def begin(self, store: SqliteStore, tasks: asyncio.TaskGroup) -> None:
        tasks.create_task(store._writer.run(self._work))
        await asyncio.to_thread(self._begun.wait)

    async def joined(self, store: SqliteStore) -> None:
        """Return when what was begun before has reached the writer."""
        await asyncio.sleep(0)
        await store._writer.prepare(lambda: None)

    def end(self) -> None:
        self._let_go.set()

    def _work(self, connection: sqlite3.Connection, ledger: Ledger) -> None:
        self._begun.set()
        self._let_go.wait()


async def test_what_arrives_during_a_commit_shares_the_next(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        stall = Stall()
        async with asyncio.TaskGroup() as tasks:
            await stall.begin(store, tasks)
            before = store._writer.commits
            for number in range(50):
                tasks.create_task(store.record([order(number)]))
            await stall.joined(store)
            stall.end()
        assert store._writer.commits - before == 2
        assert (await store.stats()).partitions[1] == 50


async def test_a_job_that_fails_leaves_no_trace_in_a_shared_commit(tmp_path: Path) -> None:
    def fails(connection: sqlite3.Connection, ledger: Ledger) -> None:
        connection.execute("UPDATE head SET number = 77")
        ledger.numbers[1] = 77
        raise ValueError("mine")

    async with opened(tmp_path) as store:
        stall = Stall()
        async with asyncio.TaskGroup() as tasks:
            await stall.begin(store, tasks)
            first = tasks.create_task(store.record([order(1)]))
            failing = asyncio.gather(store._writer.run(fails), return_exceptions=True)
            second = tasks.create_task(store.record([order(2)]))
            await stall.joined(store)
            stall.end()
        assert [repr(error) for error in await failing] == ["ValueError('mine')"]
        assert (first.result().recorded, second.result().recorded) == (1, 1)
        assert (await store.stats()).partitions == (0, 2)
    async with opened(tmp_path) as store:
        assert (await store.stats()).partitions == (0, 2)


async def test_a_caller_that_gives_up_does_not_undo_its_work(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        stall = Stall()
        async with asyncio.TaskGroup() as tasks:
            await stall.begin(store, tasks)
            impatient = asyncio.create_task(store.record([order(1)]))
            await stall.joined(store)
            impatient.cancel()
            with pytest.raises(asyncio.CancelledError):
                await impatient
            stall.end()
        assert (await store.record([order(1)])).repeated == 1


async def test_a_closed_store_is_unavailable(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        pass
    with pytest.raises(Unavailable, match="closed"):
        await store.record([order(1)])


@contextmanager
def full_disk(at_bytes: int) -> Iterator[None]:
    """No file grows past this size meanwhile."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (at_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_a_full_disk_makes_it_unavailable_and_loses_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.record([order(number) for number in range(10)])
        wal = tmp_path / "vault.db-wal"
        large = [captured(f"c-{number}") for number in range(2000)]
        with full_disk(wal.stat().st_size + 64 * 1024):
            with pytest.raises(Unavailable):
                await store.record(large)
            with pytest.raises(Unavailable):
                await store.append("shop.thing-a", NO_STREAM, [decision("x" * 200, what="y" * 100_000)])
        assert (await store.stats()).partitions == (0, 10)
        assert (await store.record(large)).recorded == 2000
        assert (await store.append("shop.thing-a", NO_STREAM, [decision("d")])).positions == ((0, 1),)
        records = await positions(store)
    assert records == [(0, 1), *((1, number) for number in range(1, 2011))]


async def positions(store: SqliteStore) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    reached: dict[int, int] = {}
    more = True
    while more:
        page = await store.read_log(Selection(), reached, 500)
        found += [record.position for record in page.records]
        reached, more = page.reached, page.more
    return sorted(found)


async def test_a_search_walks_the_index_that_holds_the_fewest_calls_in_between(tmp_path: Path) -> None:
    calls = [captured(f"c-{n}", status=500 if n == 3 else 200, method="POST") for n in range(3000)]
    async with opened(tmp_path) as store:
        await store.record(calls)
        statements: list[str] = []
        reader = store._readers._connections.get()
        reader.set_trace_callback(statements.append)
        store._readers._connections.put(reader)

        async def page(query: CallQuery) -> str:
            """The statement that finds the calls."""
            statements.clear()
            assert [call.id for call in (await store.search_calls(query)).calls] == ["c-3"]
            (found,) = [each for each in statements if "CROSS JOIN call_1" in each]
            return found

        found = await page(CallQuery(BUCKET, method="post", host="api.example.com", status_class=5))
        assert "INDEXED BY call_1_status" in found
        found = await page(CallQuery(BUCKET, status=500, status_class=5))
        plan = [row[3] for row in reader.execute(f"EXPLAIN QUERY PLAN {found}")]
        assert any("COVERING INDEX call_1_status (bucket=? AND <expr>=? AND place>?" in each for each in plan)
        assert not any("TEMP B-TREE" in each for each in plan)
