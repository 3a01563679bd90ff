"""HAR entries, each read strictly by the format's own rules (`har12`)."""

from __future__ import annotations

import gzip
from base64 import b64decode
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.traffic_gateway import CallCaptured, CallError, Timings
from services.calls import har
from tests.services.calls import har12
from tests.services.calls.made import call_of

TEXT = st.text(st.characters(min_codepoint=1, max_codepoint=255), max_size=30)


def entry_of(call: CallCaptured, request: bytes | None = b"", response: bytes | None = b"") -> dict[str, Any]:
    """The entry, after it was found to be valid HAR."""
    entry = har.entry(call, request, response)
    har12.check(har.opening("0.1.0") + msgspec.json.encode(entry) + har.CLOSING)
    return entry


def test_an_archive_without_calls_is_valid() -> None:
    archive = har12.check(har.opening("0.1.0") + har.CLOSING)
    assert (archive.log.creator.name, archive.log.creator.version) == ("Trunkline", "0.1.0")


def test_a_plain_call() -> None:
    body = b'{"ok":true}'
    entry = entry_of(call_of(response_body=body), b"", body)
    assert entry["startedDateTime"] == "2026-01-31T12:00:00.123Z"
    assert entry["time"] == 12.5
    assert entry["serverIPAddress"] == "127.0.0.1"
    assert entry["request"]["queryString"] == [{"name": "a", "value": "1"}]
    assert entry["request"]["bodySize"] == 0
    assert "postData" not in entry["request"]
    assert entry["response"]["content"] == {
        "size": 11,
        "mimeType": "application/json",
        "text": '{"ok":true}',
    }


def test_a_coded_body_is_decoded_and_what_the_coding_saved_is_told() -> None:
    text = b"hello " * 1000
    coded = gzip.compress(text)
    sent = (("Content-Type", "text/plain"), ("Content-Encoding", "gzip"))
    entry = entry_of(call_of(response_headers=sent, response_body=coded), b"", coded)
    content = entry["response"]["content"]
    assert content["text"] == text.decode()
    assert (content["size"], content["compression"]) == (6000, 6000 - len(coded))
    assert entry["response"]["bodySize"] == len(coded)


def test_a_binary_body_is_base64() -> None:
    data = bytes(range(256))
    sent = (("Content-Type", "application/octet-stream"),)
    content = entry_of(call_of(response_headers=sent, response_body=data), b"", data)["response"]["content"]
    assert content["encoding"] == "base64"
    assert b64decode(content["text"]) == data


def test_a_form_has_its_fields_and_its_text() -> None:
    form = b"name=J%C3%BCrgen&empty=&plus=a+b"
    sent = (("Content-Type", "application/x-www-form-urlencoded"),)
    post = entry_of(call_of("POST", request_headers=sent, request_body=form), form)["request"]["postData"]
    assert post["text"] == form.decode()
    assert post["params"] == [
        {"name": "name", "value": "Jürgen"},
        {"name": "empty", "value": ""},
        {"name": "plus", "value": "a b"},
    ]


@pytest.mark.parametrize(
    ("data", "headers"),
    [
        (b"\x00\xff\x01", (("Content-Type", "application/octet-stream"),)),
        (gzip.compress(b"{}", mtime=0), (("Content-Type", "application/json"), ("Content-Encoding", "gzip"))),
        ("für".encode("latin-1"), (("Content-Type", "text/plain; charset=latin-1"),)),
    ],
)
def test_a_request_body_that_is_no_utf8_text_can_be_sent_again_byte_for_byte(
    data: bytes, headers: tuple[tuple[str, str], ...]
) -> None:
    post = entry_of(call_of("POST", request_headers=headers, request_body=data), data)["request"]["postData"]
    assert post["_encoding"] == "base64"
    assert b64decode(post["text"]) == data


