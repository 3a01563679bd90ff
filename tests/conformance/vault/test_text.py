"""Searches by words: what is found, from when on, and until when."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bus.event import Event
from schemas.traffic_gateway import CallCaptured
from services.calls import words
from services.calls.query import AllOf, AnyOf, Not, Term, Words, parse
from services.request_vault.domain.calls import CallQuery
from services.request_vault.store.bodies import DirectoryBodies
from services.request_vault.store.port import Scope, Store
from services.request_vault.worker.indexing import BODY_WAIT_S, LATE_S
from tests.conformance.vault.library import Library, apart, inline, made
from tests.conformance.vault.vaults import Clock, Open
from tests.services.request_vault.samples import BUCKET, START, order

OTHER = "anotherbuckt"


@pytest.fixture
def library(store: Store, tmp_path: Path, clock: Clock) -> Library:
    return Library(store, DirectoryBodies(tmp_path / "bodies", clock), clock)


CALLS = (
    made("a", url="https://api.example.com/v1/tea%20pots?colour=dark%2Dgreen"),
    made("b", response=inline("the green tea is out of stock")),
    made(
        "c", response=inline('{"note": "tea\\nout of town", "stock": 3}'), answered=(("X-Kind", "black tea"),)
    ),
    made("d", request=inline("Schl\u00fcssel STRASSE"), headers=(("X-Trace", "out-of-stock"),)),
    made("e", headers=(("Accept", "text/html"), ("X-Stock", "tea")), response=inline("nothing")),
    made("z", bucket=OTHER, response=inline("green tea, solitary")),
)


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("tea", "ecba"),
        ("body:tea", "cb"),
        ("url:tea", "a"),
        ("header:tea", "ec"),
        ("header.x-stock:tea", "e"),
        ("header.x-kind:tea", "c"),
        ("header.X_KIND:BLACK", "c"),
        ("header.x-kind:*", "c"),
        ("header.x-kind:x", ""),
        ("header:x-kind", "c"),
        ('"out of stock"', "db"),
        ('body:"out of"', "cb"),
        ('"stock of out"', ""),
        ("sto*", "edcb"),
        ('body:"out of st*"', ""),
        ('body:"out of st"*', "b"),
        ('url:"dark green"', "a"),
        ('url:"tea pots"', "a"),
        ("schl\u00fcssel", "d"),
        ("strasse", "d"),
        ("tea -body:stock", "ea"),
        ("-tea", "d"),
        ("-body:tea", "eda"),
        ("body:town OR url:colour", "ca"),
        ("tea (green OR black)", "cba"),
        ("-(body:tea OR header.x-stock:tea)", "da"),
        ("tea status:200", "ecba"),
        ("tea status:404", ""),
        ("status:404 OR header:black", "c"),
        ("tea path:/v1/*", "a"),
        ("tea green -stock", "a"),
        ("solitary", ""),
        ("-solitary", "edcba"),
        ("unheardof", ""),
        ("of", "dcb"),
    ],
)
@pytest.mark.parametrize("limit", [1, 50])
async def test_calls_are_found_by_their_words(library: Library, query: str, ids: str, limit: int) -> None:
    await library.record(*CALLS)
    await library.index()
    assert await library.found(query, limit=limit) == ids


async def test_a_bucket_has_its_own_words(library: Library) -> None:
    await library.record(*CALLS)
    await library.index()
    assert await library.found("solitary", bucket=OTHER) == "z"
    assert await library.found("-solitary", bucket=OTHER) == ""
    assert await library.found("tea", bucket="nosuchbuckt") == ""


async def test_calls_that_are_not_indexed_yet_are_not_found_by_words_nor_by_their_absence(
    library: Library,
) -> None:
    await library.record(CALLS[0], order(1))
    assert library.store.texts_behind() == 2
    await library.index()
    assert library.store.texts_behind() == 0
    await library.record(CALLS[1], CALLS[2])
    assert library.store.texts_behind() == 2
    assert await library.found("tea") == "a"
    assert await library.found("-nothing") == "a"
    assert await library.found("tea OR status:200") == "a"
    assert await library.found("status:200") == "cba"
    await library.index()
    assert await library.found("tea") == "cba"
    assert await library.found("-nothing") == "cba"


async def test_records_that_are_no_calls_leave_nothing_behind(library: Library) -> None:
    await library.record(CALLS[0])
    await library.record(*(order(number) for number in range(5)))
    await library.index()
    assert library.store.texts_behind() == 0
    await library.record(CALLS[1])
    await library.index()
    assert await library.found("tea") == "ba"


async def test_followers_get_calls_when_they_are_indexed(library: Library) -> None:
    await library.record(*CALLS[:2])
    await library.index()
    await library.record(CALLS[2])
    query = CallQuery(BUCKET, where=parse("tea", START))
    page = await library.store.search_calls(query, after=0)
    assert [each.id for each in page.calls] == ["a", "b"]
    await library.index()
    page = await library.store.search_calls(query, after=page.calls[-1].position[1])
    assert [each.id for each in page.calls] == ["c"]


async def test_the_index_survives_a_restart(opens: Open, tmp_path: Path, clock: Clock) -> None:
    bodies = DirectoryBodies(tmp_path / "bodies", clock)
    async with opens() as store:
        library = Library(store, bodies, clock)
        await library.record(*CALLS[:3])
        await library.index()
        await library.record(CALLS[3])
    async with opens() as store:
        library = Library(store, bodies, clock)
        assert await library.found("stock") == "cb"
        await library.index()
        assert await library.found("stock") == "dcb"


async def test_calls_of_every_partition_are_indexed(opens: Open, tmp_path: Path, clock: Clock) -> None:
    async with opens(partitions=3) as store:
        library = Library(store, DirectoryBodies(tmp_path / "bodies", clock), clock)
        for bucket in ("one", "two", "three", "four", "five"):
            await library.record(made(bucket[0] + bucket[-1], bucket=bucket, response=inline("tea")))
        await library.index()
        assert store.texts_behind() == 0
        for bucket in ("one", "two", "three", "four", "five"):
            assert await library.found("body:tea", bucket=bucket) == bucket[0] + bucket[-1]


async def test_a_body_apart_is_searched(library: Library) -> None:
    data = gzip.compress(b"a heavy samovar " + bytes(range(97, 123)) * 2000)
    await library.keep(BUCKET, data)
    head = (("Content-Type", "text/plain"), ("Content-Encoding", "gzip"))
    await library.record(made("a", response=apart(data), answered=head))
    await library.index()
    assert await library.found('body:"heavy samovar"') == "a"


async def test_a_young_call_waits_for_its_body(library: Library) -> None:
    data = b"samovar"
    await library.record(made("a", response=inline("kettle")), made("b", response=apart(data)), CALLS[2])
    assert await library.indexing.step()
    assert await library.found("-nothing") == "a"
    await library.keep(BUCKET, data)
    await library.index()
    assert await library.found("-nothing") == "cba"
    assert await library.found("samovar") == "b"


async def test_a_late_body_is_searched_once_it_has_arrived(library: Library) -> None:
    sent, answered = b"samovar from far", b"another kettle"
    url = "https://api.example.com/teapot"
    await library.record(made("a", url=url, request=apart(sent), response=apart(answered)))
    library.clock.at_s += BODY_WAIT_S + 1
    await library.index()
    assert await library.found("teapot") == "a"
    assert await library.found("-samovar") == "a"
    for data, word in ((answered, "kettle"), (sent, "samovar")):
        await library.keep(BUCKET, data)
        library.clock.at_s += BODY_WAIT_S + 1
        await library.indexing.look_for_late()
        assert await library.found(word) == "a"
        assert await library.found("teapot") == "a"
        assert await library.found('url:"com teapot"') == "a"
        assert await library.found(f"-{word}") == ""
    assert await library.store.late_texts(None, 10) == ()


async def test_a_body_that_comes_too_late_is_not_waited_for(library: Library) -> None:
    await library.record(made("a", request=apart(b"samovar")))
    library.clock.at_s += BODY_WAIT_S + 1
    await library.index()
    assert [late.position for late in await library.store.late_texts(None, 10)] == [(1, 1)]
    library.clock.at_s += LATE_S
    assert await library.store.late_texts(None, 10) == ()


async def test_an_erased_call_leaves_the_index(library: Library) -> None:
    await library.record(*CALLS)
    await library.index()
    await library.store.erase(BUCKET, ["b"], by="someone", why="asked for")
    assert await library.found("stock") == "edc"
    assert await library.found("-nothing") == "dca"
    await library.index()
    await library.store.texts_purged()
    assert await library.found("stock") == "edc"
    assert await library.found("-nothing") == "dca"
    await library.record(made("f", response=inline("stock again")))
    await library.index()
    assert await library.found("stock") == "fedc"


async def test_a_call_that_was_erased_before_it_was_indexed_is_passed_over(library: Library) -> None:
    await library.record(*CALLS[:3])
    await library.store.erase(BUCKET, ["a", "c"], by="someone", why="asked for")
    await library.index()
    await library.store.texts_purged()
    assert await library.found("tea") == "b"
    assert library.store.texts_behind() == 0


async def test_trimmed_calls_are_not_found(library: Library) -> None:
    await library.record(*CALLS)
    await library.index()
    while (await library.store.trim(Scope(key=BUCKET, keep_calls=2), 2)).more:
        pass
    assert await library.found("stock") == "ed"
    await library.index()
    assert await library.found("stock") == "ed"
    assert await library.found("tea", bucket=OTHER) == "z"


async def test_rebuilding_changes_nothing_that_is_found(library: Library) -> None:
    await library.record(*CALLS)
    await library.index()
    assert (await library.store.rebuild("text", 100)).state == "rebuilding"
    assert await library.found("tea") == "ecba"
    await library.index()
    (state,) = (model for model in library.store.models() if model.name == "text")
    assert (state.state, state.done) == ("ready", state.of)
    assert await library.found("tea") == "ecba"
    await library.record(made("f", response=inline("tea")))
    await library.index()
    assert await library.found("tea") == "fecba"


@pytest.mark.parametrize(
    ("event", "query"),
    [
        (made("a", response=inline(b"broken \xff\xfe tea \x80 leaf")), "tea"),
        (made("a", headers=(("X-Odd", "te\x00a \x00\x00 leaf"),)), "header.x-odd:leaf"),
        (made("a", url="no url at all \x00 leaf"), "url:leaf"),
        (made("a", headers=(("", ""), ("\u00e9 =_'\"", "* ' \" leaf")), response=inline("")), "leaf"),
        (made("a", response=inline("x" * 100_000 + " leaf")), f"body:{'x' * 64}"),
        (made("a", response=inline(json.dumps({"a": "\ud800 leaf"}))), "leaf"),
        (made("a", bucket=BUCKET, response=inline("_ = __ leaf:*\"'")), "body:leaf"),
    ],
)
async def test_hostile_calls_are_indexed(library: Library, event: Event, query: str) -> None:
    await library.record(event)
    await library.index()
    assert await library.found(query) == "a"
    assert await library.found('"\'; DROP TABLE record"') == ""


async def test_of_a_long_body_the_beginning_is_searched(library: Library) -> None:
    data = b"samovar " + b"filler words " * (8 * 1024 * 1024 // 13 - 2) + b" kettle"
    await library.keep(BUCKET, data)
    await library.record(made("a", response=apart(data)))
    await library.index()
    assert await library.found("samovar") == "a"
    assert await library.found("kettle") == ""


VOCABULARY = ("tea", "teapot", "out", "of", "stock", "te", "\u00e9t\u00e9", "x-kind", "9")
texts = st.lists(st.sampled_from(VOCABULARY), max_size=5).map(" ".join)
calls = st.fixed_dictionaries(
    {
        "url": texts.map(lambda text: f"https://h/{text.replace(' ', '/')}"),
        "headers": st.lists(st.tuples(st.sampled_from(VOCABULARY), texts), max_size=2),
        "request": texts.map(inline),
        "response": texts.map(inline),
        "bucket": st.sampled_from((BUCKET, BUCKET, OTHER)),
    }
)
phrases = st.builds(
    lambda where, text, prefix: Words(where[0], where[1], tuple(words.words(text)), prefix),
    st.sampled_from(("any", "url", "header", "body")).map(lambda scope: (scope, None))
    | st.sampled_from(VOCABULARY).map(lambda name: ("header", words.canonical_name(name))),
    texts.filter(bool),
    st.booleans(),
)
queries = st.recursive(
    phrases,
    lambda terms: st.one_of(
        terms.map(Not), st.lists(terms, min_size=2, max_size=3).map(lambda each: AnyOf(tuple(each))),
        st.lists(terms, min_size=2, max_size=3).map(lambda each: AllOf(tuple(each))),
    ),
    max_leaves=4,
)  # fmt: skip


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(calls, min_size=1, max_size=12), st.lists(queries, min_size=1, max_size=12), st.integers(1, 4)
)
async def test_every_engine_finds_what_the_words_say(
    new_vault: Callable[[], Open], tmp_path: Path, clock: Clock, made_of: list[dict[str, object]],
    asked: list[Term], limit: int,
) -> None:  # fmt: skip
    events = [made(chr(97 + at), **fields) for at, fields in enumerate(made_of)]  # type: ignore[arg-type]
    read = [event.read(CallCaptured) for event in events]
    async with new_vault()() as store:
        library = Library(store, DirectoryBodies(tmp_path / "bodies", clock), clock)
        for event in events:
            await library.record(event)
        await library.index()
        for term in asked:
            expected = [
                each.id
                for each in reversed(read)
                if each.bucket == BUCKET and true_of(term, words.indexed(each, None, None))
            ]
            assert await library.matching(term, limit=limit) == "".join(expected), str(term)


def true_of(term: Term, call: words.Indexed) -> bool:
    match term:
        case Words():
            return words.matches(call, term)
        case Not(turned):
            return not true_of(turned, call)
        case AllOf(terms):
            return all(true_of(each, call) for each in terms)
        case AnyOf(terms):
            return any(true_of(each, call) for each in terms)
        case _:
            raise AssertionError(term)
