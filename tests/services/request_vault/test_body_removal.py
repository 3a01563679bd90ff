"""Bodies that go: on demand, with their bucket, or since nothing names them; never one just put."""

from __future__ import annotations

import asyncio
import errno
import os
import random
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bus.errors import Unavailable
from services.request_vault.store.bodies import Bodies, BodyName, DirectoryBodies, Removed, files, removing
from tests.services.request_vault.test_bodies import (
    BUCKET,
    bodies_in,
    chunks_of,
    files_below,
    sha256_of,
    whole,
)

DAY_S = 86_400.0
OTHER = "anotherbuckt"


async def nothing_named(bucket: str, hashes: Sequence[str]) -> set[str]:
    return set()


def make_old(folder: Path) -> None:
    """Everything in it was put two days ago."""
    then = datetime.now(UTC).timestamp() - 2 * DAY_S
    for path in folder.rglob("*"):
        os.utime(path, (then, then))


async def sweep(bodies: Bodies, *named: bytes) -> Removed:
    hashes = {sha256_of(data) for data in named}

    async def referenced(bucket: str, asked: Sequence[str]) -> set[str]:
        return hashes & set(asked)

    return await bodies.sweep(referenced, DAY_S, datetime.now(UTC))


async def test_deleted_bodies_are_gone_and_the_others_stay(tmp_path: Path) -> None:
    bodies = bodies_in(tmp_path)
    for data in (b"one", b"two" * 1000):
        await bodies.put(chunks_of(data, 10_000))
        await bodies.put(chunks_of(data, 10_000, OTHER))
    await bodies.put(chunks_of(b"unfinished", 4)[:2])
    before = await bodies.totals()
    wanted = [sha256_of(data) for data in (b"one", b"two" * 1000, b"unfinished", b"never put")]
    removed = await bodies.delete(BUCKET, [*wanted, "../../x"])
    assert (removed.bodies, removed.leftover_bytes) == (2, 8)
    assert await bodies.totals() == (before[0] - 2, before[1] - removed.body_bytes)
    assert await bodies.missing(BUCKET, wanted) == set(wanted)
    assert await whole(bodies, b"one", OTHER)
    assert await bodies.delete(BUCKET, wanted) == Removed()
    await bodies.put(chunks_of(b"one", 10))
    assert await whole(bodies, b"one")


async def test_a_deleted_bucket_is_gone_whole(tmp_path: Path) -> None:
    bodies = bodies_in(tmp_path)
    await bodies.put([*chunks_of(b"one", 10), *chunks_of(b"two", 10), *chunks_of(b"unfinished", 4)[:2]])
    await bodies.put(chunks_of(b"one", 10, OTHER))
    assert await bodies.totals() == (3, 9)
    assert await bodies.delete_bucket(BUCKET) == Removed(2, 6, 8)
    assert await bodies.totals() == (1, 3)
    assert [name async for name in bodies.names()] == [BodyName(OTHER, sha256_of(b"one"))]
    assert len(files_below(tmp_path)) == 1
    assert await bodies.delete_bucket(BUCKET) == await bodies.delete_bucket("../x") == Removed()


async def test_a_removal_that_was_cut_off_is_finished_by_the_next_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bodies = bodies_in(tmp_path)
    await bodies.put(chunks_of(b"one", 10))
    with monkeypatch.context() as cut:
        cut.setattr(removing, "_finish", lambda layout, pattern: Removed())
        await bodies.delete_bucket(BUCKET)
    assert not await whole(bodies, b"one")
    assert [damage async for damage in bodies.verify()] == []
    assert len(files_below(tmp_path)) == 1
    assert await sweep(bodies) == Removed(1, 3, 0)
    assert files_below(tmp_path) == []


async def test_a_sweep_removes_what_is_old_and_not_named(tmp_path: Path) -> None:
    bodies = bodies_in(tmp_path)
    await bodies.put([*chunks_of(b"named", 10), *chunks_of(b"not named", 10)])
    await bodies.put([*chunks_of(b"not named, unfinished", 5)[:1], *chunks_of(b"named, unfinished", 5)[:1]])
    leftover = tmp_path / BUCKET / sha256_of(b"named")[:2] / f"{sha256_of(b'named')}.x.tmp"
    leftover.write_bytes(b"na")
    make_old(tmp_path)
    await bodies.put(chunks_of(b"young", 10))
    assert await bodies.totals() == (3, 19)
    assert await sweep(bodies, b"named", b"named, unfinished") == Removed(1, 9, 5 + 2)
    assert await bodies.totals() == (2, 10)
    assert await whole(bodies, b"named")
    assert await whole(bodies, b"young")
    assert await bodies.put(chunks_of(b"named, unfinished", 5)[1:]) == [None] * 3
    assert await whole(bodies, b"named, unfinished")
    assert await sweep(bodies) == Removed(1, 5, 0)


async def test_a_sweep_leaves_no_empty_folders(tmp_path: Path) -> None:
    bodies = bodies_in(tmp_path)
    await bodies.put(chunks_of(b"one", 10))
    make_old(tmp_path)
    await sweep(bodies)
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


async def test_a_body_put_again_after_the_sweep_asked_stays(tmp_path: Path) -> None:
    """Nothing named it when the sweep asked; the event that does is on its way."""
    bodies, sweeper = bodies_in(tmp_path), bodies_in(tmp_path)
    await bodies.put(chunks_of(b"again", 10))
    make_old(tmp_path)

    async def referenced(bucket: str, hashes: Sequence[str]) -> set[str]:
        assert list(hashes) == [sha256_of(b"again")]
        assert await bodies.put(chunks_of(b"again", 10)) == [None]
        return set()

    assert await sweeper.sweep(referenced, DAY_S, datetime.now(UTC)) == Removed()
    assert await whole(bodies, b"again")


