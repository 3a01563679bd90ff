"""The promise as a property: wherever a secret stands in a call, however long the call's bodies, coded and
cut, it stands in nothing that may be published."""

from __future__ import annotations

import gzip
import json
import zlib
from base64 import b64decode, b64encode
from datetime import UTC, datetime
from typing import Any, NamedTuple
from urllib.parse import quote

import msgspec
import pytest
import zstandard
from hypothesis import example, given
from hypothesis import strategies as st

from schemas.identity import Redaction
from schemas.traffic_gateway import (
    INLINE_BODY_BYTES,
    Body,
    CallCaptured,
    CallError,
    CapturedRequest,
    Timings,
)
from services.calls.redaction.marks import Tally
from services.calls.redaction.redactor import Redactor
from services.traffic_gateway.domain.bodies import Budget, Tap
from services.traffic_gateway.domain.capture import Capture
from services.traffic_gateway.domain.headers import RawHeader
from services.traffic_gateway.domain.masking import dropped, masked
from services.traffic_gateway.domain.transcript import masked_transcript
from tests.services.traffic_gateway.running import KEY

SECRET = "tr0ub4dor-and-3-more"
CODINGS: dict[str, Any] = {
    "identity": bytes,
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "zstd": zstandard.ZstdCompressor().compress,
}


def json_body(filler: list[Any]) -> tuple[str, bytes]:
    return "application/json", json.dumps({"before": filler, "apiKey": SECRET, "after": filler}).encode()


def nested_body(filler: list[Any]) -> tuple[str, bytes]:
    return "text/plain", json.dumps([filler, {"event": json.dumps({"password": SECRET})}]).encode()


def form_body(filler: list[Any]) -> tuple[str, bytes]:
    text = f"a={quote(json.dumps(filler))}&password={SECRET}&b=1"
    return "application/x-www-form-urlencoded", text.encode()


def multipart_body(filler: list[Any]) -> tuple[str, bytes]:
    parts = [("note", json.dumps(filler)), ("client_secret", SECRET), ("last", "x")]
    lines = "".join(
        f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in parts
    )
    return "multipart/form-data; boundary=b", f"{lines}--b--\r\n".encode()


def event_body(filler: list[Any]) -> tuple[str, bytes]:
    events = [{"note": filler}, {"token": SECRET}]
    return "text/event-stream", "".join(f"data: {json.dumps(event)}\n\n" for event in events).encode()


class Side(NamedTuple):
    headers: list[RawHeader]
    body: bytes
    cap_bytes: int


fillers = st.lists(st.integers(0, 99) | st.text(max_size=8) | st.just("x" * INLINE_BODY_BYTES), max_size=4)


@st.composite
def sides(draw: st.DrawFn) -> Side:
    content_type, plain = draw(
        st.sampled_from([json_body, nested_body, form_body, multipart_body, event_body])
    )(draw(fillers))
    coding = draw(st.sampled_from(list(CODINGS)))
    body = CODINGS[coding](plain)
    headers = [
        (b"X-Auth-Token", SECRET.encode()),
        (b"Cookie", f"a=1; s={SECRET}".encode()),
        (b"Referer", f"https://u:{SECRET}@h/?access_token={SECRET}".encode()),
        (b"Content-Type", content_type.encode()),
    ]
    if coding != "identity":
        headers.append((b"Content-Encoding", coding.encode()))
    return Side(headers, body, draw(st.integers(0, len(body) + 1)))


def captured(asked: Side, answered: Side, *, url: str, error: CallError | None) -> Capture:
    budget = Budget(10**7)
    call = Capture(
        id="01890000-0000-7000-8000-000000000000",
        bucket=KEY,
        mode="relaxed",
        began=0.0,
        started_at=datetime(2026, 1, 1, tzinfo=UTC),
        method="POST",
        url=url,
        http_version="1.1",
        headers=asked.headers,
        cap_bytes=asked.cap_bytes,
        budget=budget,
        redactor=Redactor(Redaction(), bytes(32)),
        client_address=None,
        origin="gateway",
    )
    call.response_body = Tap(answered.cap_bytes, budget)
    call.answered(200, b"OK", "1.1", answered.headers)
    for tap, body in ((call.request_body, asked.body), (call.response_body, answered.body)):
        for at in range(0, len(body), 5000):
            tap.add(body[at : at + 5000])
    call.error = error
    return call


def everything(call: CallCaptured, bodies: list[tuple[str, bytes]]) -> bytes:
    return msgspec.msgpack.encode(call) + b"".join(data for _, data in bodies)


@given(sides(), sides(), st.sampled_from(["default", "strict"]), st.booleans())
@example(
    Side([], CODINGS["gzip"](json_body([1])[1]), 10**6), Side([], b"", 10**6), "default", True
)  # coded, and not said so
def test_a_planted_secret_is_published_nowhere(asked: Side, answered: Side, mode: Any, failed: bool) -> None:
    if asked.headers == []:
        asked = asked._replace(headers=[(b"Content-Encoding", b"gzip")])
    url = f"http://h/x?sig={SECRET}&page=2"
    error = CallError("upstream-malformed", f"{url} answers oddly") if failed else None
    call, stored = captured(asked, answered, url=url, error=error).captured(1.0)
    told, bodies = masked(call, stored, Redactor(Redaction(mode), bytes(32)))
    assert SECRET.encode() not in everything(told, bodies)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(told), type=CallCaptured) == told
    beside, named = dict(bodies), set[str | None]()
    assert told.response is not None
    assert call.response is not None
    for before, after in ((call.request.body, told.request.body), (call.response.body, told.response.body)):
        assert after.size_bytes == before.size_bytes
        assert after.truncated >= before.truncated
        if after.captured_bytes and after.inline is None:
            assert len(beside[after.sha256 or ""]) == after.captured_bytes
            named.add(after.sha256)
        else:
            assert len(after.inline or b"") == after.captured_bytes
    assert named == set(beside)


