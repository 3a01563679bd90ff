"""Bodies for reading: every coding and charset, and hostile bytes within their bounds."""

from __future__ import annotations

import gzip
import zlib
from base64 import b64decode
from collections.abc import Callable

import msgspec
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.traffic_gateway import Headers
from services.calls import body
from services.calls.body import readable, undo_codings

LIMIT = 100_000


def headers(content_type: str | None = None, coding: str | None = None) -> Headers:
    pairs = (("Content-Type", content_type), ("content-encoding", coding))
    return tuple((name, value) for name, value in pairs if value is not None)


def raw_deflate(data: bytes) -> bytes:
    squeezer = zlib.compressobj(wbits=-15)
    return squeezer.compress(data) + squeezer.flush()


CODERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "GZIP": gzip.compress,
    "deflate": zlib.compress,
    "zstd": zstandard.compress,
    "identity": bytes,
}


@pytest.mark.parametrize("coding", CODERS)
@given(data=st.binary(max_size=5000))
@settings(max_examples=30)
def test_each_coding_is_undone(coding: str, data: bytes) -> None:
    undone = undo_codings(CODERS[coding](data), headers(coding=coding), limit_bytes=LIMIT)
    assert (undone.data, undone.complete, undone.note) == (data, True, None)


def test_a_deflate_body_without_its_zlib_head_is_read_as_browsers_do() -> None:
    data = b"hello " * 100
    assert undo_codings(raw_deflate(data), headers(coding="deflate"), limit_bytes=LIMIT).data == data


def test_codings_are_undone_last_applied_first() -> None:
    data = gzip.compress(zlib.compress(b"hello"))
    assert undo_codings(data, headers(coding="deflate, gzip"), limit_bytes=LIMIT).data == b"hello"


def test_gzip_members_follow_each_other() -> None:
    data = gzip.compress(b"one ") + gzip.compress(b"two") + b"\0" * 7
    undone = undo_codings(data, headers(coding="gzip"), limit_bytes=LIMIT)
    assert (undone.data, undone.complete) == (b"one two", True)


@pytest.mark.parametrize("coding", ["gzip", "deflate", "zstd"])
def test_a_bomb_is_cut_at_the_limit(coding: str) -> None:
    bomb = CODERS[coding](b"\0" * 50_000_000)
    undone = undo_codings(bomb, headers(coding=coding), limit_bytes=LIMIT)
    assert len(undone.data) == LIMIT
    assert not undone.complete
    assert undone.note == f"cut at {LIMIT} decoded bytes"


def test_a_body_of_just_the_limit_is_whole() -> None:
    data = b"x" * LIMIT
    for coding in ("gzip", "deflate", "zstd"):
        assert undo_codings(CODERS[coding](data), headers(coding=coding), limit_bytes=LIMIT).complete


def test_a_bomb_within_a_bomb_is_cut_at_each_layer() -> None:
    bomb = gzip.compress(gzip.compress(b"\0" * 50_000_000))
    undone = undo_codings(bomb, headers(coding="gzip, gzip"), limit_bytes=LIMIT)
    assert len(undone.data) <= LIMIT
    assert not undone.complete


def test_very_many_members_end() -> None:
    data = gzip.compress(b"") * 50_000
    assert not undo_codings(data, headers(coding="gzip"), limit_bytes=LIMIT).complete


def test_a_stream_that_ends_too_early_gives_what_it_has() -> None:
    whole = b"".join(b"line %d\n" % number for number in range(5000))
    undone = undo_codings(gzip.compress(whole)[:-2000], headers(coding="gzip"), limit_bytes=LIMIT)
    assert whole.startswith(undone.data)
    assert len(undone.data) > 10_000
    assert undone.note == "the gzip stream ends too early"


def test_a_damaged_stream_gives_what_comes_before_the_damage() -> None:
    damaged = bytearray(gzip.compress(b"hello world"))
    damaged[-5] ^= 1  # the checksum
    shown = readable(headers("text/plain", "gzip"), bytes(damaged))
    assert (shown.kind, shown.text, shown.complete) == ("text", "hello world", False)
    assert shown.note is not None
    assert "damaged" in shown.note


@pytest.mark.parametrize("coding", ["gzip", "deflate", "zstd"])
@given(data=st.binary(max_size=300))
def test_no_bytes_make_it_fail(coding: str, data: bytes) -> None:
    shown = readable(headers("application/json", coding), data)
    msgspec.json.encode(shown)
    whole = bytearray(CODERS[coding](b"some text " * 20))
    whole[len(data) % len(whole)] ^= 0xFF
    msgspec.json.encode(readable(headers(None, coding), bytes(whole)))