async def test_a_sweep_waits_for_a_put_that_found_the_body_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The put stands between finding the body and making it young; the sweep has made up its mind."""
    bodies, sweeper = bodies_in(tmp_path), bodies_in(tmp_path)
    await bodies.put(chunks_of(b"there", 10))
    make_old(tmp_path)
    found, go_on, asks_for_lock = threading.Barrier(2), threading.Barrier(2), threading.Event()
    really_refresh, really_lock = files.refresh, files.locked

    def refresh(path: Path) -> None:
        found.wait(20)
        go_on.wait(20)
        really_refresh(path)

    def locked(folder: Path, *, alone: bool) -> object:
        if alone:
            asks_for_lock.set()
        return really_lock(folder, alone=alone)

    monkeypatch.setattr(files, "refresh", refresh)
    async with asyncio.TaskGroup() as tasks:
        putting = tasks.create_task(bodies.put(chunks_of(b"there", 10)))
        await asyncio.to_thread(found.wait, 20)
        monkeypatch.setattr(files, "locked", locked)
        sweeping = tasks.create_task(sweeper.sweep(nothing_named, DAY_S, datetime.now(UTC)))
        assert await asyncio.to_thread(asks_for_lock.wait, 20)
        assert (tmp_path / BUCKET / sha256_of(b"there")[:2] / sha256_of(b"there")).exists()
        assert not sweeping.done()
        await asyncio.to_thread(go_on.wait, 20)
    assert putting.result() == [None]
    assert sweeping.result() == Removed()
    assert await whole(bodies, b"there")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EACCES], ids=errno.errorcode.get)
@pytest.mark.parametrize("compress", [False, True])
async def test_a_disk_that_fails_keeps_nothing_by_half(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, compress: bool
) -> None:
    bodies = bodies_in(tmp_path, compress=compress)
    await bodies.put(chunks_of(b"before", 10))
    before = files_below(tmp_path)

    def fails(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as broken:
        broken.setattr(files, "_sync", fails)
        with pytest.raises(Unavailable, match=f"{tmp_path}: {os.strerror(number)}"):
            await bodies.put(chunks_of(b"after" * 1000, 5000))
    assert files_below(tmp_path) == before
    assert await bodies.put(chunks_of(b"after" * 1000, 5000)) == [None]
    assert await whole(bodies, b"after" * 1000)


# The model: what is whole, what is named, what is old. Each body's commands follow one another; bodies, and a
# sweep by another instance, go on at the same time.

CONTENTS = [random.Random(n).randbytes(30) + bytes(n * 40) for n in range(4)]
COMMANDS = st.lists(st.sampled_from(["put", "read", "delete", "look for"]), max_size=4)
ROUNDS = st.lists(
    st.tuples(
        st.lists(COMMANDS, min_size=len(CONTENTS), max_size=len(CONTENTS)),
        st.frozensets(st.sampled_from(range(len(CONTENTS)))),
    ),
    min_size=1,
    max_size=5,
)


@settings(max_examples=40, deadline=None)
@given(rounds=ROUNDS)
def test_puts_reads_deletes_and_sweeps_at_once_agree_with_the_model(
    tmp_path_factory: pytest.TempPathFactory, rounds: list[tuple[list[list[str]], frozenset[int]]]
) -> None:
    asyncio.run(agree(tmp_path_factory.mktemp("bodies"), rounds))


async def agree(folder: Path, rounds: list[tuple[list[list[str]], frozenset[int]]]) -> None:
    instances = [bodies_in(folder, compress=True), bodies_in(folder, compress=False)]
    there: set[int] = set()
    for commands, named in rounds:
        make_old(folder)
        async with asyncio.TaskGroup() as tasks:
            for n, each in enumerate(commands):
                # Untouched so far, an old body that nothing names may be swept at any moment.
                sure = n in there if n in named or n not in there else None
                tasks.create_task(obey(instances, n, each, sure))
            tasks.create_task(sweep(instances[0], *(CONTENTS[n] for n in named)))
        for n, each in enumerate(commands):
            changes = [command for command in each if command in ("put", "delete")]
            if not changes:
                there -= {n} - named
            elif changes[-1] == "put":
                there.add(n)
            else:
                there.discard(n)
        fresh = bodies_in(folder)
        assert {n for n, data in enumerate(CONTENTS) if await whole(fresh, data)} == there
        assert (await fresh.totals())[0] == len(there)
        assert [damage async for damage in fresh.verify()] == []


async def obey(instances: list[DirectoryBodies], n: int, commands: list[str], sure: bool | None) -> None:
    data = CONTENTS[n]
    for at, command in enumerate(commands):
        bodies = instances[(n + at) % 2]
        if command == "put":
            for chunk in chunks_of(data, 60):
                assert await bodies.put([chunk]) == [None]
            sure = True
        elif command == "delete":
            await bodies.delete(BUCKET, [sha256_of(data)])
            sure = False
        elif command == "read":
            part = await bodies.read(BUCKET, sha256_of(data), 10)
            assert part is None or part.data == data[10:]
            assert sure is None or (part is not None) == sure
        else:
            gone = await bodies.missing(BUCKET, [sha256_of(data)])
            assert sure is None or (gone == set()) == sure
