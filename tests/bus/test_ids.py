"""Ids: UUIDv7 that sort by their making, and ids that derive from others."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.ids import Ids, derived

START = datetime(2026, 1, 1, tzinfo=UTC)


class Times:
    """A clock that tells a list of times, then the last for ever."""

    def __init__(self, *times: datetime) -> None:
        self._times = list(times)

    def now(self) -> datetime:
        return self._times.pop(0) if len(self._times) > 1 else self._times[0]

    def monotonic(self) -> float:
        raise NotImplementedError

    async def sleep(self, delay_s: float) -> None:
        raise NotImplementedError


def test_an_id_is_a_version_7_uuid_of_its_millisecond() -> None:
    value = uuid.UUID(Ids(Times(START)).new())
    assert value.version == 7
    assert value.variant == uuid.RFC_4122
    assert value.int >> 80 == int(START.timestamp() * 1000)


@pytest.mark.parametrize("entropy", [b"\x00", b"\xff"])
def test_ids_of_one_millisecond_increase_whatever_the_entropy(entropy: bytes) -> None:
    ids = Ids(Times(START), lambda count: entropy * count)
    made = [ids.new() for _ in range(20_000)]
    assert made == sorted(set(made))
    assert {uuid.UUID(each).version for each in made} == {7}
    assert {uuid.UUID(each).int >> 80 for each in made} == {int(START.timestamp() * 1000)}


@given(st.lists(st.integers(-5_000, 5_000), min_size=2, max_size=50))
def test_ids_increase_even_when_the_clock_goes_back(offsets_ms: list[int]) -> None:
    ids = Ids(Times(*(START + timedelta(milliseconds=offset) for offset in offsets_ms)))
    made = [ids.new() for _ in offsets_ms]
    assert made == sorted(set(made))


def test_two_sources_of_ids_do_not_collide() -> None:
    one, other = Ids(Times(START)), Ids(Times(START))
    assert not {one.new() for _ in range(1000)} & {other.new() for _ in range(1000)}


def test_an_id_derives_from_the_same_parts_the_same_way_for_ever() -> None:
    assert derived("command-1", "placed") == "01aa80bc-0564-8e2b-ba7f-2f059413915b"


@given(st.lists(st.text("abc"), max_size=4), st.lists(st.text("abc"), max_size=4))
def test_other_parts_derive_another_id(one: list[str], other: list[str]) -> None:
    if one and other:
        assert (derived(*one) == derived(*other)) == (one == other)
    value = uuid.UUID(derived(*one))
    assert value.version == 8
    assert value.variant == uuid.RFC_4122
