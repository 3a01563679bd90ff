"""Bodies of every kind: forms, multipart, coded, in wide charsets, wrongly labelled, binary, too large."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable

import brotli  # type: ignore[import-untyped]
import pytest
import zstandard

from schemas.identity import MAX_BODY_CAP_BYTES, Redaction
from schemas.traffic_gateway import Headers
from services.calls.redaction.marks import Tally
from services.calls.redaction.redactor import RedactedBody, Redactor
from tests.services.calls.redaction.redacting import (
    CARD,
    FORM,
    GITHUB,
    KEY,
    body,
    mark,
    redactor,
    rules,
    whole,
)

SECRET = b'{"a":1,"password":"x1"}'
MASKED = SECRET.replace(b"x1", mark("key", "x1").encode())
PLAIN = b'{"a":1,"b":"x1"}'

CODINGS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstandard.compress,
}


def coded(coding: str) -> Headers:
    return (("Content-Type", "application/json"), ("Content-Encoding", coding))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"a=1&password=x1&b=2", b"a=1&password={field}&b=2"),
        (b"pass%77ord=x%31", b"pass%77ord={field}"),
        (b"user%5Bpassword%5D=x1", b"user%5Bpassword%5D={field}"),
        (b"user[password]=x1&", b"user[password]={field}&"),
        (
            b"payload=%7B%22password%22%3A%22x1%22%7D&c=%2B",
            b"payload=%7B%22password%22%3A%22{key}%22%7D&c=%2B",
        ),
        (b'payload={"password":"x1"}', b'payload={"password":"{key}"}'),
        (b"u=https%3A%2F%2Fh%2F%3Ftoken%3Dx1%26a%3D1", b"u=https%3A%2F%2Fh%2F%3Ftoken%3D{query}%26a%3D1"),
        (b"password=&token", b"password=&token"),
        (b"&&==&", b"&&==&"),
    ],
)
def test_forms(before: bytes, after: bytes) -> None:
    for rule in ("field", "key", "query"):
        after = after.replace(b"{%s}" % rule.encode(), mark(rule, "x1").encode())
    for label in (FORM, None) if b"=x" in before else (FORM,):
        assert body(before, label) == after
        assert body(after, label) == after


def multipart(value: str, json_value: str) -> bytes:
    return (
        "preamble\r\n"
        f'--B x\r\nContent-Disposition: form-data; name="password"\r\n\r\n{value}\r\n'
        '--B x\r\nContent-Disposition: form-data; filename="password"; name="file"\r\n\r\nx1\r\n--B\r\n\r\n'
        f"--B x\r\nContent-Disposition: form-data; name=j\r\nContent-Type: application/json\r\n\r\n"
        f'{{"pin":{json_value},"a":"\\n"}}\r\n--B x--\r\n'
    ).encode()


def test_multipart() -> None:
    after = multipart(mark("field", "x1"), f'"{mark("key", "1234")}"')
    assert body(multipart("x1", "1234"), 'multipart/form-data; boundary="B x"') == after
    cut = multipart("x1", "1234")[:70]
    masked = body(cut[10:], "multipart/form-data", truncated=True)
    assert masked == cut[10:].replace(b"x1", mark("field", "x1").encode())


def test_multipart_strict() -> None:
    by = redactor("strict")
    content_type = "multipart/form-data; boundary=B x; boundary=y"
    after = body(multipart("x1", "1234"), 'multipart/form-data; boundary="B x"', by)
    assert b"x1" not in after
    assert b"1234" not in after
    assert b'filename="[redacted]"; name="file"' in after
    assert body(after, 'multipart/form-data; boundary="B x"', by) == after
    assert body(b"no parts", content_type, by) == b""


@pytest.mark.parametrize("coding", CODINGS)
def test_a_coded_body_is_captured_decoded_only_if_something_is_masked(coding: str) -> None:
    code = CODINGS[coding]
    assert whole(code(SECRET), coded(coding)) == RedactedBody(MASKED, decoded=True)
    assert whole(code(PLAIN), coded(coding)) == RedactedBody(code(PLAIN))
    twice = code(gzip.compress(SECRET))
    assert whole(twice, coded(f"gzip, {coding}")) == RedactedBody(MASKED, decoded=True)


@pytest.mark.parametrize("coding", ["gzip", "deflate", "zstd"])
def test_a_coded_body_that_is_cut(coding: str) -> None:
    data = CODINGS[coding](json.dumps({"password": "x1", "rest": [str(n) for n in range(20_000)]}).encode())
    after = whole(data[: len(data) // 2], coded(coding), truncated=True)
    assert after.decoded
    assert after.cut
    assert b'"x1"' not in after.data
    assert after.data.startswith(b'{"password": "[redacted:key:') or coding == "zstd"  # all in one block


def test_what_the_codings_hide_behind_the_limit_is_not_published() -> None:
    by = Redactor(Redaction(), KEY, limit_bytes=1000)
    data = gzip.compress(PLAIN + b" " * 2000 + SECRET)
    after = by.body(data, coded("gzip"), "response", Tally())
    assert after == RedactedBody((PLAIN + b" " * 2000)[:1000], decoded=True, cut=True)


def test_an_unknown_coding_may_be_none() -> None:
    assert whole(SECRET, coded("aws-chunked")) == RedactedBody(MASKED)
    assert whole(SECRET, coded("gzip")) == RedactedBody(MASKED)
    assert whole(b"\x01" + SECRET, coded("foo"), redactor("strict")) == RedactedBody(b"", cut=True)


@pytest.mark.parametrize("charset", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"])
def test_wide_charsets(charset: str) -> None:
    before = '{"a":"é😀","password":"x1"}'
    after = before.replace("x1", mark("key", "x1"))
    assert body(before.encode(charset)) == after.encode(charset)
    assert body(PLAIN.decode().encode(charset)) == PLAIN.decode().encode(charset)
    cut = body(before.encode(charset)[:-3], truncated=True)
    assert mark("key", "x1") in cut.decode(charset, "ignore")


@pytest.mark.parametrize("label", [None, "text/plain", "image/png", "application/octet-stream", "x", FORM])
def test_a_label_hides_no_json(label: str | None) -> None:
    assert body(SECRET, label) == MASKED
    assert body(b"\xef\xbb\xbf \n" + SECRET, label) == b"\xef\xbb\xbf \n" + MASKED


def test_server_sent_events() -> None:
    before = 'event: x\ndata: {"pin":1234}\n\ndata:{"token":"x1"}\n\ndata: [DONE]\n'
    after = before.replace("1234", f'"{mark("key", "1234")}"').replace("x1", mark("key", "x1"))
    assert body(before.encode(), "text/event-stream").decode() == after


def test_xml_by_what_values_look_like() -> None:
    before = f'<a href="https://h/?token=x1&amp;b=2" password="x1">{CARD}</a>'
    query, key, card = mark("query", "x1"), mark("key", "x1"), mark("card", CARD)
    after = f'<a href="https://h/?token={query}&amp;b=2" password="{key}">{card}</a>'
    assert body(before.encode(), "application/xml").decode() == after


def test_binary_is_left_and_dropped_in_strict_mode() -> None:
    data = b"\x89PNG\r\n\x1a\n\x00\x00" + GITHUB.encode()
    assert body(data, "image/png") == data
    assert whole(data, (("content-type", "image/png"),), redactor("strict")) == RedactedBody(b"", cut=True)
    assert rules(data, "image/png", redactor("strict")) == [("strict", "")]


def test_strict() -> None:
    by = redactor("strict")
    assert body(b"a=x1&b=&c&d=2", FORM, by) == b"a=[redacted]&b=&[redacted]&d=[redacted]"
    assert body(b"plain words", "text/plain", by) == b""


def test_raw() -> None:
    assert whole(gzip.compress(SECRET), coded("gzip"), redactor("raw")) == RedactedBody(gzip.compress(SECRET))


def test_too_large() -> None:
    data = b"a" * (MAX_BODY_CAP_BYTES + 1)
    assert whole(data, ()) == RedactedBody(b"", cut=True)
