"""A search that finds little gives short pages with a cursor, and a full page as soon as it can."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bus.errors import Refused
from bus.testing import Harness, harness
from schemas import request_vault as contract
from schemas.request_vault import CallPage, SearchCalls
from services.request_vault import service
from services.request_vault.config import Config
from services.request_vault.handlers import calls
from services.request_vault.store import port
from tests.services.grounds import a_ground
from tests.services.request_vault.samples import BUCKET, captured

CALLS = 40
RARE = "path:/rare*"


@pytest.fixture
async def b(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Harness]:
    """A vault in which every tenth call is rare, and a search looks at seven a time."""
    monkeypatch.setattr(port, "SCAN_CALLS", 7)
    async with harness(source="request_vault", subscriptions=contract.SUBSCRIPTIONS) as b:
        ground = a_ground(b, tmp_path)
        async with service.build(Config(), ground):
            await b.emit(
                *[
                    captured(f"c-{n:02}", url=f"https://h/{'rare' if n % 10 == 0 else 'often'}/{n}")
                    for n in range(CALLS)
                ]
            )
            await b.settled()
            yield b


async def pages(b: Harness, ask: SearchCalls) -> list[CallPage]:
    found = [await b.ask(ask)]
    while (cursor := found[-1].next_cursor) is not None:
        found.append(await b.ask(SearchCalls(BUCKET, query=ask.query, limit=ask.limit, cursor=cursor)))
    return found


def ids(found: list[CallPage]) -> list[str]:
    return [call.id for page in found for call in page.calls]


async def test_slices_are_put_together_until_the_page_is_full(b: Harness) -> None:
    found = await pages(b, SearchCalls(BUCKET, query=RARE, limit=3))
    assert ids(found[:1]) == ["c-30", "c-20", "c-10"]
    assert ids(found) == ["c-30", "c-20", "c-10", "c-00"]
    (whole,) = await pages(b, SearchCalls(BUCKET, query=RARE, limit=500))
    assert len(whole.calls) == 4


@pytest.mark.parametrize("after", [None, (1, 0)])
async def test_when_time_is_up_a_page_is_short_and_the_next_goes_on(
    b: Harness, monkeypatch: pytest.MonkeyPatch, after: tuple[int, int] | None
) -> None:
    monkeypatch.setattr(calls, "SEARCH_S", 0.0)
    found = await pages(b, SearchCalls(BUCKET, query=RARE, limit=3, after=after))
    assert len(found) == 6
    assert min(len(page.calls) for page in found) == 0
    expected = ["c-30", "c-20", "c-10", "c-00"]
    assert ids(found) == (expected if after is None else expected[::-1])


async def test_a_page_that_is_too_large_for_a_frame_is_cut(
    b: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "PAGE_BYTES", 3000)
    found = await pages(b, SearchCalls(BUCKET, limit=20))
    assert [len(page.calls) for page in found] == [5] * 8
    assert ids(found) == [f"c-{n:02}" for n in reversed(range(CALLS))]


async def test_a_cursor_of_one_direction_is_not_taken_for_another_query(b: Harness) -> None:
    cursor = (await b.ask(SearchCalls(BUCKET, limit=1, after=(1, 0)))).next_cursor
    for ask in (
        SearchCalls(BUCKET, query=RARE, cursor=cursor),
        SearchCalls(BUCKET, cursor=cursor, after=(1, 1)),
        SearchCalls("anotherbuckt", cursor=cursor),
    ):
        with pytest.raises(Refused):
            await b.ask(ask)
