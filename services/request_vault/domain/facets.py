"""What calls are made of, from how many there are of each kind. Pure: engines count, this adds it up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from schemas.request_vault import Facets, FacetValue

Kind = tuple[str, str, int | None, str]
"""host, method, status, template. Statuses may be given as any of their class."""


def facets_of(counted: Iterable[tuple[Kind, int]], limit: int, *, complete: bool) -> Facets:
    """The `limit` most frequent values of each field, the alphabet deciding between equals. Methods in upper
    case, as they are compared in any."""
    hosts: Counter[str] = Counter()
    methods: Counter[str] = Counter()
    statuses: Counter[str] = Counter()
    templates: Counter[str] = Counter()
    calls = 0
    for (host, method, status, template), count in counted:
        hosts[host] += count
        methods[method.upper() if method.isascii() else method] += count
        statuses["none" if status is None else f"{status // 100}xx"] += count
        templates[template] += count
        calls += count
    return Facets(
        hosts=_most(hosts, limit),
        methods=_most(methods, limit),
        statuses=_most(statuses, limit),
        templates=_most(templates, limit),
        counted=calls,
        complete=complete,
    )


def _most(counts: Counter[str], limit: int) -> tuple[FacetValue, ...]:
    ordered = sorted(counts.items(), key=lambda each: (-each[1], each[0]))
    return tuple(FacetValue(value, count) for value, count in ordered[:limit])
