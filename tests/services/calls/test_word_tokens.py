"""Every engine that finds tokens side by side finds what the words say. SQLite's FTS5 is asked itself."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.calls.words import (
    BREAK,
    MAX_PLACES,
    Indexed,
    Streams,
    Wanted,
    Words,
    WordsScope,
    fts5_match,
    indexed,
    matches,
    note_stream,
    streams,
    tsquery,
    tsvector,
    wanted,
    words,
)
from tests.services.calls.made import call_of
from tests.services.calls.queries import HEADERS, TEXTS, phrases

_TOKEN = re.compile(r"[a-z0-9_=]+")
_letters = st.sampled_from("ab\u00e9\u0301\u00df\u7f3a\u8d27 .-_\u0438\U0001e900") | st.characters()
_texts = st.text(_letters, max_size=12)
_spoken = _texts.map(words).filter(lambda line: len(line) > 0)
_lines = st.lists(_spoken, max_size=4)
_indexed = st.builds(
    Indexed,
    url=_lines,
    headers=_lines,
    named=st.lists(st.tuples(st.sampled_from(("a", "a_b", "b")), _spoken), max_size=4),
    bodies=_lines,
)


@st.composite
def _looked_for(draw: st.DrawFn, call: Indexed) -> Words:
    """A phrase out of the call, or beside it by a little."""
    lines = call.url + call.headers + call.bodies + [line for _, line in call.named]
    text: list[str] = draw(st.sampled_from(lines)) if draw(st.booleans()) and lines else draw(_spoken)
    start = draw(st.integers(0, max(len(text) - 1, 0)))
    spoken = text[start : start + draw(st.integers(1, 3))] or ["a"]
    prefix = draw(st.booleans())
    if prefix:
        spoken = [*spoken[:-1], spoken[-1][: draw(st.integers(1, len(spoken[-1])))]]
    scopes: tuple[WordsScope, ...] = ("any", "url", "header", "body")
    scope = draw(st.sampled_from(scopes))
    name = draw(st.sampled_from((None, "a", "a_b", "b"))) if scope == "header" else None
    if name is not None and draw(st.booleans()):
        return Words("header", name, ("",), True)
    return Words(scope, name, tuple(spoken), prefix)


def _side_by_side(stream: str, phrase: Wanted) -> bool:
    """As an engine looks, without any knowledge of words."""
    tokens = stream.split()
    *whole, last = phrase.tokens
    return any(
        tokens[at : at + len(whole)] == whole
        and (tokens[at + len(whole)] == last or (phrase.prefix and tokens[at + len(whole)].startswith(last)))
        for at in range(len(tokens) - len(whole))
    )


@given(st.data())
def test_tokens_stand_side_by_side_where_the_words_do(data: st.DataObject) -> None:
    call = data.draw(_indexed)
    term = data.draw(_looked_for(call))
    made, phrase = streams(call), wanted(term)
    found = any(_side_by_side(getattr(made, stream), phrase) for stream in phrase.streams)
    assert found == matches(call, term)


@given(_indexed)
def test_tokens_are_plain_ascii(call: Indexed) -> None:
    for stream in msgspec.structs.astuple(streams(call)):
        assert all(_TOKEN.fullmatch(token) for token in stream.split(" ") if stream)


@given(_texts.map(words), _texts.map(words))
def test_different_words_have_different_tokens(one: list[str], other: list[str]) -> None:
    made = [wanted(Words("any", None, tuple(text))).tokens for text in (one, other)]
    assert (made[0] == made[1]) == (one == other)
    assert BREAK not in made[0]


@pytest.fixture(params=["ascii", "unicode61 remove_diacritics 0"])
def table(request: pytest.FixtureRequest) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:")) as database:
        database.execute(
            "CREATE VIRTUAL TABLE text USING fts5(url, headers, named, bodies, "
            f"tokenize = \"{request.param} tokenchars '_='\")"
        )
        yield database


def _fts5_finds(table: sqlite3.Connection, made: Streams, term: Words) -> bool:
    table.execute("DELETE FROM text")
    table.execute("INSERT INTO text VALUES (?, ?, ?, ?)", msgspec.structs.astuple(made))
    asked = "SELECT 1 FROM text WHERE text MATCH ?"
    return table.execute(asked, (fts5_match(wanted(term)),)).fetchone() is not None


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_fts5_finds_what_the_words_say(table: sqlite3.Connection, data: st.DataObject) -> None:
    call = data.draw(_indexed)
    term = data.draw(_looked_for(call))
    assert _fts5_finds(table, streams(call), term) == matches(call, term)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    headers=st.lists(st.sampled_from(HEADERS), max_size=3).map(tuple),
    bodies=st.tuples(st.sampled_from(TEXTS), st.sampled_from(TEXTS)),
    term=phrases.filter(lambda term: isinstance(term, Words) and term.scope != "note"),
)
def test_fts5_finds_the_phrases_of_calls(
    table: sqlite3.Connection,
    headers: tuple[tuple[str, str], ...],
    bodies: tuple[bytes, bytes],
    term: Words,
) -> None:
    call = call_of(request_headers=headers, request_body=bodies[0], response_body=bodies[1])
    found = indexed(call, None, None)
    assert _fts5_finds(table, streams(found), term) == matches(found, term)


def test_a_call_as_engines_index_it() -> None:
    call = call_of(
        url="http://a.b/x", request_headers=(("X-City", "Zürich"), ("Via", "1.1 x")), response_headers=()
    )
    made = streams(indexed(call, None, None))
    assert made == Streams(
        url="http a b x",
        headers="x city z_c3bcrich _ via 1 1 x",
        named="x_city=z_c3bcrich _ via=1 via=1 via=x",
        bodies="ok true",
    )
    assert tsvector(made.headers) == "'x':1,8 'city':2 'z_c3bcrich':3 'via':5 '1':6,7"
    assert note_stream("Über, a") == "_c3bcber a"
    phrase = wanted(Words("header", "x_city", ("zü",), True))
    assert phrase == Wanted(("named",), ("x_city=z_c3bc",), True)
    assert fts5_match(phrase) == '{named} : "x_city=z_c3bc" *'
    assert tsquery(phrase) == "'x_city=z_c3bc':*"
    assert tsquery(wanted(Words("any", None, ("a", "b")))) == "'a' <-> 'b'"


def test_the_most_that_is_indexed_keeps_within_what_postgresql_can_place() -> None:
    """16 383 places in a text, 256 of a word."""
    headers = tuple((f"h{number}", "x") for number in range(3000))
    body = "".join(f"{'a' if number % 2 else number} " for number in range(20_000)).encode()
    found = indexed(call_of(request_headers=headers), body, body)
    for stream in msgspec.structs.astuple(streams(found)):
        assert len(stream.split()) < 16_383
        assert all(
            token == BREAK or stream.split().count(token) <= MAX_PLACES for token in stream.split()[:50]
        )
