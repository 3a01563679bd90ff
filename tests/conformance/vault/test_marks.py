"""What people say of a call is in its row as soon as the decision is recorded."""

from __future__ import annotations

from datetime import timedelta

import pytest

from bus.errors import Refused
from schemas.request_vault import (
    NO_STREAM,
    CallAnnotated,
    CallDeleted,
    CallMarks,
    CallRestored,
    CallShared,
    CallStarred,
    CallUnshared,
    CallUnstarred,
)
from services.request_vault.domain.calls import CallQuery
from services.request_vault.domain.queries import narrowed
from services.request_vault.store.port import Store
from tests.conformance.vault.marking import Mark, encoded, mark
from tests.conformance.vault.vaults import Open
from tests.services.request_vault.samples import BUCKET, START, ThingDecided, call, captured, event_of

OTHER = "anotherbuckt"
END = START + timedelta(days=7)


async def ids(store: Store, query: str) -> str:
    found = await store.search_calls(narrowed(CallQuery(BUCKET), query, START))
    return "".join(call.id for call in found.calls)


async def marks(store: Store, id: str = "a") -> CallMarks:
    found = await store.get_call(id, BUCKET, deleted=True)
    assert found is not None
    assert found.marks is not None
    return found.marks


@pytest.mark.parametrize(
    ("facts", "after"),
    [
        ((CallStarred("a", BUCKET),), {"starred": True}),
        ((CallStarred("a", BUCKET), CallUnstarred("a", BUCKET)), {}),
        ((CallAnnotated("a", BUCKET, "why?", ("b", "é*")),), {"note": "why?", "tags": ("b", "é*")}),
        ((CallAnnotated("a", BUCKET, "x", ("b",)), CallAnnotated("a", BUCKET, "", ("c",))), {"tags": ("c",)}),
        ((CallShared("a", BUCKET, "s1"),), {"share": "s1"}),
        ((CallShared("a", BUCKET, "s1", END),), {"share": "s1", "share_expires_at": END}),
        ((CallShared("a", BUCKET, "s1", END), CallUnshared("a", BUCKET)), {}),
        ((CallDeleted("a", BUCKET),), {"deleted": True}),
        ((CallDeleted("a", BUCKET), CallRestored("a", BUCKET)), {}),
    ],
)
async def test_a_decision_marks_its_call_and_no_other(
    store: Store, facts: tuple[Mark, ...], after: dict[str, object]
) -> None:
    elsewhere = event_of(call("a", bucket=OTHER), "e", key=OTHER, subject="a")
    await store.record([captured("a"), captured("b"), elsewhere])
    await mark(store, *facts)
    assert await marks(store) == CallMarks("a", BUCKET, **after)  # type: ignore[arg-type]
    assert await marks(store, "b") == CallMarks("b", BUCKET)
    other = await store.get_call("a", OTHER)
    assert other is not None
    assert other.marks == CallMarks("a", OTHER)


async def test_a_summary_tells_the_marks(store: Store) -> None:
    await store.record([captured("a", url="https://h/v1/items/12345?x")])
    await mark(store, CallStarred("a", BUCKET), CallShared("a", BUCKET, "s"))
    await mark(store, CallAnnotated("a", BUCKET, "look", ("t", "u")))
    (call,) = (await store.search_calls(CallQuery(BUCKET))).calls
    assert (call.starred, call.shared, call.note, call.tags) == (True, True, "look", ("t", "u"))
    assert (call.path, call.template) == ("/v1/items/12345", "/v1/items/{id}")


async def test_calls_are_found_by_their_marks(store: Store) -> None:
    await store.record([captured(id, url=f"https://h/{id}") for id in "abcd"])
    await mark(store, CallStarred("a", BUCKET))
    await mark(store, CallShared("b", BUCKET, "s"))
    await mark(store, CallAnnotated("b", BUCKET, "Out of stock, again", ("shop", "Shop")))
    await mark(store, CallAnnotated("c", BUCKET, "stock is out of it", ("shop/cart",)))
    for query, found in (
        ("is:starred", "a"),
        ("-is:starred", "dcb"),
        ("is:shared", "b"),
        ("is:starred OR is:shared", "ba"),
        ("tag:shop", "b"),
        ("tag:Shop tag:shop", "b"),
        ("tag:SHOP", ""),
        ("tag:shop*", "cb"),
        ("tag:*cart", "c"),
        ("-tag:shop", "dca"),
        ("tag:shop OR is:starred", "ba"),
        ("tag:shop OR path:/d", "db"),
        ('note:"out of stock"', "b"),
        ("note:stock note:out", "cb"),
        ("note:sto*", "cb"),
        ("note:tock", ""),
        ('-note:"out of" -is:starred', "d"),
        ("template:/a", "a"),
    ):
        assert await ids(store, query) == found, query
    await mark(store, CallAnnotated("b", BUCKET), CallUnshared("b", BUCKET))
    assert await ids(store, "tag:shop OR is:shared OR note:stock") == "c"


async def test_a_deleted_call_is_found_nowhere_until_it_is_restored(store: Store) -> None:
    await store.record([captured(id, status=500, error="dns-failed") for id in "ab"])
    await mark(store, CallAnnotated("a", BUCKET, "n", ("t",)), CallStarred("a", BUCKET))
    await mark(store, CallShared("a", BUCKET, "s"), CallDeleted("a", BUCKET))
    queries = ("", "status:5xx", "is:error", "tag:t", "is:starred", "is:shared", "note:n", "-status:404")
    for query in queries:
        assert "a" not in await ids(store, query), query
    assert await store.get_call("a", BUCKET) is None
    assert (await store.facets(CallQuery(BUCKET), 10)).counted == 1
    followed = await store.search_calls(CallQuery(BUCKET), after=0)
    assert [call.id for call in followed.calls] == ["b"]
    await mark(store, CallRestored("a", BUCKET))
    for query in queries:
        assert "a" in await ids(store, query), query
    assert await store.get_call("a", BUCKET) is not None


async def test_only_the_vaults_own_decisions_mark(store: Store) -> None:
    await store.record([captured("a")])
    await store.append("shop.thing-a", NO_STREAM, [encoded(CallStarred("a", BUCKET), "m-1")])
    await mark(store, CallStarred("nobody", BUCKET))
    await store.append("vault.thing-a", NO_STREAM, [encoded(ThingDecided("x"), "m-2")])
    assert await marks(store) == CallMarks("a", BUCKET)


async def test_an_unreadable_mark_is_refused_and_changes_nothing(store: Store) -> None:
    await store.record([captured("a")])
    unzoned = CallShared("a", BUCKET, "s", END.replace(tzinfo=None))
    for fact in (unzoned,):
        with pytest.raises(Refused) as caught:
            await mark(store, CallStarred("a", BUCKET), fact)
        assert caught.value.reason == "event-malformed"
    assert await marks(store) == CallMarks("a", BUCKET)
    assert (await store.read_stream("vault.call-a", 0, 10)).records == ()


async def test_marks_are_durable_and_repeated_once(opens: Open) -> None:
    decisions = [encoded(CallAnnotated("a", BUCKET, "n", ("t",)), "m-1", subject="a")]
    async with opens() as store:
        await store.record([captured("a")])
        await store.append("vault.call-a", NO_STREAM, decisions)
        await mark(store, CallAnnotated("a", BUCKET, "later", ("u",)))
        assert (await store.append("vault.call-a", NO_STREAM, decisions)).repeated
    async with opens() as store:
        assert await marks(store) == CallMarks("a", BUCKET, note="later", tags=("u",))
        assert await ids(store, "tag:t") == ""
