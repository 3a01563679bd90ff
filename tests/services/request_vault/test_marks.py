"""Marks over the bus: decided, recorded, published, and seen at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

import bus
from bus import codec
from bus.errors import Refused
from bus.event import Event
from bus.router import Router
from bus.testing import Harness
from schemas.request_vault import (
    ANY_VERSION,
    AnnotateCall,
    Append,
    CallMarks,
    CallShared,
    CallStarred,
    DeleteCall,
    EraseCall,
    GetCall,
    GetShared,
    ReadStream,
    RestoreCall,
    SearchCalls,
    ShareCall,
    StarCall,
    UnshareCall,
    UnstarCall,
)
from tests.services.request_vault.running import vault
from tests.services.request_vault.samples import BUCKET, START, captured, event_of

OTHER = "anotherbuckt"


class Told:
    """What the bus was told about calls."""

    def __init__(self) -> None:
        self.types: list[str] = []
        self.router = Router("listener")
        self.router.on_event("vault.call.#", self._hear)

    async def _hear(self, event: Event, delivery: bus.Delivery) -> None:
        self.types.append(event.type)


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
async def b(tmp_path: Path, told: Told) -> AsyncIterator[Harness]:
    async with vault(tmp_path, told.router) as running:
        await running.emit(captured("c-1"), captured("c-2"), captured("c-9", bucket=OTHER))
        await running.settled()
        yield running


async def found(b: Harness, query: str) -> list[str]:
    return [call.id for call in (await b.ask(SearchCalls(BUCKET, query=query))).calls]


async def test_marks_are_seen_at_once_and_published(b: Harness, told: Told) -> None:
    marks = await b.ask(StarCall("one", BUCKET, "c-1", "t-1"))
    assert marks == CallMarks("c-1", BUCKET, starred=True)
    marks = await b.ask(AnnotateCall("two", BUCKET, "c-1", note="the total is wrong", add_tags=("checkout",)))
    assert (await b.ask(GetCall("c-1", BUCKET))).marks == marks
    assert marks == CallMarks("c-1", BUCKET, True, "the total is wrong", ("checkout",))
    (call,) = (await b.ask(SearchCalls(BUCKET, query="is:starred"))).calls
    assert (call.id, call.starred, call.note, call.tags) == ("c-1", True, marks.note, marks.tags)
    assert await found(b, "tag:checkout") == ["c-1"]
    await b.ask(UnstarCall("three", BUCKET, "c-1"))
    assert await found(b, "is:starred") == []
    await b.settled()
    assert told.types == ["vault.call.starred", "vault.call.annotated", "vault.call.unstarred"]
    record = (await b.ask(ReadStream("vault.call-c-1"))).records[0]
    event = codec.decode_event(record.event)
    assert (event.key, event.subject, event.read(CallStarred).by) == (BUCKET, "c-1", "t-1")


async def test_a_repeated_command_is_answered_with_what_it_did(b: Harness, told: Told) -> None:
    starred = await b.ask(StarCall("one", BUCKET, "c-1"))
    shared = await b.ask(ShareCall("two", BUCKET, "c-1"))
    await b.ask(UnstarCall("three", BUCKET, "c-1"))
    assert await b.ask(StarCall("one", BUCKET, "c-1")) == starred
    assert await b.ask(ShareCall("two", BUCKET, "c-1")) == shared
    assert (await b.ask(ReadStream("vault.call-c-1"))).head == 3
    # What is done already is not done again.
    await b.ask(UnstarCall("four", BUCKET, "c-1"))
    assert (await b.ask(ReadStream("vault.call-c-1"))).head == 3
    with pytest.raises(Refused) as refused:
        await b.ask(DeleteCall("one", BUCKET, "c-1"))
    assert refused.value.reason == "command-conflict"


async def test_many_at_once_are_all_carried_out(b: Harness) -> None:
    tags = [f"tag-{number}" for number in range(6)]
    await asyncio.gather(
        *(b.ask(AnnotateCall(f"cmd-{tag}", BUCKET, "c-1", add_tags=(tag,))) for tag in tags),
        b.ask(StarCall("same", BUCKET, "c-1")),
        b.ask(StarCall("same", BUCKET, "c-1")),
    )
    marks = (await b.ask(GetCall("c-1"))).marks
    assert marks is not None
    assert (marks.starred, list(marks.tags)) == (True, tags)
    assert (await b.ask(ReadStream("vault.call-c-1"))).head == len(tags) + 1


async def test_a_deleted_call_is_out_of_sight_until_it_is_restored(b: Harness) -> None:
    await b.ask(StarCall("one", BUCKET, "c-1"))
    assert (await b.ask(DeleteCall("two", BUCKET, "c-1"))).deleted
    assert await found(b, "") == ["c-2"]
    for ask in (GetCall("c-1"), GetCall("c-1", BUCKET)):
        with pytest.raises(Refused) as refused:
            await b.ask(ask)
        assert refused.value.reason == "call-unknown"
    with pytest.raises(Refused) as refused:
        await b.ask(UnstarCall("three", BUCKET, "c-1"))
    assert refused.value.reason == "call-deleted"
    restored = await b.ask(RestoreCall("four", BUCKET, "c-1"))
    assert restored == CallMarks("c-1", BUCKET, starred=True)
    assert await found(b, "is:starred") == ["c-1"]


async def test_a_share_is_followed_until_it_ends(b: Harness) -> None:
    share = (await b.ask(ShareCall("one", BUCKET, "c-1", START + timedelta(hours=1)))).share
    assert share is not None
    assert len(share) >= 24
    record = await b.ask(GetShared(share))
    assert (record.call.id, record.call.bucket) == ("c-1", BUCKET)
    assert record.marks is not None
    assert record.marks.share == share
    assert await found(b, "is:shared") == ["c-1"]
    # Shared on, under the same name.
    assert (await b.ask(ShareCall("two", BUCKET, "c-1", START + timedelta(hours=2)))).share == share
    await b.clock.advance(3600)
    await b.ask(GetShared(share))
    await b.clock.advance(3600)
    await _is_unknown(b, share)
    await b.ask(ShareCall("three", BUCKET, "c-1"))
    await b.ask(GetShared(share))
    await b.ask(DeleteCall("four", BUCKET, "c-1"))
    await _is_unknown(b, share)
    await b.ask(RestoreCall("five", BUCKET, "c-1"))
    await b.ask(UnshareCall("six", BUCKET, "c-1"))
    for name in (share, "", "another"):
        await _is_unknown(b, name)
    # Shared anew, it gets another name.
    assert (await b.ask(ShareCall("seven", BUCKET, "c-1"))).share not in (share, None)


async def _is_unknown(b: Harness, share: str) -> None:
    with pytest.raises(Refused) as refused:
        await b.ask(GetShared(share))
    assert refused.value.reason == "share-unknown"


@pytest.mark.parametrize(
    ("ask", "reason"),
    [
        (StarCall("one", BUCKET, "nobody"), "call-unknown"),
        (StarCall("one", OTHER, "c-1"), "call-unknown"),
        (StarCall("", BUCKET, "c-1"), "command-invalid"),
        (StarCall("x" * 201, BUCKET, "c-1"), "command-invalid"),
        (AnnotateCall("one", BUCKET, "c-1", add_tags=("a b",)), "mark-invalid"),
        (ShareCall("one", BUCKET, "c-1", START - timedelta(days=1)), "mark-invalid"),
    ],
)
async def test_a_no_leaves_nothing_behind(b: Harness, ask: StarCall, reason: str) -> None:
    with pytest.raises(Refused) as refused:
        await b.ask(ask)
    assert refused.value.reason == reason
    assert (await b.ask(ReadStream("vault.call-c-1"))).head == 0


async def test_an_erased_call_cannot_be_marked_any_more(b: Harness) -> None:
    await b.ask(StarCall("one", BUCKET, "c-1"))
    await b.ask(EraseCall("two", BUCKET, "c-1"))
    for command in ("one", "three"):
        with pytest.raises(Refused) as refused:
            await b.ask(StarCall(command, BUCKET, "c-1"))
        assert refused.value.reason == "call-unknown"
    assert await found(b, "is:starred") == []


async def test_a_share_that_two_logs_would_give_at_once_is_one(b: Harness) -> None:
    first, second = await asyncio.gather(
        b.ask(ShareCall("one", BUCKET, "c-1")), b.ask(ShareCall("two", BUCKET, "c-1"))
    )
    assert first.share == second.share


async def test_a_decision_that_came_by_the_log_itself_counts_too(b: Harness) -> None:
    """Whoever may append can mark: the row follows the log, not the handler."""
    event = event_of(CallShared("c-2", BUCKET, "by-hand"), "d-1", key=BUCKET, subject="c-2")
    await b.ask(Append("vault.call-c-2", ANY_VERSION, (codec.encode_event(event),)))
    assert (await b.ask(GetShared("by-hand"))).call.id == "c-2"
    assert (await b.ask(ShareCall("one", BUCKET, "c-2"))).share == "by-hand"
