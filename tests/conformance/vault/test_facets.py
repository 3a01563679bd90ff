"""Facets count what a search for the same query finds."""

from __future__ import annotations

from collections import Counter

import pytest

from schemas.request_vault import FacetValue
from services.request_vault.domain.calls import CallQuery
from services.request_vault.domain.queries import narrowed
from services.request_vault.store import port
from services.request_vault.store.port import Store
from tests.services.request_vault.samples import BUCKET, START, captured


async def fill(store: Store) -> None:
    await store.record(
        [
            captured(
                f"c-{n}",
                url=f"https://{'ab'[n % 2]}.example.com/v1/items/{n * 1000}",
                method=("GET", "get", "POST")[n % 3],
                status=(200, 204, 404, None)[n % 4],
            )
            for n in range(24)
        ]
        + [captured("other", bucket="anotherbuckt")]
    )


async def test_each_field_is_counted_most_frequent_first(store: Store) -> None:
    await fill(store)
    found = await store.facets(CallQuery(BUCKET), 10)
    assert (found.counted, found.complete) == (24, True)
    assert found.hosts == (FacetValue("a.example.com", 12), FacetValue("b.example.com", 12))
    assert found.methods == (FacetValue("GET", 16), FacetValue("POST", 8))
    assert found.statuses == (FacetValue("2xx", 12), FacetValue("4xx", 6), FacetValue("none", 6))
    assert found.templates == (FacetValue("/v1/items/{id}", 24),)


@pytest.mark.parametrize("query", ["status:2xx", "host:a.example.com method:post", "-is:answered", "path:/x"])
async def test_a_query_is_counted_as_it_is_searched(store: Store, query: str) -> None:
    await fill(store)
    asked = narrowed(CallQuery(BUCKET), query, START)
    calls = (await store.search_calls(asked)).calls
    found = await store.facets(asked, 100)
    assert found.counted == len(calls)
    assert {each.value: each.count for each in found.hosts} == Counter(call.host for call in calls)
    assert {each.value: each.count for each in found.templates} == Counter(call.template for call in calls)


async def test_the_limit_cuts_values_and_no_counts(store: Store) -> None:
    await fill(store)
    found = await store.facets(CallQuery(BUCKET), 1)
    assert (found.counted, found.methods) == (24, (FacetValue("GET", 16),))


async def test_over_the_budget_the_newest_are_counted(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    await fill(store)
    monkeypatch.setattr(port, "FACET_CALLS", 6)
    found = await store.facets(CallQuery(BUCKET), 10)
    assert (found.counted, found.complete) == (6, False)
    monkeypatch.setattr(port, "FACET_CALLS", 25)
    assert (await store.facets(CallQuery(BUCKET), 10)).complete


async def test_a_bucket_without_calls(store: Store) -> None:
    found = await store.facets(CallQuery(BUCKET), 10)
    assert (found.counted, found.complete, found.hosts) == (0, True, ())