messages = st.lists(
    st.tuples(
        st.sampled_from([json_body, nested_body, form_body]),
        st.lists(st.text(max_size=6), max_size=2),
        st.sampled_from(["text", "binary"]),
    ),
    min_size=1,
    max_size=5,
)


@given(messages, st.sampled_from(["default", "strict"]))
def test_no_message_of_a_websocket_gives_it_away(said: list[Any], mode: Any) -> None:
    lines = []
    for number, (make, filler, kind) in enumerate(said):
        _, content = make(filler)
        shown = {"text": content.decode()} if kind == "text" else {"base64": b64encode(content).decode()}
        lines.append(json.dumps({"at_ms": number, "kind": kind, **shown}).encode() + b"\n")
    data = b"".join(lines)
    redactor = Redactor(Redaction(mode), bytes(32))
    tally = Tally()
    after = masked_transcript(data, "request", redactor, tally)
    read = [json.loads(line) for line in after.data.splitlines()]
    assert [(line["at_ms"], line["kind"]) for line in read] == [(n, each[2]) for n, each in enumerate(said)]
    shown_again = b"".join(
        line["text"].encode() if "text" in line else b64decode(line["base64"]) for line in read
    )
    assert SECRET.encode() not in after.data
    assert SECRET.encode() not in shown_again
    assert sum(masked.count for masked in tally.masked()) >= len(said)
    assert masked_transcript(after.data, "request", redactor, Tally()).data == after.data


def test_messages_without_a_secret_stay_as_they_were() -> None:
    data = b'{"at_ms":1.5,"kind":"text","text":"hello"}\n{"at_ms":2.0,"kind":"close","code":1000,"text":""}\n'
    assert masked_transcript(data, "response", Redactor(Redaction(), bytes(32)), Tally()).data is data


def test_a_line_that_nobody_can_read_is_left_out() -> None:
    good = b'{"at_ms":1.5,"kind":"text","text":"hello"}\n'
    for bad in (
        b"{\n",
        b'{"at_ms":1,"kind":"text","password":"x"}\n',
        b'{"at_ms":1,"kind":"binary","base64":"?"}',
    ):
        after = masked_transcript(good + bad, "response", Redactor(Redaction(), bytes(32)), Tally())
        assert (after.data, after.cut) == (good, True)


@given(sides(), sides())
def test_what_cannot_be_masked_is_dropped(asked: Side, answered: Side) -> None:
    error = CallError("upstream-malformed", SECRET)
    url = f"https://u:{SECRET}@h:81/{SECRET}?{SECRET}#{SECRET}"
    call, _ = captured(asked, answered, url=url, error=error).captured(1.0)
    told = dropped(call, ValueError(SECRET))
    assert SECRET.encode() not in everything(told, [])
    assert (told.request.url, told.status_sent, told.error) == (
        "https://h:81/",
        200,
        CallError("upstream-malformed", "[redacted]"),
    )
    assert told.response is not None
    assert told.response.body.size_bytes == len(answered.body)


def test_of_a_tunnel_that_cannot_be_masked_its_target_stays() -> None:
    side = Side([], b"", 0)
    call, _ = captured(side, side, url="h:443", error=None).captured(1.0)
    tunnel = msgspec.structs.replace(call, origin="tunnel")
    assert dropped(tunnel, ValueError(SECRET)).request.url == "h:443"


def test_masking_what_holds_no_secret_changes_nothing() -> None:
    side = Side([(b"Content-Type", b"application/json")], b'{"id":1}' * 3000, 10**6)
    call, stored = captured(side, side, url="http://h/x?page=2", error=None).captured(1.0)
    told, bodies = masked(call, stored, Redactor(Redaction(), bytes(32)))
    assert told is call
    assert len(stored) == 2
    assert dict(bodies) == dict(stored)


@pytest.mark.parametrize("mode", ["default", "strict"])
def test_bodies_that_are_the_same_may_be_masked_apart(mode: Any) -> None:
    """They are told by their hash alone, which must not make one of them go with the other."""
    text = b"note " * 4000 + b'password="' + SECRET.encode() + b'"'
    plain = Side([(b"Content-Type", b"text/plain")], text, 10**6)
    image = Side([(b"Content-Type", b"image/png")], text, 10**6)
    call, stored = captured(plain, image, url="http://h/", error=None).captured(1.0)
    told, bodies = masked(call, stored, Redactor(Redaction(mode), bytes(32)))
    assert told.response is not None
    needed = {
        body.sha256
        for body in (told.request.body, told.response.body)
        if body.captured_bytes and body.inline is None
    }
    assert needed == set(dict(bodies))


@pytest.mark.parametrize(
    ("url", "kept"),
    [("http://[:::]/a?b", "http://[:::]/"), ("http://u:p@h:1?x", "http://h:1/"), ("nothing", "nothing:///")],
)
def test_what_is_no_url_is_dropped_too(url: str, kept: str) -> None:
    """`urlsplit` raises at the first, and nothing may be raised where masking has failed already."""
    request = CapturedRequest("GET", url, "1.1", (), Body())
    call = CallCaptured("id", KEY, datetime.now(UTC), 1.0, request, None, None, Timings(), 0)
    assert dropped(call, ValueError()).request.url == kept
