"""A value that is looked for in calls: where it is found, and what a hostile path or body can cost."""

from __future__ import annotations

import gzip
import time

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.errors import Refused
from schemas.request_vault import EraseSubject
from schemas.traffic_gateway import Body, CallCaptured, CapturedRequest, Headers
from services.request_vault.domain.sought import Sought, sought
from tests.services.request_vault.samples import BUCKET, call

JSON: Headers = (("Content-Type", "application/json"),)


def at(path: str, value: str) -> Sought:
    return sought(EraseSubject("cmd", BUCKET, value, path=path))


def stands(path: str, value: str, data: bytes, headers: Headers = JSON, *, truncated: bool = False) -> bool:
    body = Body(len(data), len(data), None, data, truncated)
    return at(path, value).in_body(headers, body, data)


def with_headers(*headers: tuple[str, str]) -> CallCaptured:
    request = CapturedRequest("GET", "https://api.example.com/", "1.1", headers, Body())
    return msgspec.structs.replace(call("c-1"), request=request)


@pytest.mark.parametrize(
    ("header", "value", "found"),
    [
        ("X-User-Id", "u-1", True),
        ("x-user-id", "u-1", True),
        ("x-user-id", "u-2", True),
        ("x-user-id", "u", False),
        ("x-user", "u-1", False),
        ("etag", '"1"', True),  # of the response
        ("x-name", "Zoë", True),
    ],
)
def test_a_headers_value_is_looked_for_whole_in_both_directions(header: str, value: str, found: bool) -> None:
    captured = with_headers(
        ("X-User-Id", "u-1"), ("X-USER-ID", " u-2 "), ("X-Name", "Zoë".encode().decode("latin-1"))
    )
    looked_for = sought(EraseSubject("cmd", BUCKET, value, header=header))
    assert looked_for.in_headers(captured) is found
    assert not looked_for.reads_bodies


DOCUMENT = msgspec.json.encode(
    {
        "user": {"id": 42, "name": "Zoë", "admin": True, "score": 1.5, "left": None},
        "orders": [{"by": "u-1"}, {"by": "u-2", "lines": [{"to": "u-3"}]}],
    }
)


@pytest.mark.parametrize(
    ("path", "value", "found"),
    [
        ("$.user.id", "42", True),
        ("$.user.id", "42.0", True),
        ("$.user.id", "4", False),
        ("$.user.name", "Zoë", True),
        ("$.user.admin", "true", True),
        ("$.user.admin", "1", False),
        ("$.user.score", "1.50", True),
        ("$.user.score", "1e9999", False),
        ("$.user.left", "null", True),
        ("$['user']['id']", "42", True),
        ("$.orders[*].by", "u-2", True),
        ("$.orders[0].by", "u-2", False),
        ("$.orders[-1].by", "u-2", True),
        ("$.orders[0:1].by", "u-1", True),
        ("$..to", "u-3", True),
        ("$..*", "u-3", True),
        ("$.user['name', 'id']", "42", True),
        ("$.nothing", "42", False),
        ("$.user", "42", False),
        ("$", "42", False),
    ],
)
def test_a_value_is_found_at_its_path(path: str, value: str, found: bool) -> None:
    assert stands(path, value, DOCUMENT) is found
    assert stands(path, value, gzip.compress(DOCUMENT), (*JSON, ("Content-Encoding", "gzip"))) is found
    # Whatever the type says, it reads like JSON.
    assert stands(path, value, DOCUMENT, (("Content-Type", "text/plain"),)) is found


@pytest.mark.parametrize(
    ("data", "value", "found"),
    [
        (b'{"user": {"id": "u-1", "x": "cut he', "u-1", True),
        (b'{"user": {"id": "u-12", "x": "cut he', "u-1", False),
        (b'{"user": {"id": 42, "x": "cut he', "42", True),
        (b'{"user": {"id": 142, "x": "cut he', "42", False),
        (b'{"user": {"name": "Zo\\u00eb", "x": "cut he', "Zo\u00eb", True),
        (b'{"id": "u-1"}\n{"id": "u-2"}\n', "u-2", True),
        (b"[" * 5000 + b'"u-1"' + b"]" * 5000, "u-1", True),
        (b'{"a":' * 300 + b'"u-1"' + b"}" * 300, "u-1", True),
    ],
)
def test_what_cannot_be_read_to_its_end_counts_when_the_value_stands_in_it(
    data: bytes, value: str, found: bool
) -> None:
    assert stands("$..id", value, data, truncated=True) is found


