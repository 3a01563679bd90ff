"""The gateway's decisions, without a socket: which headers pass, how an answer is framed, what is kept."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.identity import CaptureMode, Redaction
from schemas.traffic_gateway import INLINE_BODY_BYTES, CallCaptured
from services.calls.redaction.redactor import Redactor
from services.traffic_gateway.domain.bodies import Budget, Tap
from services.traffic_gateway.domain.capture import Capture, Headed
from services.traffic_gateway.domain.framing import Framing
from services.traffic_gateway.domain.headers import RawHeader, RequestHeaders, ResponseHeaders
from tests.services.loopback import dechunked
from tests.services.traffic_gateway.running import KEY

pieces_of = st.lists(st.binary(min_size=1, max_size=40), max_size=8)
usual_names = st.sampled_from(
    [
        b"Host",
        b"Connection",
        b"TE",
        b"X-A",
        b"x-a",
        b"X-B",
        b"Content-Length",
        b"Proxy-X",
        b"Transfer-Encoding",
    ]
)
usual_values = st.sampled_from([b"", b"1", b"close", b"X-A, close", b"host, content-length", b"chunked"])
raw_headers = st.lists(st.tuples(usual_names, usual_values), max_size=12)


@given(raw_headers)
def test_a_request_s_headers_pass_in_order_and_name_the_target(raw: list[RawHeader]) -> None:
    passed = RequestHeaders(raw, b"target").headers
    hosts = [value for name, value in passed if name.lower() == b"host"]
    assert set(hosts) == {b"target"}
    others = [pair for pair in passed if pair[0].lower() != b"host"]
    remaining = iter(raw)
    assert all(pair in remaining for pair in others)  # a subsequence
    names = {name.lower() for name, _ in passed}
    assert not names & {b"connection", b"te", b"proxy-x"}
    for name in (b"content-length", b"transfer-encoding"):
        sent = [pair for pair in raw if pair[0].lower() == name]
        assert [pair for pair in passed if pair[0].lower() == name] == sent


def test_headers_that_connection_names_are_dropped() -> None:
    raw = [(b"X-A", b"1"), (b"connection", b"x-a , X-B"), (b"X-B", b"2"), (b"X-C", b"3")]
    assert RequestHeaders(raw, b"h").headers == [(b"Host", b"h"), (b"X-C", b"3")]
    assert ResponseHeaders(raw).headers == [(b"X-C", b"3")]


def test_a_coding_overrides_a_length() -> None:
    """RFC 9112 6.3: or the client would believe the one and the gateway the other."""
    headers = ResponseHeaders([(b"Content-Length", b"5"), (b"Transfer-Encoding", b"chunked"), (b"X", b"1")])
    framing = Framing(headers, bodiless=False, http11=True, hold=False)
    assert framing.headers() == [(b"Transfer-Encoding", b"chunked"), (b"X", b"1")]


@given(pieces_of, st.booleans(), st.booleans())
def test_a_body_of_known_length_passes_unchanged(pieces: list[bytes], http11: bool, hold: bool) -> None:
    body = b"".join(pieces)
    headers = ResponseHeaders([(b"Content-Length", b"%d" % len(body))])
    framing = Framing(headers, bodiless=False, http11=http11, hold=hold)
    shown = b"".join(framing.piece(piece) for piece in pieces)
    assert shown + framing.ending() == body
    assert len(framing.ending()) == (1 if hold and body else 0)
    assert framing.self_delimiting


@given(pieces_of, st.booleans())
def test_a_body_of_unknown_length_is_chunked_and_ends_with_the_last_chunk(
    pieces: list[bytes], hold: bool
) -> None:
    framing = Framing(ResponseHeaders([]), bodiless=False, http11=True, hold=hold)
    shown = b"".join(framing.piece(piece) for piece in pieces)
    assert framing.ending() == b"0\r\n\r\n"
    assert dechunked(shown + framing.ending()) == b"".join(pieces)
    assert framing.headers() == [(b"Transfer-Encoding", b"chunked")]


@given(pieces_of)
def test_an_old_client_gets_it_bare_until_the_close(pieces: list[bytes]) -> None:
    framing = Framing(
        ResponseHeaders([(b"Transfer-Encoding", b"chunked")]), bodiless=False, http11=False, hold=True
    )
    assert b"".join(framing.piece(piece) for piece in pieces) == b"".join(pieces)
    assert (framing.headers(), framing.ending(), framing.self_delimiting) == ([], b"", False)


@given(pieces_of, st.integers(0, 100), st.integers(0, 100))
def test_a_tap_keeps_a_beginning_and_says_how_much_there_was(
    pieces: list[bytes], cap: int, room: int
) -> None:
    budget = Budget(room)
    tap = Tap(cap, budget)
    for piece in pieces:
        tap.add(piece)
    whole = b"".join(pieces)
    kept = whole[: min(cap, room)]
    body, stored = tap.body()
    assert stored is None
    assert (body.size_bytes, body.captured_bytes) == (len(whole), len(kept))
    assert body.truncated == (len(kept) < len(whole))
    if whole:
        assert body.inline == kept
        assert body.sha256 == hashlib.sha256(kept).hexdigest()
    else:
        assert (body.inline, body.sha256) == (None, None)
    assert budget.left_bytes == room - len(kept)
    tap.drop()
    assert budget.left_bytes == room


def test_memory_that_comes_back_leaves_no_hole_in_what_is_kept() -> None:
    budget = Budget(4)
    first, second = Tap(100, budget), Tap(100, budget)
    first.add(b"1234")
    second.add(b"lost")
    first.drop()
    second.add(b"kept?")
    body, _ = second.body()
    assert (body.size_bytes, body.captured_bytes, body.truncated) == (9, 0, True)


@pytest.mark.parametrize(("size", "inline"), [(INLINE_BODY_BYTES, True), (INLINE_BODY_BYTES + 1, False)])
def test_a_long_body_is_named_by_its_hash(size: int, inline: bool) -> None:
    tap = Tap(10**6, Budget(10**6))
    tap.add(b"x" * size)
    body, stored = tap.body()
    assert (body.inline is not None) == inline
    assert stored == (None if inline else (hashlib.sha256(b"x" * size).hexdigest(), b"x" * size))


def capture(url: str = "http://h/", mode: CaptureMode = "relaxed") -> Capture:
    return Capture(
        id="01890000-0000-7000-8000-000000000000",
        bucket=KEY,
        mode=mode,
        began=10.0,
        started_at=datetime(2026, 1, 1, tzinfo=UTC),
        method="GET",
        url=url,
        http_version="1.1",
        headers=[(b"Cookie", b"secret"), (b"X", b"\xff")],
        cap_bytes=100,
        budget=Budget(1000),
        redactor=Redactor(Redaction(), bytes(32)),
        client_address="127.0.0.1",
        origin="gateway",
    )


def test_a_capture_can_travel() -> None:
    call = capture("http://h/caf\udcc3\udca9?\udcff=ü")
    fact, _ = call.captured(10.25)
    assert fact.request.headers == (("Cookie", "secret"), ("X", "\xff"))
    assert fact.request.url == "http://h/caf%C3%A9?%FF=%C3%BC"
    assert fact.duration_ms == 250.0
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(fact), type=CallCaptured) == fact


def test_phases_are_told_in_milliseconds() -> None:
    call = capture()
    assert call.captured(11.0)[0].timings.receive_ms is None
    call.headed = Headed(10.5, None, 0.001, None, 0.0, 0.0204)
    timings = call.captured(11.0)[0].timings
    assert (timings.dns_ms, timings.connect_ms, timings.wait_ms, timings.receive_ms) == (
        None,
        1.0,
        20.4,
        500.0,
    )


def test_a_bucket_that_captures_nothing_keeps_nothing() -> None:
    call = capture(mode="off")
    call.request_body.add(b"hello")
    assert call.recorded
    assert call.captured(11.0)[0].request.body.captured_bytes == 0
