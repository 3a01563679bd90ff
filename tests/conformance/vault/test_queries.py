"""A query's answer is that of a plain filter over the calls, in the order and the pages of every search."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from itertools import count
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bus.event import Event
from schemas.request_vault import CallAnnotated, CallDeleted, CallShared, CallStarred, CallSummary
from schemas.traffic_gateway import Body, CallError, CapturedResponse
from services.calls.query import (
    Compared,
    Is,
    Not,
    Started,
    StatusClass,
    Term,
    Text,
    Words,
    all_of,
    any_of,
    negated,
)
from services.request_vault.domain.calls import CallQuery
from services.request_vault.domain.queries import narrowed
from services.request_vault.domain.recording import to_us
from services.request_vault.store import port
from services.request_vault.store.port import Store
from tests.conformance.vault.marking import Mark, mark
from tests.effort import tries
from tests.services.calls.queries import (
    HOSTS,
    METHODS,
    NOTES,
    NOW,
    PATHS,
    SLUGS,
    STATUSES,
    TAGS,
    TYPES,
    WORDS,
    Beside,
    leaves,
    mark_leaves,
    matches,
    phrases,
    trees,
)
from tests.services.request_vault.samples import BUCKET, call, call_event, captured

_plain: dict[str, tuple[tuple[dict[str, Any], Term], ...]] = {
    "method": (({"method": "get"}, Text("method", ("get",))),),
    "host": (({"host": HOSTS[0]}, Text("host", (HOSTS[0],))),),
    "path": (({"path": "/v1"}, Text("path", ("/v1", ""))),),
    "status": (
        ({"status_class": 5}, StatusClass(5)),
        ({"status": 404, "status_class": 4}, Compared("status", "", 404)),
    ),
    "error": (
        ({"error": True}, Is("error")),
        ({"error": False}, Not(Is("error"))),
        ({"error_slug": "dns-failed"}, Text("error", ("dns-failed",))),
    ),
    "since": (({"since_us": to_us(NOW) - 5}, Started("since", NOW - timedelta(microseconds=5))),),
    "before": (({"before_us": to_us(NOW) + 5}, Started("before", NOW + timedelta(microseconds=5))),),
}


@st.composite
def events(draw: st.DrawFn, id: str, bucket: str) -> Event:
    status = draw(st.sampled_from(STATUSES))
    path = draw(st.sampled_from(PATHS) | st.sampled_from(WORDS).map(lambda word: f"/{word}".replace("?", "")))
    query = draw(st.sampled_from(("", "?page=2", "?a=b*")))
    seconds = draw(st.sampled_from((-60, -1, 0, 1, 60)))
    whole = call(
        id,
        bucket=bucket,
        method=draw(st.sampled_from(METHODS)),
        url=f"https://{draw(st.sampled_from(HOSTS))}{path}{query}",
        status=status,
        at_s=seconds + seconds / 1_000_000,
        request_body=Body(draw(st.sampled_from((0, 11, 1000)))),
    )
    slug = draw(st.sampled_from(SLUGS))
    kind = draw(st.sampled_from(TYPES))
    response = None
    if status is not None:
        headers = () if kind is None else (("Content-Type", kind),)
        response = CapturedResponse(status, "", "1.1", headers, Body(draw(st.sampled_from((0, 11, 10**6)))))
    return call_event(
        msgspec.structs.replace(
            whole,
            response=response,
            error=None if slug is None else CallError(slug, ""),
            duration_ms=draw(st.sampled_from((0.0, 12.345, 60_000.0))),
            origin=draw(st.sampled_from(("gateway", "replay", "bin"))),
        )
    )


@pytest.fixture
def buckets() -> Iterator[str]:
    """Names of buckets that nothing is in yet."""
    return (f"bucket{number:06}" for number in count())


async def found_by(store: Store, query: CallQuery, *, oldest_first: bool) -> list[CallSummary]:
    """All pages."""
    found: list[CallSummary] = []
    after: int | None = 0 if oldest_first else None
    before: int | None = None
    more = True
    while more:
        page = await store.search_calls(query, before=before, after=after)
        found += page.calls
        more = page.more
        before, after = (None, page.reached) if oldest_first else (page.reached, None)
    return found


class Marked(msgspec.Struct):
    """What was said of a call."""

    star: bool = False
    share: bool = False
    delete: bool = False
    tags: tuple[str, ...] = ()
    note: str = ""

    def facts(self, id: str, bucket: str) -> list[Mark]:
        said = (
            (self.star, CallStarred(id, bucket)),
            (self.share, CallShared(id, bucket, f"share-{id}")),
            (bool(self.tags or self.note), CallAnnotated(id, bucket, self.note, self.tags)),
            (self.delete, CallDeleted(id, bucket)),
        )
        return [fact for wanted, fact in said if wanted]


marked = st.builds(
    Marked,
    star=st.booleans(),
    share=st.booleans(),
    delete=st.sampled_from((False, False, False, True)),
    tags=st.sets(st.sampled_from(TAGS), max_size=2).map(sorted).map(tuple),
    note=st.sampled_from(NOTES),
)
notes = phrases.filter(lambda term: isinstance(term, Words) and term.scope == "note")
terms = st.one_of(leaves, mark_leaves, notes)
marked_trees = st.recursive(
    terms,
    lambda of: st.lists(of, min_size=2, max_size=3).flatmap(
        lambda several: st.sampled_from((all_of(several), any_of(several), negated(several[0])))
    ),
    max_leaves=6,
)


@pytest.mark.searches
@pytest.mark.timeout(tries(60))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=tries(100))
@given(data=st.data())
async def test_marks_are_part_of_a_query_and_slices_leave_nothing_out(
    store: Store, buckets: Iterator[str], monkeypatch: pytest.MonkeyPatch, data: st.DataObject
) -> None:
    bucket = next(buckets)
    size = data.draw(st.integers(1, 12), "calls")
    await store.record([data.draw(events(f"{bucket}-{number}", bucket)) for number in range(size)])
    everything = await found_by(store, CallQuery(bucket), oldest_first=False)
    said = {call.id: data.draw(marked, call.id) for call in everything}
    for id, marks in said.items():
        if facts := marks.facts(id, bucket):
            await mark(store, *facts)
    tree = data.draw(marked_trees, "query")
    monkeypatch.setattr(port, "SCAN_CALLS", data.draw(st.sampled_from((1, 2, 5, 20_000)), "looked at"))
    expected = [
        call.id
        for call in everything
        if not said[call.id].delete
        and matches(
            tree,
            call,
            Beside(
                starred=said[call.id].star,
                shared=said[call.id].share,
                tags=said[call.id].tags,
                note=said[call.id].note,
                template=call.template,
            ),
        )
    ]
    query = CallQuery(bucket, limit=2, where=tree)
    assert [call.id for call in await found_by(store, query, oldest_first=False)] == expected
    assert [call.id for call in await found_by(store, query, oldest_first=True)] == expected[::-1]
    assert (await store.facets(query, 100)).counted == len(expected)


async def test_a_page_looks_at_no_more_than_its_budget(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(port, "SCAN_CALLS", 10)
    await store.record([captured(f"c-{n}", url=f"https://h/{n}") for n in range(35)])
    rare = CallQuery(BUCKET, path="/3")
    pages = [await store.search_calls(rare)]
    while pages[-1].more:
        pages.append(await store.search_calls(rare, before=pages[-1].reached))
    assert [[call.id for call in page.calls] for page in pages] == [
        ["c-34", "c-33", "c-32", "c-31", "c-30"], [], [], ["c-3"]
    ]  # fmt: skip
    assert [page.reached for page in pages[:3]] == [26, 16, 6]
    upwards = await store.search_calls(rare, after=10)
    assert (upwards.calls, upwards.more, upwards.reached) == ((), True, 20)
    whole = await store.search_calls(CallQuery(BUCKET, host="h", limit=5))
    assert (len(whole.calls), whole.more, whole.reached) == (5, True, 31)


@pytest.mark.searches
@pytest.mark.timeout(tries(60))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=tries(100))
@given(data=st.data())
async def test_a_query_finds_what_a_plain_filter_finds(
    store: Store, buckets: Iterator[str], data: st.DataObject
) -> None:
    bucket = next(buckets)
    size = data.draw(st.integers(1, 12), "calls")
    await store.record([data.draw(events(f"{bucket}-{number}", bucket)) for number in range(size)])
    everything = await found_by(store, CallQuery(bucket), oldest_first=False)
    assert len(everything) == size
    tree = data.draw(trees | st.lists(leaves, min_size=2, max_size=3).map(all_of), "query")
    names = data.draw(st.sets(st.sampled_from(sorted(_plain)), max_size=2), "plain filters")
    chosen = [data.draw(st.sampled_from(_plain[name])) for name in sorted(names)]
    filters = {name: value for fields, _ in chosen for name, value in fields.items()}
    expected = [
        one for one in everything if all(matches(term, one) for term in (tree, *(t for _, t in chosen)))
    ]
    query = narrowed(CallQuery(bucket, limit=2, **filters), str(tree), NOW)
    assert await found_by(store, query, oldest_first=False) == expected
    assert await found_by(store, query, oldest_first=True) == expected[::-1]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("-status:5xx", "abce"),
        ("-status:>=300", "abe"),
        ("-type:application/json", "e"),
        ("-type:*json", "e"),
        ("-error:dns-failed", "abcd"),
        ("-error:dns*", "abcd"),
        ("-is:answered", "e"),
        ("status:404 OR error:dns-failed", "ce"),
        ("-(status:404 OR error:dns-failed)", "abd"),
        ("path:*?*", ""),
        ("path:*[ab]*", "b"),
        ("path:/*[*", "b"),
        ('path:/"*"*z', "c"),
        ("path:*%*", "d"),
        ("path:/_*", ""),
        ("path:/A*/", ""),
        ("path:/*/x", "a"),
    ],
)
async def test_calls_without_a_value_and_odd_patterns(store: Store, text: str, expected: str) -> None:
    await store.record(
        [
            captured("a", url="https://h/a/x"),
            captured("b", url="https://h/[ab]"),
            captured("c", url="https://h/*yz", status=404),
            captured("d", url="https://h/%25", status=500),
            captured("e", url="https://h/e", status=None, error="dns-failed"),
        ]
    )
    query = narrowed(CallQuery(BUCKET), text, NOW)
    assert "".join(one.id for one in await found_by(store, query, oldest_first=True)) == expected


async def test_a_pattern_made_to_be_slow_is_not(store: Store) -> None:
    await store.record([captured(f"c-{n}", url=f"https://a/{'a' * 60_000}") for n in range(4)])
    query = narrowed(CallQuery(BUCKET), "path:*" + "a*" * 7 + "b", NOW)
    assert (await store.search_calls(query)).calls == ()


async def test_what_is_typed_is_never_sql(store: Store) -> None:
    await store.record([captured("c-1", url="https://a/'%20OR%201=1--")])
    for text, expected in (('path:"/\' OR 1=1--"', 0), ("path:/'%20OR%201=1--", 1), ('host:"a\' OR "', 0)):
        query = narrowed(CallQuery(BUCKET), text, NOW)
        assert len((await store.search_calls(query)).calls) == expected


async def test_the_largest_query_is_answered(store: Store) -> None:
    await store.record([captured("c-1")])
    deep = "-(is:error OR -(is:answered " * 8 + "status:200" + "))" * 8
    for text in ("-is:error " * 64, deep, " OR ".join(["path:*v1*"] * 64)):
        assert len((await store.search_calls(narrowed(CallQuery(BUCKET), text, NOW))).calls) == 1, text
