"""Filters and ids as people write them."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.testing import ManualClock
from services.cli import exits
from services.cli.exits import Trouble
from services.cli.selection import EVERYTHING, Filters, moment, pages, whole_id

NEWEST = "01a2060f-898d-75b2-b6b4-4120d8631b76"
OLDER = "01a2060f-8979-70f0-b25f-ff4c23877e7d"
TWIN = "01a2060f-0000-70f0-b25f-ff4c23877e7d"


class SomeCalls:
    """The API's list of calls, of what it is given, two a page."""

    def __init__(self, *ids: str) -> None:
        self.ids = ids
        self.asked: list[dict[str, Any]] = []

    def get(self, path: str, query: dict[str, Any]) -> Any:
        self.asked.append(query)
        start = int(query["cursor"] or 0)
        end = start + min(2, query["limit"])
        calls = [{"id": id} for id in self.ids[start:end]]
        return {"calls": calls, "next_cursor": str(end) if end < len(self.ids) else None}


def find(text: str, *ids: str) -> str:
    return whole_id(SomeCalls(*ids), "b", text)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("10m", "2025-12-31T23:50:00Z"),
        ("1.5h", "2025-12-31T22:30:00Z"),
        ("2d", "2025-12-30T00:00:00Z"),
        ("2026-01-31T12:00:00Z", "2026-01-31T12:00:00Z"),
        ("2026-01-31T12:00:00+02:00", "2026-01-31T10:00:00Z"),
        (None, None),
    ],
)
def test_a_moment_is_a_time_or_that_long_ago(text: str | None, wanted: str | None) -> None:
    assert moment(text, ManualClock(), "--since") == wanted


@pytest.mark.parametrize("text", ["yesterday", "", "10", "10y", "2026-13-01", "9" * 30 + "w"])
def test_a_moment_that_is_none_names_the_option(text: str) -> None:
    with pytest.raises(Trouble, match="--before") as caught:
        moment(text, ManualClock(), "--before")
    assert caught.value.exit_code == exits.USAGE
    assert caught.value.remedy


@given(st.text(max_size=30))
def test_any_text_is_a_moment_or_trouble(text: str) -> None:
    with suppress(Trouble):
        moment(text, ManualClock(), "--since")


def test_filters_that_are_not_given_are_not_asked_for() -> None:
    assert set(EVERYTHING.parameters("", ManualClock()).values()) == {None}
    query = Filters(status="5xx", error=False).parameters("is:error", ManualClock())
    assert (query["q"], query["status"], query["error"]) == ("is:error", "5xx", False)


def test_pages_end_with_the_limit_or_the_list() -> None:
    calls = SomeCalls("a", "b", "c", "d", "e")
    assert [len(page["calls"]) for page in pages(calls, "b", {}, 3)] == [2, 1]  # type: ignore[arg-type]
    assert [len(page["calls"]) for page in pages(calls, "b", {}, 99)] == [2, 2, 1]  # type: ignore[arg-type]


def test_a_whole_id_is_taken_as_it_is() -> None:
    assert find(NEWEST.upper()) == NEWEST


def test_last_is_the_newest() -> None:
    assert find("last", NEWEST, OLDER) == NEWEST


@pytest.mark.parametrize("text", ["23877e7d", "…23877e7d", "ff4c23877e7d", "7e7d"])
def test_the_end_of_an_id_finds_it_on_any_page(text: str) -> None:
    assert find(text, NEWEST, NEWEST, NEWEST, OLDER) == OLDER


def test_an_end_that_several_have_is_ambiguous() -> None:
    with pytest.raises(Trouble, match="several"):
        find("23877e7d", OLDER, TWIN)


@pytest.mark.parametrize(
    ("text", "ids"), [("last", ()), ("0000aaaa", (NEWEST,)), ("b76", (NEWEST,)), ("", (NEWEST,))]
)
def test_what_is_not_there_is_said_so(text: str, ids: tuple[str, ...]) -> None:
    with pytest.raises(Trouble) as caught:
        find(text, *ids)
    assert caught.value.exit_code == exits.NOT_THERE
    assert caught.value.remedy
