"""The row of a call, and what a search for calls means."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.errors import Malformed, Refused
from schemas.request_vault import SearchCalls
from services.request_vault.domain.calls import (
    CallQuery,
    after_prefix,
    call_entry,
    call_query,
    media_type,
    split_url,
)
from services.request_vault.domain.recording import to_us
from tests.services.request_vault.samples import BUCKET, START, call, call_event, captured


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("https://api.example.com/v1/x?a=1&b=?#f", ("https", "api.example.com", "/v1/x", "a=1&b=?")),
        ("HTTP://API.example.com:80", ("http", "api.example.com", "/", "")),
        ("http://a:443/", ("http", "a:443", "/", "")),
        ("https://user:p@ss@a:8443?x", ("https", "a:8443", "/", "x")),
        ("http://[::1]:9000/x", ("http", "[::1]:9000", "/x", "")),
        ("ftp://a:80/x", ("ftp", "a:80", "/x", "")),
        ("API.example.com:443", ("", "api.example.com:443", "", "")),
        ("[::1]:8443", ("", "[::1]:8443", "", "")),
        ("/a:443", ("", "", "/a:443", "")),
        ("not a url", ("", "", "not a url", "")),
        ("", ("", "", "/", "")),
    ],
)
def test_a_url_is_split_for_showing_and_searching(url: str, parts: tuple[str, str, str, str]) -> None:
    assert split_url(url) == parts


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (
            (("Content-Type", "Application/JSON ; charset=utf-8"), ("content-type", "text/html")),
            "application/json",
        ),
        ((("CONTENT-TYPE", ""),), None),
        ((("X-Type", "a/b"),), None),
        ((("content-type", "x" * 500),), "x" * 127),
    ],
)
def test_the_media_type_is_the_first_content_types(headers: Any, expected: str | None) -> None:
    assert media_type(headers) == expected


def test_a_row_of_a_call_without_an_answer() -> None:
    row = call_entry(captured("c", status=None, error="dns-failed")).row
    assert (row.status, row.error, row.response_bytes, row.content_type) == (None, "dns-failed", 0, None)


@pytest.mark.parametrize("duration_ms", [float("nan"), float("inf"), -1e300])
def test_a_duration_that_is_none_is_malformed(duration_ms: float) -> None:
    with pytest.raises(Malformed, match="duration_ms is"):
        call_entry(call_event(msgspec.structs.replace(call("c"), duration_ms=duration_ms)))


def test_sizes_past_what_a_database_holds_are_cut() -> None:
    whole = call("c")
    body = msgspec.structs.replace(whole.request.body, size_bytes=2**63 + 5)
    request = msgspec.structs.replace(whole.request, body=body)
    assert (
        call_entry(call_event(msgspec.structs.replace(whole, request=request))).row.request_bytes == 2**63 - 1
    )


def test_a_search_is_normalised() -> None:
    ask = SearchCalls(BUCKET, host="API.Example.com", status="5XX", path="", since=START)
    assert call_query(ask) == CallQuery(BUCKET, host="api.example.com", status_class=5, since_us=to_us(START))
    assert call_query(SearchCalls(BUCKET, status="404")) == CallQuery(BUCKET, status=404, status_class=4)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"limit": 0}, "limit"),
        ({"limit": 501}, "limit"),
        ({"status": "abc"}, "status"),
        ({"status": "5x"}, "status"),
        ({"status": "0xx"}, "status"),
        ({"status": "40\uff14"}, "status"),
        ({"status": "4040"}, "status"),
        ({"path": "/" * 2049}, "path"),
        ({"host": "h" * 257}, "host"),
        ({"error": False, "error_slug": "dns-failed"}, "error"),
        ({"since": START.replace(tzinfo=None)}, "since"),
        ({"before": START.replace(tzinfo=None)}, "before"),
    ],
)
def test_a_search_that_means_nothing_is_refused_by_field(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(Refused, match=f"^{field}: ") as caught:
        call_query(SearchCalls(BUCKET, **fields))
    assert caught.value.reason == "query-invalid"


def test_moments_of_any_zone_are_compared_as_moments() -> None:
    elsewhere = datetime.fromisoformat("2026-01-01T02:00:00+02:00")
    assert call_query(SearchCalls(BUCKET, before=elsewhere)).before_us == to_us(START)
    assert (
        call_query(SearchCalls(BUCKET, before=elsewhere + timedelta(seconds=1))).before_us
        == to_us(START) + 1_000_000
    )


_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
_tight = st.text("a\ud7fe\ud7ff\ue000\U0010ffff", max_size=4)


@given(_texts | _tight, _texts | _tight)
def test_a_prefix_is_a_range_of_utf8_bytes(prefix: str, text: str) -> None:
    following = after_prefix(prefix)
    candidate = text.encode()
    within = prefix.encode() <= candidate and (following is None or candidate < following.encode())
    assert within == text.startswith(prefix)
    extended = (prefix + text).encode()
    assert prefix.encode() <= extended
    assert following is None or extended < following.encode()