def test_an_unknown_coding_leaves_the_bytes_and_says_so() -> None:
    shown = readable(headers("text/plain", "snappy"), b"\x05hello")
    assert shown.base64 is not None
    assert b64decode(shown.base64) == b"\x05hello"
    assert shown.note == "the content coding 'snappy' is not understood"


def test_brotli_without_its_library_says_what_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body, "_first_of", lambda *names: None)
    shown = readable(headers("text/plain", "br"), b"\x0b\x02\x80hello\x03")
    assert (shown.kind, shown.note) == ("binary", "reading br needs the package Brotli")


def test_brotli_with_its_library_is_read_within_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    class Library:
        """Its interface, as Brotli 1.2 has it; every body is a thousand times its size."""

        error = ValueError

        class Decompressor:
            def __init__(self) -> None:
                self.left = b""

            def process(self, data: bytes, output_buffer_limit: int) -> bytes:
                self.left += data * 1000
                out, self.left = self.left[:output_buffer_limit], self.left[output_buffer_limit:]
                return out

            def is_finished(self) -> bool:
                return not self.left

    monkeypatch.setattr(body, "_first_of", lambda *names: Library)
    undone = undo_codings(b"x" * 1000, headers(coding="br"), limit_bytes=LIMIT)
    assert (len(undone.data), undone.complete) == (LIMIT, False)
    assert undo_codings(b"x" * 10, headers(coding="br"), limit_bytes=LIMIT).complete


@pytest.mark.parametrize(
    ("content_type", "data", "text"),
    [
        ("text/plain; charset=iso-8859-1", "für".encode("latin-1"), "für"),
        ('text/plain; charset="Shift_JIS"', "日本".encode("shift_jis"), "日本"),
        ("text/html", "“für”".encode("cp1252"), "“für”"),
        ("text/html", "für".encode(), "für"),
        ("text/plain; charset=unicode_escape", b"\\ud800", "\\ud800"),
        ("text/plain; charset=punycode", b"abc-", "abc-"),
        ("text/plain; charset=nonsense", b"abc", "abc"),
        ("application/xml", b"\xef\xbb\xbf<a/>", "<a/>"),
        ("text/plain", "hi".encode("utf-16"), "hi"),
        (None, b"no type, but text", "no type, but text"),
        ("application/octet-stream", b"text all the same", "text all the same"),
        ("multipart/form-data; boundary=x", b"--x\r\n\r\nvalue\r\n--x--", "--x\r\n\r\nvalue\r\n--x--"),
    ],
)
def test_text_is_found_in_its_charset(content_type: str | None, data: bytes, text: str) -> None:
    shown = readable(headers(content_type), data)
    assert (shown.kind, shown.text) == ("text", text)


@pytest.mark.parametrize(
    ("content_type", "data"),
    [
        ("image/png", b"abc"),
        (None, b"\x00\x01\x02"),
        ("application/octet-stream", b"\x89PNG\r\n\x1a\n"),
        ("text/plain", b"a\x00b"),
        ("multipart/form-data; boundary=x", b"--x\r\n\r\n\xff\xfe\xfd\r\n--x--"),
    ],
)
def test_binary_is_base64(content_type: str | None, data: bytes) -> None:
    shown = readable(headers(content_type), data)
    assert (shown.kind, shown.text) == ("binary", None)
    assert b64decode(shown.base64 or "") == data


def test_json_is_indented_and_keeps_its_numbers_and_the_order_of_its_keys() -> None:
    shown = readable(headers("application/problem+json"), b'{"z":1.10,"a":[12345678901234567890]}')
    assert shown.kind == "json"
    assert shown.text == '{\n  "z": 1.10,\n  "a": [\n    12345678901234567890\n  ]\n}'


def test_what_claims_to_be_json_and_is_not_stays_text() -> None:
    assert readable(headers("application/json"), b"{nope").kind == "text"


def test_a_deep_nest_of_brackets_cannot_grow_without_bound() -> None:
    wide = b"[" * 900 + b"1," * 400_000 + b"1" + b"]" * 900
    shown = readable(headers("application/json"), wide)
    assert len(shown.text or "") < 4 * body.READING_LIMIT_BYTES
    assert readable(headers("application/json"), b"[" * 200_000).kind == "text"


def test_a_cut_capture_says_so_and_drops_half_a_character() -> None:
    shown = readable(headers("text/plain; charset=utf-8"), "aé".encode()[:2], truncated=True)
    assert (shown.kind, shown.text, shown.complete) == ("text", "a", False)
    assert shown.note == "the captured body is cut at the bucket's cap"


def test_no_body_is_empty() -> None:
    assert readable(headers("text/plain"), b"").kind == "empty"
