"""What is left of trimmed records, and the checksums of links."""

from __future__ import annotations

import hashlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.request_vault.domain import chain
from services.request_vault.domain.links import Anchor, anchor, checksum_of, with_trimmed


def digest(number: int) -> bytes:
    return hashlib.sha256(str(number).encode()).digest()


def stands_for(anchors: list[Anchor]) -> dict[int, bytes]:
    """The digest of each number that these anchors stand for; empty for those of a whole segment."""
    step = chain.DIGEST_BYTES
    return {
        number: each.digests[(number - each.first) * step : (number - each.first + 1) * step]
        for each in anchors
        for number in range(each.first, each.last + 1)
    }


def test_an_anchor_of_a_whole_segment_has_no_digests() -> None:
    whole = anchor(1, 1001, [digest(n) for n in range(1001, 2001)], 5)
    assert (whole.first, whole.last, whole.digests) == (1001, 2000, b"")
    part = anchor(1, 1001, [digest(n) for n in range(1001, 2000)], 5)
    assert (part.last, len(part.digests)) == (1999, 999 * 32)


def test_neighbours_of_two_segments_stay_apart() -> None:
    anchors = with_trimmed(1, [], [(n, digest(n)) for n in range(999, 1003)], 5)
    assert [(each.first, each.last) for each in anchors] == [(999, 1000), (1001, 1002)]


def test_the_newest_moment_stands_for_a_joined_run() -> None:
    first = anchor(1, 1, [digest(1), digest(2)], 9)
    (joined,) = with_trimmed(1, [first], [(3, digest(3))], 4)
    assert (joined.first, joined.last, joined.gone_us) == (1, 3, 9)


@given(st.lists(st.lists(st.integers(990, 2010), unique=True, max_size=600), max_size=6))
def test_whatever_goes_in_whatever_order_each_number_keeps_its_digest(steps: list[list[int]]) -> None:
    anchors: list[Anchor] = []
    gone: set[int] = set()
    for step in steps:
        numbers = sorted(set(step) - gone)
        gone |= set(numbers)
        near = {n + 1 for n in numbers} | {n - 1 for n in numbers}
        touched = [each for each in anchors if each.digests and ({each.first, each.last} & near)]
        anchors = [each for each in anchors if each not in touched]
        anchors += with_trimmed(1, touched, [(n, digest(n)) for n in numbers], 1)
    assert stands_for(anchors) == {n: b"" if set(range(*_segment(n))) <= gone else digest(n) for n in gone}
    for each in anchors:
        assert checksum_of(each) == each.checksum
        assert chain.segment_of(each.first) == chain.segment_of(each.last)
    ends = {each.last + 1 for each in anchors if not chain.ends_segment(each.last)}
    assert not ends & {each.first for each in anchors}, "neighbours that were not joined"


def _segment(number: int) -> tuple[int, int]:
    first, last = chain.segment_of(number)
    return first, last + 1


@pytest.mark.parametrize(
    "change", [{"first": 2}, {"last": 3}, {"digests": bytes(64)}, {"gone_us": 6}, {"partition": 2}]
)
def test_a_checksum_covers_every_field(change: dict[str, int | bytes]) -> None:
    sound = anchor(1, 1, [digest(1), digest(2)], 5)
    assert checksum_of(msgspec.structs.replace(sound, **change)) != sound.checksum
