"""The query language: what a person types, as a tree and back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.calls.query import (
    MAX_NESTING,
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
    negated,
    parse,
)
from tests.services.calls.queries import NOW, trees

EVERYTHING = (
    "status:5xx method:POST host:API.example.com path:/v1/* duration:>500ms size:>1mb is:error since:2h"
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
            Is("error"),
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
    ],
)
def test_what_is_typed_is_read(text: str, tree: Term) -> None:
    assert parse(text, NOW) == tree


@pytest.mark.parametrize(
    ("text", "position", "why"),
    [
        ("statsu:5xx", 1, "there is no field 'statsu'; the fields are status, "),
        ("status:5xx checkout", 12, "'checkout' names no field, and text alone is not searchable yet"),
        ('"out of stock"', 1, "a phrase names no field"),
        ('-body:"out of stock"', 2, "body: is not searchable yet; the fields are"),
        ("header.content-type:json", 1, "header.content-type: is not searchable yet"),
        ("tag:checkout", 1, "tag: is not searchable yet"),
        ("is:starred", 4, "is:starred is not searchable yet"),
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


@given(trees)
def test_a_tree_is_read_back_from_its_text(tree: Term) -> None:
    assert parse(str(tree), NOW) == tree


@given(trees)
def test_negation_undoes_itself(tree: Term) -> None:
    assert negated(negated(tree)) == tree


_scraps = st.lists(
    st.sampled_from(EVERYTHING.split())
    | st.sampled_from(["(", ")", "-", "OR", "AND", '"', "\\", "*", ":", " ", "path:", '"/a b"', "é"])
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
