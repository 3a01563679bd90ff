"""The text index in SQLite: shards, what happens to their file, and that erased words leave it."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from bus.errors import Unavailable
from schemas.request_vault import ModelState
from services.request_vault.store import open_store
from services.request_vault.store.bodies import DirectoryBodies
from services.request_vault.store.port import Scope
from services.request_vault.store.sqlite.text import finding, index, schema, shards, writing
from services.request_vault.worker import indexing
from services.request_vault.worker.indexing import BODY_WAIT_S
from tests.conformance.vault.library import Library, apart, inline, made
from tests.conformance.vault.vaults import Clock
from tests.services.request_vault.samples import BUCKET

Opens = Callable[[], AbstractAsyncContextManager[Library]]


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "SHARD_CALLS", 4)
    monkeypatch.setattr(shards, "_MERGED_CALLS", 3)
    monkeypatch.setattr(writing, "SHARD_CALLS", 4)
    monkeypatch.setattr(finding, "TOGETHER", 2)
    monkeypatch.setattr(indexing, "STEP_CALLS", 2)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def opens(folder: Path) -> Opens:
    clock = Clock()

    @asynccontextmanager
    async def open_again() -> AsyncIterator[Library]:
        async with open_store("sqlite:", folder, clock, partitions=1, readers=2) as store:
            yield Library(store, DirectoryBodies(folder / "bodies", clock), clock)

    return open_again


def names(first: int, last: int) -> list[str]:
    return [chr(97 + number) for number in range(first, last)]


async def fill(library: Library, ids: list[str], *, word: str = "tea") -> None:
    for id in ids:
        await library.record(made(id, response=inline(f"{word} number {id}{id}{id}")))
    await library.index()


async def tend(library: Library, rounds: int = 1) -> None:
    for _ in range(rounds):
        library.clock.at_s += index.TEND_S
        await library.index()


def rows(folder: Path) -> list[tuple[str, int, int]]:
    """State, calls and version of each shard."""
    with sqlite3.connect(folder / "vault.text.db") as connection:
        found = connection.execute("SELECT state, calls, version FROM shard ORDER BY first").fetchall()
    connection.close()
    return found


def size(folder: Path) -> int:
    with sqlite3.connect(folder / "vault.text.db") as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    return (folder / "vault.text.db").stat().st_size


def everything(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.glob("vault.text.db*"))


def text_model(library: Library) -> ModelState:
    return next(model for model in library.store.models() if model.name == "text")


async def test_calls_of_many_shards_are_found_in_order(opens: Opens, folder: Path) -> None:
    async with opens() as library:
        await fill(library, names(0, 22))
        assert len(rows(folder)) == 6
        newest_first = "".join(reversed(names(0, 22)))
        for limit in (1, 3, 50):
            assert await library.found("tea", limit=limit) == newest_first
        assert await library.found("body:ccc OR body:ttt") == "tc"
        others = newest_first.replace("c", "").replace("t", "")
        assert await library.found("-body:ccc -body:ttt", limit=2) == others


async def test_full_shards_are_merged_when_there_is_time(opens: Opens, folder: Path) -> None:
    async with opens() as library:
        await fill(library, names(0, 10))
        assert [state for state, *_ in rows(folder)] == ["full", "full", "open"]
        await tend(library, 2)
        assert [state for state, *_ in rows(folder)] == ["merged", "merged", "open"]
        assert await library.found("tea") == "jihgfedcba"


async def test_erased_words_leave_the_files(opens: Opens, folder: Path) -> None:
    needles = (b"qsecret", b"wsecret", b"zsecret")
    filling = " ".join(f"word{number}" for number in range(2000))
    async with opens() as library:
        await fill(library, names(0, 6))
        sent = made("s", url="https://h/qqsecret", headers=(("X", "wwsecret"),), response=inline("zzsecret"))
        await library.record(sent, made("t", response=inline(filling)))
        await fill(library, names(6, 12))
        assert all(needle in everything(folder) for needle in needles)
    async with opens() as library:  # with the words in the file itself, not only in its write-ahead log
        await library.store.erase(BUCKET, ["s", "t"], by="someone", why="")
        await library.index()
        await library.store.texts_purged()
        assert not any(needle in everything(folder) for needle in needles)
        assert await library.found("tea") == "".join(reversed(names(0, 12)))
        assert sum(calls for _, calls, _ in rows(folder)) == 12


async def test_waiting_for_the_purge_ends_with_it(opens: Opens) -> None:
    async with opens() as library:
        await fill(library, names(0, 6))
        await library.store.erase(BUCKET, ["b"], by="someone", why="")
        purged = asyncio.ensure_future(library.store.texts_purged())
        assert await library.indexing.step()
        assert not purged.done()
        await library.index()
        await purged


async def test_calls_that_keep_coming_do_not_hold_up_a_rebuild(opens: Opens) -> None:
    async with opens() as library:
        await fill(library, names(0, 10))
        await library.store.rebuild("text", 1)
        for id in names(10, 26):
            await library.record(made(id, response=inline("tea")))
            assert await library.indexing.step()
        assert text_model(library).state == "ready"
        assert library.store.texts_behind() < 10


async def test_calls_of_a_file_that_was_thrown_away_are_not_put_into_the_next(opens: Opens) -> None:
    async with opens() as library:
        await fill(library, names(0, 5))
        await library.record(made("f", response=inline("tea")))
        step = await library.store.unindexed(10)
        assert step is not None
        library.store._texts._file.damaged = True  # type: ignore[attr-defined]
        await library.store.index_texts(step, step.through, [])
        assert library.store.texts_behind() == 6
        await library.index()
        assert await library.found("tea") == "fedcba"


async def test_a_crash_amid_a_purge_is_made_up_for(opens: Opens, folder: Path) -> None:
    async with opens() as library:
        await fill(library, names(0, 8))
        await library.store.erase(BUCKET, ["b"], by="someone", why="")
        assert await library.indexing.step()
        assert "building" in [state for state, *_ in rows(folder)]
    async with opens() as library:
        assert await library.found("tea") == "hgfedca"
        await library.index()
        await library.store.texts_purged()
        assert b"bbb" not in everything(folder)
        assert await library.found("tea") == "hgfedca"
        assert sum(calls for _, calls, _ in rows(folder)) == 7


async def test_a_call_erased_while_its_shard_is_built_anew_leaves_it(opens: Opens, folder: Path) -> None:
    async with opens() as library:
        await fill(library, names(0, 4))
        await library.store.erase(BUCKET, ["c"], by="someone", why="")
        assert await library.indexing.step()
        await library.store.erase(BUCKET, ["a"], by="someone", why="")
        await library.index()
        await library.store.texts_purged()
        assert b"aaa" not in everything(folder)
        assert await library.found("tea") == "db"


async def test_a_call_erased_while_it_is_indexed_leaves_the_index(opens: Opens, folder: Path) -> None:
    async with opens() as library:
        await library.record(made("a", response=inline("zzsecret")))
        step = await library.store.unindexed(10)
        assert step is not None
        other = indexing.Indexing(library.store, library.bodies, library.clock)
        read, _ = await other._read(step.calls)
        await library.store.erase(BUCKET, ["a"], by="someone", why="")
        await library.store.index_texts(step, step.through, indexing._texts(read))
        assert b"zzsecret" in everything(folder)
        await library.index()
        await library.store.texts_purged()
        assert b"zsecret" not in everything(folder)


async def test_shards_of_which_little_is_left_are_built_anew(opens: Opens, folder: Path) -> None:
    async with opens() as library:
        await fill(library, names(0, 16), word="tea " + " ".join(f"w{n}" for n in range(300)))
        await tend(library, 6)
        before = size(folder)
        while (await library.store.trim(Scope(key=BUCKET, keep_calls=2), 4)).more:
            pass
        await tend(library, 12)
        assert [calls for _, calls, _ in rows(folder)] == [2]
        assert await library.found("tea") == "po"
        assert size(folder) < before
        await fill(library, names(16, 18))
        assert await library.found("tea") == "rqpo"


async def test_of_a_shard_that_is_not_full_yet_no_more_than_half_is_gone(opens: Opens, folder: Path) -> None:
    async with opens() as library:
        await fill(library, names(0, 3))
        await library.store.trim(Scope(key=BUCKET, keep_calls=1), 10)
        await tend(library, 2)
        assert [calls for _, calls, _ in rows(folder)] == [1]
        await fill(library, names(3, 5))
        assert await library.found("tea") == "edc"


async def test_shards_of_another_version_are_built_anew_beside_new_calls(
    opens: Opens, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opens() as library:
        await fill(library, names(0, 10))
    for module in (index, shards, writing):
        monkeypatch.setattr(module, "WORDS_VERSION", 2)
    async with opens() as library:
        assert text_model(library) == ModelState("text", 2, "rebuilding", 0, 10)
        await library.record(made("k", response=inline("tea")))
        assert await library.indexing.step()
        assert await library.indexing.step()
        assert await library.found("tea") == "kjihgfedcba"
        await library.index()
        assert text_model(library).state == "ready"
        assert {version for *_, version in rows(folder)} == {2}
        assert await library.found("tea") == "kjihgfedcba"


async def test_a_rebuild_that_was_asked_for_is_told_of_until_it_is_done(opens: Opens) -> None:
    async with opens() as library:
        await fill(library, names(0, 10))
        working = asyncio.ensure_future(library.indexing.run())
        told = [await library.store.rebuild("text", 1)]
        while told[-1].state == "rebuilding":
            told.append(await library.store.rebuild("text", 1))
        working.cancel()
        assert (told[0].done, told[0].of, told[-1].done) == (0, 10, 10)
        assert len(told) > 3
        assert await library.found("tea") == "jihgfedcba"


@pytest.mark.parametrize("damage", ["garbage", "cut", "format", "other program"])
async def test_a_file_that_cannot_be_used_is_built_anew(opens: Opens, folder: Path, damage: str) -> None:
    async with opens() as library:
        await fill(library, names(0, 6))
    path = folder / "vault.text.db"
    match damage:
        case "garbage":
            path.write_bytes(os.urandom(50_000))
        case "cut":
            os.truncate(path, 10_000)
        case "format":
            with sqlite3.connect(path) as connection:
                connection.execute("PRAGMA user_version=99")
            connection.close()
        case _:
            path.unlink()
            with sqlite3.connect(path) as connection:
                connection.execute("CREATE TABLE something (a)")
            connection.close()
    async with opens() as library:
        await library.record(made("x", response=inline("tea")))
        await library.index()
        assert await library.found("tea") == "xfedcba"


async def test_damage_that_a_search_comes_upon_is_repaired(opens: Opens, folder: Path) -> None:
    async with opens() as library:
        await fill(library, names(0, 12))
    path = folder / "vault.text.db"
    with path.open("r+b") as file:
        for page in range(schema_pages(path), path.stat().st_size // 8192):
            file.seek(page * 8192)
            file.write(os.urandom(8192))
    async with opens() as library:
        with pytest.raises(Unavailable, match="text index is damaged"):
            await library.found("tea")
        await library.index()
        assert await library.found("tea") == "lkjihgfedcba"


def schema_pages(path: Path) -> int:
    """Pages up to the last one of the plain tables."""
    with sqlite3.connect(path) as connection:
        (last,) = connection.execute(
            "SELECT max(rootpage) FROM sqlite_schema WHERE name NOT LIKE 'words%' AND name NOT LIKE '%late%'"
        ).fetchone()
    connection.close()
    return int(last)


async def test_a_file_that_somebody_changed_is_built_anew(opens: Opens, folder: Path) -> None:
    async with opens() as library:
        await fill(library, names(0, 6))
        with sqlite3.connect(folder / "vault.text.db") as connection:
            connection.execute("DROP TABLE progress")
        connection.close()
        await library.record(made("x", response=inline("tea")))
        with pytest.raises(Unavailable, match="cannot be written"):
            await library.index()
        await library.index()
        assert await library.found("tea") == "xfedcba"


async def test_the_index_of_another_log_is_not_believed(opens: Opens, folder: Path, tmp_path: Path) -> None:
    async with opens() as library:
        await fill(library, names(0, 6))
    elsewhere = tmp_path / "elsewhere"
    clock = Clock()
    async with open_store("sqlite:", elsewhere, clock, partitions=1, readers=1) as store:
        other = Library(store, DirectoryBodies(elsewhere / "bodies", clock), clock)
        await fill(other, names(0, 6), word="coffee")
    shutil.copy(folder / "vault.text.db", elsewhere / "vault.text.db")
    async with open_store("sqlite:", elsewhere, clock, partitions=1, readers=1) as store:
        other = Library(store, DirectoryBodies(elsewhere / "bodies", clock), clock)
        assert store.texts_behind() == 6
        await other.index()
        assert await other.found("tea") == ""
        assert await other.found("coffee") == "fedcba"


async def test_an_index_that_is_ahead_of_its_log_is_not_believed(opens: Opens, folder: Path) -> None:
    async with opens() as library:
        await fill(library, names(0, 3))
    shutil.copy(folder / "vault.db", folder / "kept")
    async with opens() as library:
        await fill(library, names(3, 6))
    shutil.copy(folder / "kept", folder / "vault.db")
    async with opens() as library:
        await fill(library, ["z"], word="coffee")
        assert await library.found("tea") == "cba"
        assert await library.found("coffee") == "z"


async def test_a_vault_opens_and_records_without_its_index(opens: Opens, folder: Path) -> None:
    (folder / "vault.text.db").mkdir(parents=True)
    async with opens() as library:
        await library.record(made("a", response=inline("tea")))
        with pytest.raises(Unavailable, match="text index"):
            await library.index()
        assert library.store.texts_behind() == 1
        assert await library.found("tea") == ""
        assert await library.found("status:200") == "a"
        (folder / "vault.text.db").rmdir()
        await library.index()
        assert await library.found("tea") == "a"


async def test_late_bodies_survive_that_their_shard_is_built_anew(opens: Opens) -> None:
    data = b"samovar"
    async with opens() as library:
        await library.record(made("a", response=apart(data)), made("b", response=inline("tea")))
        library.clock.at_s += BODY_WAIT_S + 1
        await library.index()
        await library.store.erase(BUCKET, ["b"], by="someone", why="")
        assert await library.store.late_texts(None, 10) != ()
        await library.index()
        await library.store.texts_purged()
        await library.keep(BUCKET, data)
        library.clock.at_s += BODY_WAIT_S
        await library.indexing.look_for_late()
        assert await library.found("samovar") == "a"
        assert await library.store.late_texts(None, 10) == ()


async def test_a_search_goes_on_while_shards_come_and_go(opens: Opens) -> None:
    async with opens() as library:
        await fill(library, names(0, 20))
        going = True

        async def search() -> int:
            count = 0
            while going:
                assert await library.found("tea", limit=50) == "".join(reversed(names(0, 20)))
                count += 1
            return count

        searching = asyncio.ensure_future(search())
        for _ in range(3):
            await library.store.rebuild("text", 1)
            await library.index()
        going = False
        assert await searching > 0


async def test_a_search_that_knows_shards_which_are_gone_looks_again(opens: Opens) -> None:
    async with opens() as library:
        await fill(library, names(0, 10))
        file = library.store._texts._file  # type: ignore[attr-defined]
        before = file.state
        await library.store.rebuild("text", 1)
        await library.index()
        file.state = before
        assert await library.found("tea") == "jihgfedcba"


def test_the_format_is_this_one() -> None:
    assert (schema.FORMAT, schema.WORDS_VERSION) == (1, 1)
