"""Erasure over the bus: what is erased is nowhere in the vault's folder, and the log says that it was."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

import bus
from bus import codec
from bus.errors import Refused, Unavailable
from bus.event import Event
from bus.ids import derived
from bus.message import Ask, Fact
from bus.router import Router
from bus.testing import Harness
from schemas.request_vault import (
    AnnotateCall,
    CallsErased,
    EraseBucket,
    EraseCall,
    EraseSubject,
    Erasure,
    ErasureFinished,
    ErasureOrdered,
    GetCall,
    GetErasure,
    GetVaultStats,
    ReadStream,
    SearchCalls,
    ShareCall,
    StarCall,
)
from schemas.traffic_gateway import CallCaptured, Headers
from services.request_vault.config import Config
from services.request_vault.domain.erasing import Order, Work
from services.request_vault.store.bodies import DirectoryBodies
from services.request_vault.store.erasures import Erasures
from tests.services.request_vault.running import apart, files_with, inline, send_body, vault
from tests.services.request_vault.samples import BUCKET, START, call, call_event, captured

OTHER = "anotherbuckt"
# Plain, so that what is left of a body would be seen.
PLAIN = Config(compress_bodies=False)
WORD = b"alice4711"  # as the text index has it too
SECRET = "alice4711@example.org"
JSON: Headers = (("Content-Type", "application/json"),)


@pytest.fixture
async def b(tmp_path: Path) -> AsyncIterator[Harness]:
    async with vault(tmp_path, config=PLAIN) as running:
        yield running


async def asked(b: Harness, ask: Ask[Erasure]) -> Erasure:
    """The answer, with time going on meanwhile: an erasure waits for readers that hold it up."""
    answering = asyncio.create_task(b.ask(ask))
    while not (await asyncio.wait({answering}, timeout=0.05))[0]:
        await b.clock.advance(0.05)
    return answering.result()


async def finished(b: Harness, erasure: Erasure) -> Erasure:
    async with asyncio.timeout(20):
        while erasure.state == "running":
            await b.clock.advance(0.05)  # its pauses
            erasure = await b.ask(GetErasure(erasure.bucket, erasure.id))
    return erasure


async def indexed(b: Harness) -> None:
    """Return when the words of all calls can be found."""
    async with asyncio.timeout(20):
        while (await b.ask(GetVaultStats())).text_behind:
            await b.clock.advance(0.05)


async def told(b: Harness, id: str) -> list[Fact]:
    records = (await b.ask(ReadStream(f"vault.erasure-{id}"))).records
    kinds = {kind.TYPE: kind for kind in (ErasureOrdered, CallsErased, ErasureFinished)}
    events = codec.decode_batch(codec.join_batch([record.event for record in records]))
    assert {(event.key, event.subject) for event in events} == {(BUCKET, id)}
    return [event.read(kinds[event.type]) for event in events]


async def calls(b: Harness, bucket: str = BUCKET, query: str = "") -> list[str]:
    return sorted(call.id for call in (await b.ask(SearchCalls(bucket, query=query, limit=500))).calls)


def sent(id: str, data: bytes, *, bucket: str = BUCKET, header: str = "") -> CallCaptured:
    """A call whose request has this JSON body."""
    body = inline(data) if len(data) <= 16_384 else apart(data)
    made = call(id, bucket=bucket, method="POST", request_body=body)
    headers = (*JSON, ("X-User", header)) if header else JSON
    return replace(made, request=replace(made.request, headers=headers))


def large(secret: str) -> bytes:
    return b'{"filling": "%s", "user": {"mail": "%s"}}' % (b"x" * 20_000, secret.encode())


async def test_one_call_is_gone_when_it_is_answered(b: Harness, tmp_path: Path) -> None:
    data = large(SECRET)
    await send_body(b, data)
    await b.emit(call_event(sent("c-1", data)), captured("c-2"))
    await b.settled()
    await indexed(b)
    assert await calls(b, query="alice4711") == ["c-1"]
    await b.ask(StarCall("one", BUCKET, "c-1"))
    await b.ask(AnnotateCall("two", BUCKET, "c-1", note=f"{SECRET} called"))
    assert files_with(tmp_path, WORD)
    erasure = await asked(b, EraseCall("erase", BUCKET, "c-1", "asked by the user", "t-1"))
    assert erasure == Erasure(erasure.id, BUCKET, "call", "finished", 1, 1, 1, 1)
    assert files_with(tmp_path, WORD) == []
    assert await calls(b) == ["c-2"]
    with pytest.raises(Refused) as refused:
        await b.ask(GetCall("c-1", BUCKET))
    assert refused.value.reason == "call-unknown"
    assert await told(b, erasure.id) == [
        ErasureOrdered(erasure.id, BUCKET, "call", "c-1", "asked by the user", "t-1"),
        CallsErased(erasure.id, BUCKET, ("c-1",), "asked by the user", "t-1"),
        ErasureFinished(erasure.id, BUCKET, 1, 1),
    ]
    assert (await b.ask(ReadStream("vault.call-c-1"))).records == ()
    # Delivered again, it does not rise.
    await b.emit(call_event(sent("c-1", data)))
    await b.settled()
    assert await calls(b) == ["c-2"]
    assert files_with(tmp_path, WORD) == []


async def test_erasures_are_published(tmp_path: Path) -> None:
    types: list[str] = []
    listener = Router("listener")

    async def hear(event: Event, delivery: bus.Delivery) -> None:
        types.append(event.type)

    listener.on_event("vault.#", hear)
    async with vault(tmp_path, listener) as b:
        await b.emit(captured("c-1"))
        await b.settled()
        await asked(b, EraseCall("erase", BUCKET, "c-1"))
        await b.settled()
    assert types == ["vault.erasure.ordered", "vault.call.erased", "vault.erasure.finished"]


async def test_a_repeated_command_is_answered_with_what_it_did(b: Harness) -> None:
    await b.emit(captured("c-1"), captured("c-2"))
    await b.settled()
    first, second = await asyncio.gather(
        asked(b, EraseCall("erase", BUCKET, "c-1")), asked(b, EraseCall("erase", BUCKET, "c-1"))
    )
    assert first == second
    again = await asked(b, EraseCall("erase", BUCKET, "c-1"))
    assert (again.id, again.state, again.calls) == (first.id, "finished", 1)
    assert (await b.ask(ReadStream(f"vault.erasure-{first.id}"))).head == 3
    assert await b.ask(GetErasure(BUCKET, first.id)) == again
    for ask, reason in (
        (EraseCall("erase", BUCKET, "c-2"), "command-conflict"),
        (EraseBucket("erase", BUCKET), "command-conflict"),
        (EraseCall("another", BUCKET, "c-1"), "call-unknown"),
        (EraseCall("another", OTHER, "c-2"), "call-unknown"),
        (EraseCall("", BUCKET, "c-2"), "command-invalid"),
        (EraseCall("another", BUCKET, "c-2", "x" * 1001), "erasure-invalid"),
        (EraseCall("another", BUCKET, "c-2", "a\x00b"), "erasure-invalid"),
        (EraseSubject("another", BUCKET, "v"), "erasure-invalid"),
        (GetErasure(OTHER, first.id), "erasure-unknown"),
        (GetErasure(BUCKET, "nothing"), "erasure-unknown"),
    ):
        with pytest.raises(Refused) as refused:
            await asked(b, ask)
        assert refused.value.reason == reason
    assert await calls(b) == ["c-2"]


async def test_a_body_that_another_call_has_too_stays(b: Harness) -> None:
    data = large("anybody")
    await send_body(b, data)
    await b.emit(call_event(sent("c-1", data)), call_event(sent("c-2", data)))
    await b.settled()
    assert (await asked(b, EraseCall("one", BUCKET, "c-1"))).bodies == 0
    assert (await b.ask(GetCall("c-2"))).body_missing == ()
    assert (await asked(b, EraseCall("two", BUCKET, "c-2"))).bodies == 1
    assert (await b.ask(GetVaultStats())).bodies == 0


async def test_what_was_said_of_a_call_that_is_gone_can_be_erased(b: Harness, tmp_path: Path) -> None:
    await b.emit(captured("c-1"))
    await b.settled()
    await b.ask(AnnotateCall("one", BUCKET, "c-1", note=SECRET))
    await asked(b, EraseBucket("two", BUCKET))
    await finished(b, await asked(b, EraseBucket("two", BUCKET)))
    assert files_with(tmp_path, WORD) == []


@pytest.mark.parametrize(
    "ask",
    [
        EraseSubject("subject", BUCKET, SECRET, path="$.user.mail", why="by law", actor="t-1"),
        EraseSubject("subject", BUCKET, SECRET, header="x-user", why="by law", actor="t-1"),
    ],
    ids=["path", "header"],
)
async def test_a_subjects_calls_are_gone_from_every_file(tmp_path: Path, ask: EraseSubject) -> None:
    async with vault(tmp_path, config=PLAIN) as b:
        data = large(SECRET)
        await send_body(b, data)
        await send_body(b, large("bob"))
        for number in range(150):
            secret = SECRET if number % 10 == 0 else f"user-{number}"
            small = b'{"user": {"mail": "%s"}, "number": %d}' % (secret.encode(), number)
            await b.emit(call_event(sent(f"c-{number:03}", small, header=secret)))
        await b.emit(
            call_event(sent("apart", data, header=SECRET)),
            call_event(sent("bob", large("bob"), header="bob")),
            call_event(sent("not-his", b'{"user": {"mail": "bob"}}', header="bob")),
        )
        await b.settled()
        await indexed(b)
        await b.ask(AnnotateCall("note", BUCKET, "c-010", note=f"from {SECRET}"))
        await b.ask(ShareCall("share", BUCKET, "c-020"))
        erasure = await finished(b, await asked(b, ask))
        assert (erasure.calls, erasure.bodies, erasure.looked_at) == (16, 1, 0)
        left = await calls(b)
        assert len(left) == 137
        assert not {"c-000", "c-010", "apart"} & set(left)
        assert (await b.ask(GetCall("bob"))).body_missing == ()
        facts = await told(b, erasure.id)
        where = "json $['user']['mail']" if ask.path else "header x-user"
        assert facts[0] == ErasureOrdered(erasure.id, BUCKET, "subject", where, "by law", "t-1")
        erased = [id for fact in facts if isinstance(fact, CallsErased) for id in fact.calls]
        assert len(erased) == len(set(erased)) == 16
        assert facts[-1] == ErasureFinished(erasure.id, BUCKET, 16, 1)
        assert files_with(tmp_path, WORD) == []
        # A call that comes afterwards is another matter.
        await b.emit(call_event(sent("later", b'{"user": {"mail": "%s"}}' % SECRET.encode())))
        await b.settled()
        assert (await asked(b, ask)).state == "finished"
        assert "later" in await calls(b)
        await asked(b, EraseCall("later", BUCKET, "later"))
    assert files_with(tmp_path, WORD) == []
    assert files_with(tmp_path, b"user-77")


async def test_a_bucket_is_emptied_and_the_others_are_not_touched(tmp_path: Path) -> None:
    async with vault(tmp_path, config=PLAIN) as b:
        for bucket, name in ((BUCKET, SECRET), (OTHER, "bob")):
            await send_body(b, large(name), bucket=bucket)
            for number in range(130):
                data = b'{"user": {"mail": "%s"}, "number": %d}' % (name.encode(), number)
                await b.emit(call_event(sent(f"{bucket}-{number}", data, bucket=bucket)))
            await b.emit(call_event(sent(f"{bucket}-apart", large(name), bucket=bucket)))
        await b.settled()
        await indexed(b)
        await b.ask(StarCall("one", BUCKET, f"{BUCKET}-1"))
        await b.ask(AnnotateCall("two", BUCKET, f"{BUCKET}-2", note=SECRET))
        await b.ask(AnnotateCall("three", OTHER, f"{OTHER}-2", note="stays"))
        begun = await asked(b, EraseBucket("all", BUCKET, "the customer left"))
        assert (begun.state, begun.of) == ("running", 131)
        erasure = await finished(b, begun)
        assert (erasure.calls, erasure.bodies) == (131, 1)
        assert await calls(b) == []
        assert len(await calls(b, OTHER)) == 131
        marks = (await b.ask(GetCall(f"{OTHER}-2"))).marks
        assert marks is not None
        assert marks.note == "stays"
        stats = await b.ask(GetVaultStats())
        assert (stats.bodies, stats.calls) == (1, 131)
        assert files_with(tmp_path, WORD) == []
        # It is in use on.
        await b.emit(captured("new"))
        await b.settled()
        assert await calls(b) == ["new"]
    assert files_with(tmp_path, WORD) == []
    assert files_with(tmp_path, b"bob")


async def test_an_erasure_goes_on_after_a_crash(tmp_path: Path) -> None:
    async with vault(tmp_path, config=PLAIN) as b:
        for number in range(250):
            data = b'{"user": {"mail": "%s"}, "number": %d}' % (SECRET.encode(), number)
            await b.emit(call_event(sent(f"c-{number:03}", data)))
        await b.settled()
        ask = EraseSubject("subject", BUCKET, SECRET, path="$.user.mail")
        begun = await asked(b, ask)
        # The clock stands still: it is in its first pause.
        async with asyncio.timeout(10):
            while (await b.ask(GetErasure(BUCKET, begun.id))).calls == 0:
                await b.clock.advance(0)
        assert (await b.ask(GetVaultStats())).erasures == 1
        assert 0 < (await b.ask(GetErasure(BUCKET, begun.id))).calls < 250
        (file,) = (tmp_path / "request_vault" / "erasures").iterdir()
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert SECRET.encode() in file.read_bytes()
        with pytest.raises(Refused) as refused:
            await asked(b, EraseSubject("subject", BUCKET, "bob", path="$.user.mail"))
        assert refused.value.reason == "command-conflict"
    assert len(files_with(tmp_path, WORD)) > 0
    async with vault(tmp_path, config=PLAIN) as b:
        erasure = await finished(b, await asked(b, ask))
        assert (erasure.id, erasure.calls) == (begun.id, 250)
        assert await calls(b) == []
        erased = [
            id for fact in await told(b, begun.id) if isinstance(fact, CallsErased) for id in fact.calls
        ]
        assert len(erased) == len(set(erased)) == 250
        assert (await b.ask(GetVaultStats())).erasures == 0
    assert files_with(tmp_path, WORD) == []


@pytest.mark.parametrize(
    "ask",
    [
        EraseCall("erase", BUCKET, "c-1"),
        EraseSubject("erase", BUCKET, SECRET, path="$.user.mail"),
        EraseBucket("erase", BUCKET),
    ],
    ids=["call", "subject", "bucket"],
)
async def test_a_step_that_was_cut_off_is_done_again_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ask: EraseCall | EraseSubject | EraseBucket
) -> None:
    """The call is gone from the log, and its body is not yet, when the vault ends."""
    tried = asyncio.Event()

    async def fails(self: DirectoryBodies, *args: object) -> None:
        tried.set()
        raise Unavailable("the disk is gone")

    async with vault(tmp_path, config=PLAIN) as b:
        data = large(SECRET)
        await send_body(b, data)
        await b.emit(call_event(sent("c-1", data)))
        await b.settled()
        with monkeypatch.context() as broken:
            broken.setattr(DirectoryBodies, "delete", fails)
            if isinstance(ask, EraseCall):
                with pytest.raises(Unavailable, match="goes on: the disk is gone"):
                    await asked(b, ask)
            else:
                assert (await asked(b, ask)).state == "running"
            await tried.wait()
        assert await calls(b) == []
        (body,) = (tmp_path / "request_vault" / "bodies" / BUCKET).rglob("*" + "?" * 63)
    assert WORD in body.read_bytes()
    # The harness's time is long ago.
    os.utime(body, (START.timestamp() - 1, START.timestamp() - 1))
    async with vault(tmp_path, config=PLAIN) as b:
        erasure = await finished(b, await asked(b, ask))
        assert (erasure.state, erasure.bodies) == ("finished", 1)
        assert [type(fact) for fact in await told(b, erasure.id)] == [
            ErasureOrdered,
            CallsErased,
            ErasureFinished,
        ]
    assert files_with(tmp_path, WORD) == []


async def test_a_damaged_file_of_an_erasure_is_left_and_told(tmp_path: Path) -> None:
    erasures = Erasures(tmp_path / "erasures")
    work = Work(Order(derived("e"), BUCKET, "subject", START, value="v", path="$.a", upto={0: 1, 1: 2}))
    await erasures.keep(work)
    (tmp_path / "erasures" / "damaged.json").write_bytes(b"{")
    (tmp_path / "erasures" / "newer.json").write_bytes(b'{"format": 9, "work": {}}')
    (tmp_path / "erasures" / "half.tmp").write_bytes(b"v")
    assert await erasures.all() == [work]
    await erasures.remove(work.order.id)
    await erasures.remove(work.order.id)
    assert sorted(path.name for path in (tmp_path / "erasures").iterdir()) == ["damaged.json", "newer.json"]


async def test_a_folder_that_cannot_be_written_to_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "erasures").write_bytes(b"no folder")
    with pytest.raises(Unavailable, match="cannot be used"):
        await Erasures(tmp_path / "erasures").keep(Work(Order(derived("e"), BUCKET, "bucket", START)))
