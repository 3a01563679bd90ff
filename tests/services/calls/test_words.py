"""Words of texts and calls, and phrases of them."""

from __future__ import annotations

import gzip
import json
from time import perf_counter

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.traffic_gateway import Headers
from services.calls.words import (
    BODY_TEXT_BYTES,
    MAX_BODY_WORDS,
    MAX_HEAD_WORDS,
    MAX_PLACES,
    MAX_WORD_CHARS,
    Indexed,
    Words,
    canonical_name,
    holds,
    indexed,
    matches,
    words,
)
from tests.services.calls.made import call_of

JSON = ("Content-Type", "application/json")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", []),
        ("!! -- _", []),
        ("Out of stock: tea-1, snake_case", ["out", "of", "stock", "tea", "1", "snake", "case"]),
        ("Größe STRASSE straße", ["grösse", "strasse", "strasse"]),
        ("cafe\u0301 CAFÉ", ["café", "café"]),
        ("\ufb01le \u2460 x\u00b2", ["file", "1", "x2"]),
        ("a\u00a0b\u2003c\x00d\ud800e", ["a", "b", "c", "d", "e"]),
        ("缺货了 iPhone缺", ["缺", "货", "了", "iphone", "缺"]),
        ("\u039c\u0390\u03b1", ["\u03bc\u0390\u03b1"]),
        ("Привет, мир", ["привет", "мир"]),
        ("한국어 텍스트", ["한국어", "텍스트"]),
        ("x" * 100, ["x" * MAX_WORD_CHARS]),
        ("é" * 100, ["é" * MAX_WORD_CHARS]),
    ],
)
def test_a_text_is_split_into_words(text: str, found: list[str]) -> None:
    assert words(text) == found


def test_every_character_is_read_again_as_it_was_read() -> None:
    for code in range(0x110000):
        found = words(f"a{chr(code)}b {chr(code)}")
        assert words(" ".join(found)) == found, hex(code)


@given(st.text())
def test_words_are_read_again_as_they_were_read(text: str) -> None:
    found = words(text)
    assert words(" ".join(found)) == found
    assert all(word.isalnum() and len(word) <= MAX_WORD_CHARS for word in found)


@given(st.text(st.characters(max_codepoint=127)))
def test_ascii_takes_the_short_way_to_the_same_words(text: str) -> None:
    assert words(text) == words(f"{text} \u20ac")


@pytest.mark.parametrize("text", ["a" + "\u0301\u0323" * 16_000, "\ufdfa" * 16_000, "\u1112\u1161" * 16_000])
def test_text_that_is_slow_to_compose_is_split_in_bounded_time(text: str) -> None:
    began = perf_counter()
    words(text)
    assert perf_counter() - began < 2


def test_a_header_has_one_name() -> None:
    assert canonical_name("Content-Type") == canonical_name("content_type") == "content_type"
    assert canonical_name("X.Größe=") == "x_gr__e_"
    assert len(canonical_name("\u0130" * 1000)) <= 64


def test_the_words_of_a_call() -> None:
    call = call_of(
        "POST",
        "https://api.example.com/v1/tea%20pots",
        (("Host", "api.example.com"), ("X-Empty", "")),
        b"sku=tea%2D1&note=out+of+stock",
        response_headers=(JSON, ("X-City", "Z\u00c3\u00bcrich"), ("X-Town", "K\u00f6ln")),
        response_body=b'{"state": "out\\nof \\u0073tock \\ud83d\\ude00", "n": 1.5}',
    )
    form = (*call.request.headers, ("content-type", "application/x-www-form-urlencoded; charset=utf-8"))
    call = msgspec.structs.replace(call, request=msgspec.structs.replace(call.request, headers=form))
    assert indexed(call, None, None) == Indexed(
        url=[
            ["https", "api", "example", "com", "v1", "tea", "20pots"],
            ["https", "api", "example", "com", "v1", "tea", "pots"],
        ],
        headers=[
            ["host", "api", "example", "com"],
            ["x", "empty"],
            words("content-type application/x-www-form-urlencoded; charset=utf-8"),
            ["content", "type", "application", "json"],
            ["x", "city", "zürich"],
            ["x", "town", "köln"],
        ],
        named=[
            ("host", ["api", "example", "com"]),
            ("content_type", words("application/x-www-form-urlencoded; charset=utf-8")),
            ("content_type", ["application", "json"]),
            ("x_city", ["zürich"]),
            ("x_town", ["köln"]),
        ],
        bodies=[
            ["sku", "tea", "1", "note", "out", "of", "stock"],
            ["state", "out", "of", "stock", "n", "1", "5"],
        ],
    )


def test_a_call_without_response_or_bodies() -> None:
    found = indexed(call_of(request_headers=(), status=None), None, None)
    assert (found.headers, found.named, found.bodies) == ([], [], [])


