"""The read model of calls: finding, counting and getting them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from schemas.request_vault import CallMarks, CallSummary, Facets, Position
from services.request_vault.domain.calls import CallQuery


class FoundCalls(msgspec.Struct, frozen=True):
    """more: whether there was more to look at; then the next page is `before` (or `after`) the number
    `reached`, also when this one is empty."""

    calls: tuple[CallSummary, ...]
    more: bool
    reached: int


class FoundCall(msgspec.Struct, frozen=True):
    position: Position
    recorded_us: int
    event: bytes
    marks: CallMarks | None = None


class Calls(Protocol):
    """Captured calls, as ingest and decisions have left them."""

    async def search_calls(
        self, query: CallQuery, *, before: int | None = None, after: int | None = None
    ) -> FoundCalls:
        """Newest first, only those before a number of the bucket's partition; with `after`, those behind
        that number, oldest first. Looks at SCAN_CALLS, then gives the page it has. Calls that are deleted are
        not found."""

    async def get_call(self, id: str, bucket: str | None, *, deleted: bool = False) -> FoundCall | None:
        """The first that was recorded with this id; one that is deleted only when `deleted`."""

    async def get_shared(self, share: str) -> FoundCall | None:
        """The call that has this share, ended or not; none that is deleted."""

    async def named(self, bucket: str, hashes: Sequence[str]) -> set[str]:
        """Those of these bodies that a call names, or may name: what is not among them, none does."""

    async def facets(self, query: CallQuery, limit: int) -> Facets:
        """Of the newest FACET_CALLS that an index gives; `query.limit` does not count."""
