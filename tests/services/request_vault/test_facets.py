"""Counts of kinds of calls, added up by field."""

from __future__ import annotations

from schemas.request_vault import FacetValue
from services.request_vault.domain.facets import Kind, facets_of

KINDS: list[tuple[Kind, int]] = [
    (("a", "GET", 200, "/"), 3),
    (("a", "get", 299, "/x"), 2),
    (("b", "POST", None, "/"), 5),
]


def test_kinds_are_added_up_by_field() -> None:
    found = facets_of(KINDS, 10, complete=True)
    assert found.hosts == (FacetValue("a", 5), FacetValue("b", 5))
    assert found.methods == (FacetValue("GET", 5), FacetValue("POST", 5))
    assert found.statuses == (FacetValue("2xx", 5), FacetValue("none", 5))
    assert found.templates == (FacetValue("/", 8), FacetValue("/x", 2))
    assert (found.counted, found.complete) == (10, True)


def test_the_limit_is_of_values() -> None:
    found = facets_of(KINDS, 1, complete=False)
    assert (found.templates, found.counted, found.complete) == ((FacetValue("/", 8),), 10, False)


def test_nothing_is_counted_as_nothing() -> None:
    assert facets_of([], 10, complete=True).hosts == ()
