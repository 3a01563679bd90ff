"""Where an event belongs in the log. These rules are the log's format: a test here that has to change
means a new format."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.errors import Malformed, Reject
from services.request_vault.domain.recording import (
    category_of,
    check_recordable,
    checksum,
    content_hash,
    from_us,
    partition_of,
    stream_of,
    to_us,
)
from tests.services.request_vault.samples import OrderPlaced, event_of, order


@pytest.mark.parametrize(
    ("type", "subject", "stream"),
    [
        ("traffic.call.captured", "c-1", "traffic.call-c-1"),
        ("shop.order.line.added", "7", "shop.order.line-7"),
        ("shop.opened", "7", "shop._-7"),
        ("traffic.capture.lost", None, "traffic.capture-eu"),
    ],
)
def test_an_observation_belongs_to_the_stream_of_its_subject_or_key(
    type: str, subject: str | None, stream: str
) -> None:
    class Named(OrderPlaced, frozen=True):
        TYPE = type

    assert stream_of(event_of(Named(), "e", subject=subject)) == stream


@pytest.mark.parametrize(
    ("stream", "category"),
    [
        ("identity.bucket-7xzc", "identity"),
        ("identity.token-a-b.c", "identity"),
        ("my-shop.a.b-1", "my-shop"),
    ],
)
def test_a_decided_stream_names_its_category(stream: str, category: str) -> None:
    assert category_of(stream) == category


@pytest.mark.parametrize(
    "stream", ["", "identity", "identity.bucket", "bucket-1", ".bucket-1", "A.bucket-1", "a.b-\n"]
)
def test_a_stream_that_is_named_otherwise_is_malformed(stream: str) -> None:
    with pytest.raises(Malformed, match="is not named"):
        category_of(stream)


def test_partitions_content_hashes_and_checksums_are_what_they_were_when_the_format_was_made() -> None:
    assert [partition_of(key, 4) for key in ("7xzcnsgbwox2", "_", "eu", "us")] == PARTITIONS
    assert content_hash(order(1)).hex() == CONTENT
    assert checksum(1, 2, "shop.order-o-1", 3, None, 4, b"envelope") == CHECKSUM


PARTITIONS = [1, 1, 3, 3]
CONTENT = "8aa10eb91fee3ecd4a7e4f6136a5ea6e"
CHECKSUM = 1894141224


@given(st.text(), st.integers(1, 64))
def test_a_key_is_in_one_of_the_partitions(key: str, partitions: int) -> None:
    assert 1 <= partition_of(key, partitions) <= partitions


@given(
    st.tuples(st.sampled_from(["a", "ab", "b"]), st.sampled_from([None, "", "a", "ba"]), st.integers(0, 3))
)
def test_no_two_contents_share_a_hash(parts: tuple[str, str | None, int]) -> None:
    key, subject, total = parts
    event = event_of(OrderPlaced(total), "e", key=key, subject=subject)
    assert HASHES.setdefault(content_hash(event), parts) == parts


HASHES: dict[bytes, tuple[str, str | None, int]] = {}


@given(st.datetimes(timezones=st.just(UTC)))
def test_times_keep_their_microseconds(moment: datetime) -> None:
    assert from_us(to_us(moment)) == moment


def test_an_envelope_within_the_limits_is_recordable() -> None:
    check_recordable(
        event_of(OrderPlaced(), "é" * 256, source="s" * 256, subject="ü" * 1024, correlation="c" * 256)
    )
    with pytest.raises(Reject, match="its correlationid has 257 characters; the limit is 256"):
        check_recordable(event_of(OrderPlaced(), "e", correlation="c" * 257))
