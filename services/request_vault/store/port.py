"""The port that every engine of the vault implements, and what it promises. Proved for each by
`tests/conformance/vault`.

1. When `record` or `append` returns, what was taken is durable, indexed and readable: it survives the
   death of every process and power loss. If they raise, nothing was taken (`append`: all or none;
   `record`: an event that is refused keeps out nobody else).
2. Identity is (source, id). The same identity with the same content is one event, recorded once; with
   other content it is a conflict. What was recorded before is answered before versions are looked at.
3. Positions are (partition, number): numbers begin at 1 and have no gaps within a partition, in the order
   of commits, so a reader that has seen N never misses one below it. Decisions are in partition 0,
   observations in 1 + hash(key) % P.
4. A stream holds decisions or observations, never both; its versions begin at 1 and have no gaps. `prev`
   chains the decisions of one category.
5. Unavailable means that nothing is wrong with the events: the disk is full or gone, the database does
   not answer. Nothing was taken.

Not here yet, with room left in the formats: retention and erasure (identities and content hashes are kept
apart from the records, so that they outlive them), a chain over record digests, a text index, a second
engine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from bus.errors import BusError
from bus.event import Event
from schemas.request_vault import Appended, CallSummary, LogPage, Position, Recorded
from services.request_vault.domain.calls import CallQuery
from services.request_vault.domain.cursors import Vector

PAGE_BYTES = 512 * 1024
"""A page of records or calls ends before this many bytes (it holds at least one), so that it fits one
frame of the bus."""

SCAN_RECORDS = 50_000
"""How many records of a partition one filtered page looks at, at most. A page may be empty though there
is more."""


class Ingested(msgspec.Struct, frozen=True):
    """What `record` did. calls: by bucket, how many became readable and the newest one's position.
    refused: the index of each event that was not taken, and why."""

    recorded: int
    repeated: int
    calls: Mapping[str, tuple[int, Position]] = {}
    refused: Sequence[tuple[int, BusError]] = ()


class Selection(msgspec.Struct, frozen=True):
    """Which records of the log are asked for; None for all. types: topic patterns over the type."""

    types: tuple[str, ...] = ()
    subject: str | None = None
    correlation: str | None = None
    key: str | None = None


class LogSlice(msgspec.Struct, frozen=True):
    """records: in log order within a partition, by time of recording across them. reached: how far each
    partition was looked at. more: whether there was more to look at."""

    records: tuple[Recorded, ...]
    reached: Vector
    more: bool


class Trace(msgspec.Struct, frozen=True):
    """root: the id of the event that the tree began with."""

    root: str
    slice: LogSlice


class FoundCalls(msgspec.Struct, frozen=True):
    calls: tuple[CallSummary, ...]
    more: bool


class FoundCall(msgspec.Struct, frozen=True):
    position: Position
    recorded_us: int
    event: bytes


class StoreStats(msgspec.Struct, frozen=True):
    """size_bytes: of the database on disk. partitions: newest numbers, from partition 0 on."""

    events: int
    calls: int
    size_bytes: int
    partitions: tuple[int, ...]
    published_to: int


class Store(Protocol):
    async def record(self, events: Sequence[Event]) -> Ingested:
        """Observations, in one transaction with the rows of the calls among them. Events with a stamp are
        in the log already and are passed over. Raises Unavailable."""

    async def append(self, stream: str, expected_version: int, events: Sequence[bytes]) -> Appended:
        """Decisions, all or none. Raises Refused as `schemas.request_vault.Append` says, Unavailable."""

    async def read_category(self, category: str, after: int, limit: int) -> LogPage: ...

    async def read_stream(self, stream: str, after: int, limit: int) -> LogPage: ...

    async def read_decisions(self, after: int, limit: int) -> LogPage:
        """All decisions after a number of partition 0."""

    async def read_log(self, selection: Selection, after: Vector, limit: int) -> LogSlice: ...

    async def trace(self, id: str, limit: int) -> Trace:
        """The tree that an event (any source) or a call belongs to. Raises Refused("event-unknown")."""

    async def search_calls(
        self, query: CallQuery, *, before: int | None = None, after: int | None = None
    ) -> FoundCalls:
        """Newest first, only those before a number of the bucket's partition; with `after`, those behind
        that number, oldest first."""

    async def get_call(self, id: str, bucket: str | None) -> FoundCall | None: ...

    async def mark_published(self, number: int) -> None:
        """Remember that decisions up to this number are on the bus. Never goes back."""

    def heads(self) -> dict[str, int]:
        """The newest number of each category, as committed."""

    def published_to(self) -> int: ...

    def partition_of(self, key: str) -> int: ...

    async def stats(self) -> StoreStats: ...