def test_a_body_that_was_captured_decoded_is_read_as_it_is() -> None:
    coded: Headers = (*JSON, ("Content-Encoding", "deflate"))
    body = Body(9, len(DOCUMENT), None, DOCUMENT, decoded=True)
    assert at("$.user.id", "42").in_body(coded, body, DOCUMENT)
    assert not at("$.user.id", "43").in_body(coded, body, DOCUMENT)


@pytest.mark.parametrize(
    ("data", "headers"),
    [
        (b"", JSON),
        (b"u-1", (("Content-Type", "text/plain"),)),
        (b"\x00\x01u-1", (("Content-Type", "application/octet-stream"),)),
        (DOCUMENT, (*JSON, ("Content-Encoding", "unheard-of"))),
    ],
)
def test_what_is_no_json_is_passed_over(data: bytes, headers: Headers) -> None:
    assert not stands("$..*", "u-1", data, headers)


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        ({"header": "x", "path": "$"}, "exactly one"),
        ({}, "exactly one"),
        ({"header": "x y"}, "is no header's name"),
        ({"header": "x", "value": " u"}, "no blanks around"),
        ({"header": "x", "value": ""}, "0 characters"),
        ({"header": "x", "value": "x" * 1001}, "1001 characters"),
        ({"header": "x", "value": "\ud800"}, "half a character"),
        ({"path": "user.id"}, "is no JSON path"),
        ({"path": "$.user["}, "is no JSON path"),
        ({"path": "$" + ".a" * 250}, "501 characters"),
        ({"path": "$" + ".a" * 21}, "21 segments"),
        ({"path": "$" + "[(" * 200}, "is no JSON path"),
        ({"path": "$..a..b"}, "more than once"),
        ({"path": "$[?@.id == 'u-1']"}, "filters are not taken"),
        ({"path": "$..[?match(@.a, '(a+)+b')]"}, "filters are not taken"),
        ({"path": "$[*,*][*,*][*,*][*,*]"}, "16 alternatives"),
    ],
)
def test_what_cannot_be_looked_for_is_refused(ask: dict[str, str], said: str) -> None:
    fields = {"value": "u-1", **ask}
    with pytest.raises(Refused, match=said) as refused:
        sought(EraseSubject("cmd", BUCKET, **fields))
    assert refused.value.reason == "erasure-invalid"
    assert len(str(refused.value)) < 300


def test_the_value_is_not_told() -> None:
    looked_for = sought(EraseSubject("cmd", BUCKET, "alice@example.com", path="$.user[ 'mail' ]"))
    assert looked_for.where == 'json $["user"]["mail"]' or looked_for.where == "json $['user']['mail']"


@pytest.mark.slow
@pytest.mark.parametrize("path", ["$..*", "$..[*,*,*,*,*,*,*,*]", "$[*][*][*][*]", "$..[0:100000:2]"])
def test_a_large_document_costs_seconds_at_most(path: str) -> None:
    data = msgspec.json.encode([[[[n] * 5] * 5] * 5 for n in range(500)])
    bomb = gzip.compress(b"[" + b"1," * 400_000 + b"1]")
    began_s = time.monotonic()
    assert not stands(path, "u-1", data)
    assert not stands(path, "u-1", bomb, (*JSON, ("Content-Encoding", "gzip")))
    assert time.monotonic() - began_s < 30


@given(st.binary(max_size=200), st.sampled_from(["$..*", "$.a[*]"]), st.text(min_size=1, max_size=5))
def test_no_body_breaks_it(data: bytes, path: str, value: str) -> None:
    if not any("\ud800" <= character <= "\udfff" for character in value):
        stands(path, value, data, truncated=True)
        stands(path, value, data, (("Content-Type", "text/json; charset=utf-16"),))
