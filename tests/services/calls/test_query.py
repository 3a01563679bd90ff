"""The query language: what a person types, as a tree and back."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from time import perf_counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.calls.query import (
    MAX_NESTING,
    MAX_PHRASE_WORDS,
    MAX_QUERY_CHARS,
    MAX_STARS,
    MAX_TERMS,
    AllOf,
    AnyOf,
    Compared,
    Is,
    Not,
    QueryInvalid,
    Started,
    StatusClass,
    Term,
    Text,
    Words,
    negated,
    parse,
)
from tests.services.calls.queries import NOW, whole_trees


def said(text: str, *, prefix: bool = False) -> Words:
    return Words("any", None, tuple(text.split()), prefix)


EVERYTHING = (
    "status:5xx method:POST host:API.example.com path:/v1/* duration:>500ms size:>1mb"
    ' header.Content-Type:json body:"Out of stock" tag:checkout is:error is:starred since:2h'
    " before:2026-11-01 -path:/health"
)


def test_a_query_of_everything() -> None:
    assert parse(EVERYTHING, NOW) == AllOf(
        (
            StatusClass(5),
            Text("method", ("POST",)),
            Text("host", ("api.example.com",)),
            Text("path", ("/v1/", "")),
            Compared("duration", ">", 500_000),
            Compared("size", ">", 1_000_000),
            Words("header", "content_type", ("json",)),
            Words("body", None, ("out", "of", "stock")),
            Text("tag", ("checkout",)),
            Is("error"),
            Is("starred"),
            Started("since", NOW - timedelta(hours=2)),
            Started("before", datetime(2026, 11, 1, tzinfo=UTC)),
            Not(Text("path", ("/health",))),
        )
    )


A, B, C = StatusClass(1), StatusClass(2), StatusClass(3)


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("", AllOf()),
        (" \t\u00a0\n", AllOf()),
        ("status:1xx", A),
        ("STATUS:1XX", A),
        ("status:1xx OR status:2xx status:3xx", AnyOf((A, AllOf((B, C))))),
        ("(status:1xx OR status:2xx) status:3xx", AllOf((AnyOf((A, B)), C))),
        ("status:1xx AND status:2xx", AllOf((A, B))),
        ("(status:1xx (status:2xx status:3xx))", AllOf((A, B, C))),
        ("-(status:1xx OR status:2xx)", Not(AnyOf((A, B)))),
        ("--status:1xx", A),
        ("-(-status:1xx)", A),
        ("status:1xx(status:2xx)", AllOf((A, B))),
        ("status:404", Compared("status", "", 404)),
        ("status:>=400", Compared("status", ">=", 400)),
        ("duration:<=1.5s", Compared("duration", "<=", 1_500_000)),
        ("request-size:<2KiB", Compared("request-size", "<", 2048)),
        ("query:page=2", Text("query", ("page=2",))),
        ('query:""', Text("query", ("",))),
        ("path:*", Text("path", ("", ""))),
        ("path:a***b", Text("path", ("a", "b"))),
        ('path:"a *\\"\\\\ b"*c', Text("path", ('a *"\\ b', "c"))),
        ("path:ORANGE", Text("path", ("ORANGE",))),
        ("host:a:8443", Text("host", ("a:8443",))),
        ("since:2026-01-01T01:30+02:00", Started("since", datetime(2025, 12, 31, 23, 30, tzinfo=UTC))),
        ("is:answered", Is("answered")),
        ("error:dns-failed", Text("error", ("dns-failed",))),
        ("origin:replay", Text("origin", ("replay",))),
        ("is:shared", Is("shared")),
        ("tag:beta/*", Text("tag", ("beta/", ""))),
        ("template:/v1/items/{id}", Text("template", ("/v1/items/{id}",))),
        ("timeout -path:/health", AllOf((said("timeout"), Not(Text("path", ("/health",)))))),
        ("Out-of-Stock", said("out of stock")),
        ('"out of" stock', AllOf((said("out of"), said("stock")))),
        ('"OR"', said("or")),
        ("or", said("or")),
        ("ORANGE", said("orange")),
        ("out*", said("out", prefix=True)),
        ('"out of st"*', said("out of st", prefix=True)),
        ('"out*"', said("out")),
        ("foo-*", said("foo")),
        ("\u7f3a\u8d27*", said("\u7f3a \u8d27")),
        ("-body:x", Not(Words("body", None, ("x",)))),
        ("BODY:caf\u00c9", Words("body", None, ("caf\u00e9",))),
        ("url:v1/items", Words("url", None, ("v1", "items"))),
        ('note:"asked the team"', Words("note", None, ("asked", "the", "team"))),
        ("header:gzip", Words("header", None, ("gzip",))),
        ("Header.X_Request.Id:a*", Words("header", "x_request_id", ("a",), True)),
        ("header.x-shop:*", Words("header", "x_shop", ("",), True)),
        ("header.a:b:c", Words("header", "a", ("b", "c"))),
        # What was pasted is text, though it has a colon.
        ("10:30", said("10 30")),
        ("http://a.example/x?y=1", said("http a example x y 1")),
        ("HTTPS://a", said("https a")),
        ("api.example.com:8443/x", said("api example com 8443 x")),
        ("localhost:8080", said("localhost 8080")),
        ("127.0.0.1:7080", said("127 0 0 1 7080")),
        ("status=404", said("status 404")),
        ("/health", said("health")),
        ("-404", Not(said("404"))),
    ],
)
def test_what_is_typed_is_read(text: str, tree: Term) -> None:
    assert parse(text, NOW) == tree


@pytest.mark.parametrize(
    ("text", "position", "why"),
    [
        ("statsu:5xx", 1, "there is no field 'statsu'; did you mean status? the fields are status, "),
        ("x is:error foo:bar", 12, "there is no field 'foo'; the fields are"),
        ("headers.age:1", 1, "there is no field 'headers.age'; did you mean header.NAME?"),
        ("urn:uuid:1", 1, "text with a colon stands in quotes"),
        ("header.:json", 8, "the header's name is missing"),
        ("header.age:", 12, "header: has no value"),
        ('body:"!!"', 6, "there is no word in this"),
        ("-!!", 2, "there is no word in this"),
        ("*", 1, "there is no word in this"),
        ("body:*", 6, "there is no word in this"),
        ("header:*", 8, "there is no word in this"),
        ("*out", 1, "a * stands at the end only"),
        ("body:out*stock", 6, "a * stands at the end only"),
        ("a " * (MAX_TERMS - 1) + "a-" * (MAX_PHRASE_WORDS + 1), 127, "at most 64 words; this one has 65"),
        ('"out of', 1, "this quote is never closed"),
        ("status>=400", 1, "a colon is missing, as in status:>=400;"),
        ("Duration>5s", 1, "a colon is missing, as in duration:>5s;"),
        ("AND", 1, "AND stands between two terms"),
        ("is:odd", 4, "there is no is:odd"),
        ("status:5xy", 8, "a status is such as"),
        ("status:>5xx", 9, "a status is such as"),
        ("status:40\uff14", 8, "a status is such as"),
        ("duration:500ms", 10, "is compared with >"),
        ("duration:>500", 11, "a number with one of the units h, m, s, ms, us is missing"),
        ("size:>5parsecs", 7, "a number with one of the units gb, "),
        ("size:>99999999999gb", 7, "more than can be counted"),
        ("since:yesterday", 7, "since: takes"),
        ("since:9999999999w", 7, "since: takes"),
        ("before:0001-01-01T00:00+05:00", 8, "before: takes"),
        ("origin:mars", 8, "origin: is one of"),
        ("method:P*", 8, "method: takes no *"),
        ("path:", 6, "path: has no value"),
        ("path: /x", 6, "path: has no value"),
        ('path:"/x', 6, "this quote is never closed"),
        ('path:"/x\\"', 6, "this quote is never closed"),
        ("(status:5xx", 1, "this parenthesis is never closed"),
        ("status:5xx)", 11, "this parenthesis closes nothing"),
        ("()", 2, "a term is missing here"),
        ("status:5xx OR", 14, "a term is missing here"),
        ("status:5xx OR OR status:4xx", 15, "OR stands between two terms"),
        ("AND status:5xx", 1, "AND stands between two terms"),
        ("- status:5xx", 1, "a minus stands directly before"),
        ("path:/\x00", 7, "a control character"),
        ("path:/\ud800", 7, "a control character"),
        ("path:" + "a*" * (MAX_STARS + 1), 6, "at most 8 stars"),
        ("(" * (MAX_NESTING + 1) + "status:5xx" + ")" * (MAX_NESTING + 1), 17, "nested more than 16 deep"),
        ("is:error " * (MAX_TERMS + 1), MAX_TERMS * 9 + 1, "at most 64 terms"),
        ("x" * (2 * 1024 * 1024), MAX_QUERY_CHARS + 1, "the query has 2097152 characters"),
    ],
)
def test_what_cannot_be_read_is_pointed_at(text: str, position: int, why: str) -> None:
    with pytest.raises(QueryInvalid) as caught:
        parse(text, NOW)
    assert (caught.value.position, why in caught.value.why) == (position, True), str(caught.value)
    assert str(caught.value).startswith(f"character {position}: ")


def test_the_deepest_and_longest_that_is_allowed() -> None:
    parse("-(" * MAX_NESTING + "status:5xx" + ")" * MAX_NESTING, NOW)
    parse("is:error " * MAX_TERMS, NOW)
    parse("-" * (MAX_QUERY_CHARS - 8) + "is:error", NOW)
    parse("path:" + "a*" * MAX_STARS, NOW)


@pytest.mark.parametrize(
    "piece",
    [
        "a",
        "a.",
        "a-",
        "-",
        '"',
        '\\"',
        "a*",
        "header.",
        "a.b:",
        "1",
        "\ufdfa",
        "\u0301",
        "((",
        "a:",
        "x//",
        "AND ",
        "\u00e9 ",
    ],
)
def test_any_text_is_read_or_refused_at_once(piece: str) -> None:
    began = perf_counter()
    for front in ("", "body:", "header.", "path:", '"', "a.", "duration:>"):
        with suppress(QueryInvalid):
            parse((front + piece * MAX_QUERY_CHARS)[:MAX_QUERY_CHARS], NOW)
    with pytest.raises(QueryInvalid):
        parse(piece * 2**21, NOW)
    assert perf_counter() - began < 1


@given(whole_trees)
def test_a_tree_is_read_back_from_its_text(tree: Term) -> None:
    assert parse(str(tree), NOW) == tree


@given(whole_trees)
def test_negation_undoes_itself(tree: Term) -> None:
    assert negated(negated(tree)) == tree


_scraps = st.lists(
    st.sampled_from(EVERYTHING.split())
    | st.sampled_from(["(", ")", "-", "OR", "AND", '"', "\\", "*", ":", " ", "path:", '"/a b"', "é", "body:"])
    | st.sampled_from(["header.", "header", ".", "//", "8", "a.b", "\u7f3a", "\u1e9e", "\u0345", "note:"])
    | st.text(max_size=3)
).map("".join)


@given(_scraps)
def test_any_text_is_a_tree_or_points_into_itself(text: str) -> None:
    position, tree = 1, None
    try:
        tree = parse(text, NOW)
    except QueryInvalid as error:
        position = error.position
    assert 1 <= position <= len(text) + 1
    assert tree is None or parse(str(tree), NOW) == tree
