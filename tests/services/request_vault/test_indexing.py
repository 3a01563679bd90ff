"""The task that keeps the text index up to date."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bus import codec
from bus.clock import SystemClock
from bus.errors import Malformed, Unavailable
from schemas.request_vault import BodyPart
from schemas.traffic_gateway import CallCaptured
from services.request_vault.store import open_store
from services.request_vault.store.bodies import DirectoryBodies
from services.request_vault.store.port import TextStep
from services.request_vault.worker import indexing
from tests.conformance.vault.library import Library, apart, inline, made
from tests.services.request_vault.samples import BUCKET

PATIENCE_S = 20


class Ticking(SystemClock):
    """Real time in which nothing takes long, and which is told what was slept."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    async def sleep(self, delay_s: float) -> None:
        self.slept.append(delay_s)
        await super().sleep(min(delay_s, 0.01))


@pytest.fixture
async def library(tmp_path: Path) -> AsyncIterator[Library]:
    clock = Ticking()
    async with open_store("sqlite:", tmp_path, clock, partitions=1, readers=2) as store:
        yield Library(store, DirectoryBodies(tmp_path / "bodies", clock), clock)  # type: ignore[arg-type]


@asynccontextmanager
async def indexed_by(worker: indexing.Indexing) -> AsyncIterator[None]:
    task = asyncio.ensure_future(worker.run())
    try:
        async with asyncio.timeout(PATIENCE_S):
            yield
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def until_indexed(library: Library) -> None:
    while library.store.texts_behind():
        await library.clock.sleep(0)


async def test_calls_are_indexed_when_they_are_told_of(library: Library) -> None:
    async with indexed_by(library.indexing):
        for id in "abc":
            await library.record(made(id, response=inline("tea")))
            library.indexing.wake()
            await until_indexed(library)
    assert await library.found("tea") == "cba"


async def test_calls_that_nobody_told_of_are_indexed(library: Library) -> None:
    async with indexed_by(library.indexing):
        await library.record(made("a", response=inline("tea")))
        await until_indexed(library)
    assert await library.found("tea") == "a"


async def test_erased_calls_are_purged_without_waiting_for_time(library: Library) -> None:
    await library.record(*(made(id, response=inline("tea")) for id in "abc"))
    await library.index()
    async with indexed_by(library.indexing):
        await library.store.erase(BUCKET, ["b"], by="someone", why="")
        await library.indexing.purged()
    assert await library.found("tea") == "ca"


async def test_several_may_wait_for_a_purge(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexing, "LOOK_S", 1e6)
    monkeypatch.setattr(indexing, "GATHER_S", 1e6)
    monkeypatch.setattr(Ticking, "sleep", SystemClock.sleep)
    await library.record(*(made(id, response=inline("tea")) for id in "abc"))
    await library.index()

    async def erase(id: str) -> None:
        await library.store.erase(BUCKET, [id], by="someone", why="")
        await library.indexing.purged()

    async with indexed_by(library.indexing), asyncio.TaskGroup() as tasks:
        for id in "abc":
            tasks.create_task(erase(id))
    assert await library.found("tea") == ""


async def test_recording_goes_first(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexing, "SLICE_CALLS", 1)
    await library.record(*(made(id, response=inline("tea")) for id in "abcd"))
    clock = library.clock
    assert isinstance(clock, Ticking)
    await library.indexing.step()
    assert indexing.GIVE_WAY_S not in clock.slept
    await library.record(*(made(id, response=inline("tea")) for id in "efgh"))
    library.indexing.wake()
    await library.indexing.step()
    assert clock.slept.count(indexing.GIVE_WAY_S) == 1


async def test_what_cannot_be_written_is_tried_again(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = library.store.unindexed
    tries = 0

    async def unindexed(limit: int) -> TextStep | None:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise Unavailable("the disk that holds the text index is full")
        if tries == 2:
            raise AssertionError("a mistake of this program")
        return await whole(limit)

    monkeypatch.setattr(library.store, "unindexed", unindexed)
    await library.record(made("a", response=inline("tea")))
    async with indexed_by(library.indexing):
        await until_indexed(library)
    clock = library.clock
    assert isinstance(clock, Ticking)
    paused = [delay_s for delay_s in clock.slept if delay_s > 0]
    assert paused[:2] == [indexing.RETRY_FIRST_S, 2 * indexing.RETRY_FIRST_S]
    assert await library.found("tea") == "a"


async def test_what_is_no_call_any_more_holds_up_nothing(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    await library.record(*(made(id, response=inline("tea")) for id in "abc"))
    decode = codec.decode_batch

    def failing(frame: bytes) -> object:
        (event,) = decode(frame)
        if event.subject == "b":
            raise Malformed("of a version that nobody knows")
        return (event,)

    monkeypatch.setattr(codec, "decode_batch", failing)
    await library.index()
    assert await library.found("tea") == "ca"


async def test_of_a_long_body_one_part_is_read(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    data = b"samovar " + b"x" * 1_000_000
    await library.keep(BUCKET, data)
    asked: list[int] = []
    whole = library.bodies.read

    async def read(bucket: str, sha256: str, offset: int) -> BodyPart | None:
        asked.append(offset)
        return await whole(bucket, sha256, offset)

    monkeypatch.setattr(library.bodies, "read", read)
    event = made("a", response=apart(data))
    await library.record(event)
    await library.index()
    assert asked == [0]
    assert event.read(CallCaptured).response is not None
    assert await library.found("samovar") == "a"
