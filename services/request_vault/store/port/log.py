"""The log: what it takes, how it is read, and who publishes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import msgspec

from bus.errors import BusError
from bus.event import Event
from schemas.request_vault import Appended, DecisionPage, LogPage, Position, Recorded, StreamWrite
from services.request_vault.domain.cursors import Vector


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


class Log(Protocol):
    """Observations and decisions, and the lead among the instances."""

    async def record(self, events: Sequence[Event]) -> Ingested:
        """Observations, in one transaction with the rows of the calls among them. Events with a stamp are
        in the log already and are passed over. Raises Unavailable."""

    async def append(self, stream: str, expected_version: int, events: Sequence[bytes]) -> Appended:
        """Decisions, all or none. Raises Refused as `schemas.request_vault.Append` says, Unavailable."""

    async def append_all(self, writes: Sequence[StreamWrite]) -> tuple[Appended, ...]:
        """Decisions of several streams, all of all or none."""

    async def read_category(self, category: str, after: int, limit: int) -> LogPage: ...

    async def read_stream(self, stream: str, after: int, limit: int, *, backwards: bool = False) -> LogPage:
        """`backwards`: newest first, before the version `after`; 0: from the end."""

    async def read_decisions(self, after: int, limit: int) -> LogPage:
        """All decisions after a number of partition 0."""

    async def look_back(
        self, types: Sequence[str], keys: Sequence[str], before: int, limit: int
    ) -> DecisionPage:
        """Decisions from the newest on, before a number of partition 0; 0: from the end. types: topic
        patterns over the type; keys: one of them; none given: all. Looks at some SCAN_RECORDS of them."""

    async def read_log(
        self, selection: Selection, after: Vector, limit: int, *, backwards: bool = False
    ) -> LogSlice:
        """`backwards`: newest first, before the numbers of `after`; from the end of a partition that it does
        not name."""

    async def trace(self, id: str, limit: int) -> Trace:
        """The tree that an event (any source) or a call belongs to. Raises Refused("event-unknown")."""

    def heads(self) -> dict[str, int]:
        """The newest number of each category, as committed."""

    def partition_of(self, key: str) -> int: ...

    async def mark_published(self, number: int) -> None:
        """Remember that decisions up to this number are on the bus. Never goes back. Raises Unavailable when
        another instance leads meanwhile."""

    async def lead(self) -> None:
        """Return when this instance is the one that leads, which publishes decisions, keeps retention, and
        builds models and the text index: at once when it is already, or is the only one. Another takes over
        within 5 s of its death, or of its being frozen or cut off."""

    def leads(self) -> bool:
        """Whether it is the one, as far as it knows; one that was frozen learns of its successor a moment
        after it goes on."""

    def listen(self, changed: Callable[[], None]) -> None:
        """Have `changed` called whenever another instance has appended decisions, or this one begins to
        lead."""