def test_a_call_without_an_answer_has_status_0_and_its_error() -> None:
    error = CallError("connect-refused", "127.0.0.1:9 refused the connection")
    entry = entry_of(call_of(status=None, error=error))
    assert entry["response"]["status"] == 0
    assert entry["response"]["_error"] == "connect-refused: 127.0.0.1:9 refused the connection"
    assert entry["_error"]["slug"] == "connect-refused"
    assert entry["_statusSent"] == 502


def test_a_cut_body_says_so() -> None:
    data = b"x" * 100
    call = call_of(
        response_headers=(("Content-Type", "text/plain"),), response_body=data, response_size_bytes=5000
    )
    content = entry_of(call, b"", data)["response"]["content"]
    assert (content["size"], content["_truncated"]) == (5000, True)
    assert content["comment"] == "captured 100 of 5000 bytes"


def test_a_body_whose_bytes_are_gone_says_so() -> None:
    entry = entry_of(call_of("PUT", request_body=b"abc", response_body=b"xyz"), None, None)
    assert entry["request"]["postData"]["comment"] == "the captured bytes are not at hand"
    assert "text" not in entry["response"]["content"]


def test_cookies_of_both_sides() -> None:
    asked = (("Cookie", "a=1; b=x=y"), ("cookie", "c=2"))
    answered = (
        ("Set-Cookie", "id=7; Path=/; Domain=example.com; HttpOnly; Secure; SameSite=Lax"),
        ("set-cookie", "old=; Expires=Wed, 21 Oct 2015 07:28:00 GMT"),
        ("set-cookie", "odd=1; Expires=whenever"),
    )
    entry = entry_of(call_of(request_headers=asked, response_headers=answered))
    assert entry["request"]["cookies"] == [
        {"name": "a", "value": "1"},
        {"name": "b", "value": "x=y"},
        {"name": "c", "value": "2"},
    ]
    first, second, third = entry["response"]["cookies"]
    assert first == {
        "name": "id",
        "value": "7",
        "path": "/",
        "domain": "example.com",
        "httpOnly": True,
        "secure": True,
        "_sameSite": "Lax",
    }
    assert second["expires"] == "2015-10-21T07:28:00Z"
    assert "expires" not in third


def test_connect_counts_the_handshake_and_blocked_is_what_no_phase_explains() -> None:
    timings = Timings(dns_ms=1, connect_ms=2, tls_ms=3, send_ms=0.5, wait_ms=4, receive_ms=1)
    entry = entry_of(call_of(timings=timings, duration_ms=15))
    assert entry["timings"] == {
        "blocked": 3.5,
        "dns": 1,
        "connect": 5,
        "send": 0.5,
        "wait": 4,
        "receive": 1,
        "ssl": 3,
    }
    assert entry["time"] == 15


def test_a_redirect_names_its_target() -> None:
    entry = entry_of(call_of(status=302, response_headers=(("Location", "/there"),)))
    assert entry["response"]["redirectURL"] == "/there"


@pytest.mark.parametrize("address", ["10.0.0.1:80", "[::1]:80", "::1", "10.0.0.1"])
def test_the_servers_address_has_no_port(address: str) -> None:
    entry = entry_of(msgspec.structs.replace(call_of(), server_address=address))
    assert entry["serverIPAddress"] in ("10.0.0.1", "::1")


@given(
    name=TEXT,
    value=TEXT,
    query=TEXT,
    data=st.binary(max_size=200),
    kind=st.sampled_from(
        ["text/plain", "application/json", "application/x-www-form-urlencoded", "", "image/png"]
    ),
)
def test_whatever_was_captured_makes_valid_har(
    name: str, value: str, query: str, data: bytes, kind: str
) -> None:
    headers = (("Content-Type", kind), (name, value), ("Cookie", value), ("Set-Cookie", value))
    entry_of(
        call_of("POST", f"http://h/?{query}", headers, data, response_headers=headers, response_body=data),
        data,
        data,
    )