@pytest.mark.parametrize(
    ("headers", "data", "found"),
    [
        ((("Content-Encoding", "gzip"), JSON), gzip.compress(b'{"a": "tea"}', mtime=0), [["a", "tea"]]),
        ((("Content-Encoding", "gzip"), JSON), b'{"a": "tea"}', []),
        ((("Content-Encoding", "odd"), JSON), b"tea", []),
        ((("Content-Type", "text/plain; charset=iso-8859-1"),), b"gr\xfcn", [["grün"]]),
        ((("Content-Type", "text/plain"),), "grün".encode("utf-16"), [["grün"]]),
        ((("Content-Type", "text/html"),), b"gr\xfcn \xff", [["grün", "ÿ"]]),
        ((("Content-Type", "image/png"),), b"tea", []),
        ((), b"\x00\x01\xff", []),
        ((), b"\xff\xfe\xfd tea", []),
        ((), b"C:\\temp\\new", [["c", "temp", "new"]]),
        ((), b'["C:\\\\temp"]', [["c", "temp"]]),
        ((JSON,), b'"\\ud800 \\uzzzz \\', [["uzzzz"]]),
        ((JSON,), b"[" * 30_000 + b" tea", [["tea"]]),
    ],
)
def test_bodies_are_read_by_what_their_headers_say(
    headers: Headers, data: bytes, found: list[list[str]]
) -> None:
    call = call_of(response_headers=headers, response_body=data)
    assert indexed(call, None, data).bodies == found


def test_bodies_that_did_not_ride_inline_are_given() -> None:
    call = call_of(request_body=b"inline", response_body=b"x" * 20_000)
    assert indexed(call, None, None).bodies == [["inline"]]
    assert indexed(call, None, b"longer than that").bodies == [["inline"], ["longer", "than", "that"]]


def test_what_is_too_much_is_cut() -> None:
    headers = tuple((f"h{number}", "a b c") for number in range(1000))
    call = call_of("GET", "http://h/" + "/p" * 10, headers, response_body=b"")
    found = indexed(call, b"tea " * 9 + b"x" * BODY_TEXT_BYTES + b" late", None)
    assert sum(map(len, found.url + found.headers)) <= MAX_HEAD_WORDS
    assert found.headers[-1][0] == f"h{len(found.headers) - 1}"
    assert found.bodies == [["tea"] * 9 + ["x" * MAX_WORD_CHARS]]
    many = " ".join(f"w{number}" for number in range(10_000)).encode()
    assert len(indexed(call, many, None).bodies[0]) <= MAX_BODY_WORDS


def test_a_word_has_so_many_places_and_no_phrase_reaches_over_a_lost_one() -> None:
    rows = json.dumps([{"id": 1000 + number} for number in range(300)]).encode()
    call = call_of(response_headers=tuple((f"h{n % 7}", "same") for n in range(300)), response_body=b"")
    found = indexed(call, None, rows)
    assert sum(line.count("id") for line in found.bodies) == MAX_PLACES
    assert sum(line.count("same") for line in found.headers) == MAX_PLACES
    assert sum(line.count("same") for _, line in found.named) == MAX_PLACES
    assert all(line for line in found.bodies)
    assert matches(found, Words("body", None, ("1299",)))
    assert matches(found, Words("body", None, ("id", "1254")))
    assert not matches(found, Words("body", None, ("1298", "1299")))


@pytest.mark.parametrize(
    ("term", "found"),
    [
        (Words("any", None, ("out", "of")), True),
        (Words("any", None, ("of", "out")), False),
        (Words("any", None, ("stock", "x")), False),
        (Words("any", None, ("out", "of", "sto")), False),
        (Words("any", None, ("out", "of", "sto"), True), True),
        (Words("any", None, ("ou", "of"), True), False),
        (Words("any", None, ("api",)), True),
        (Words("url", None, ("api", "example")), True),
        (Words("url", None, ("json",)), False),
        (Words("header", None, ("content", "type", "application")), True),
        (Words("header", None, ("api",)), False),
        (Words("header", "content_type", ("application", "json")), True),
        (Words("header", "content_type", ("content",)), False),
        (Words("header", "accept", ("json",)), False),
        (Words("header", "content_type", ("",), True), True),
        (Words("header", "accept", ("",), True), False),
        (Words("body", None, ("stock",)), True),
        (Words("body", None, ("json",)), False),
        (Words("note", None, ("stock",)), False),
    ],
)
def test_a_phrase_is_found_where_its_words_stand_side_by_side(term: Words, found: bool) -> None:
    call = call_of(
        url="http://api.example.com/x",
        request_headers=(),
        request_body=b"Out of stock",
        response_headers=(JSON,),
    )
    assert matches(indexed(call, None, None), term) is found


def test_a_note_holds_a_phrase() -> None:
    assert holds(words("Asked the TEAM."), Words("note", None, ("the", "te"), True))
    assert not holds([], Words("note", None, ("the",)))


def _hostile(text: str) -> Headers:
    return ((text, text), ("Content-Type", text), ("Content-Encoding", text), JSON)


@given(st.text(), st.binary(), st.sampled_from(("", "gzip", "br", "zstd", "deflate")))
def test_no_call_is_too_odd_to_be_indexed(text: str, data: bytes, coding: str) -> None:
    call = call_of(
        url=text,
        request_headers=_hostile(text),
        response_headers=(("Content-Encoding", coding), ("Content-Type", "text/x")),
    )
    found = indexed(call, data, data)
    assert all(found.url + found.headers + found.bodies + [line for _, line in found.named])
