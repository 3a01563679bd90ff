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
6. What is removed leaves its number, its digest and its identity: numbers and versions of decisions stay
   used, and the log can be proved from its beginning to its end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from bus.errors import BusError
from bus.event import Event
from schemas.request_vault import (
    Appended,
    BucketUsage,
    CallMarks,
    CallSummary,
    Facets,
    LogPage,
    ModelState,
    Position,
    Recorded,
    StreamWrite,
)
from services.calls.words import Streams
from services.request_vault.domain.calls import CallQuery
from services.request_vault.domain.cursors import Vector
from services.request_vault.domain.links import End, Link
from services.request_vault.store.bodies.port import BodyName

PAGE_BYTES = 512 * 1024
"""A page of records or calls ends before this many bytes (it holds at least one), so that it fits one
frame of the bus."""

SCAN_CALLS = 20_000
"""How many entries of an index one page of a search looks at, at most."""

FACET_CALLS = 50_000
"""How many calls facets are counted over, at most."""

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


class Scope(msgspec.Struct, frozen=True):
    """Of which observations there are too many: those of one event key, or (None) of the whole installation.
    Each limit that is set holds by itself. before_us: what was recorded before that moment goes. keep_*: what
    is beyond that many goes, the oldest first. deleted_before_us: instead of all that, the calls that were
    deleted before that moment."""

    key: str | None = None
    before_us: int | None = None
    keep_records: int | None = None
    keep_calls: int | None = None
    keep_bytes: int | None = None
    deleted_before_us: int | None = None


class Trimmed(msgspec.Struct, frozen=True):
    """first, last: between which positions; None when nothing went. bodies: those that no call names any
    more. more: whether it is worth asking again at once."""

    records: int
    calls: int
    bytes: int
    first: Position | None
    last: Position | None
    bodies: tuple[BodyName, ...]
    more: bool


class Erased(msgspec.Struct, frozen=True):
    """calls: the ids of those that were there. records: how many records went, those of marks included.
    bodies: those that no call names any more."""

    calls: tuple[str, ...]
    records: int
    bodies: tuple[BodyName, ...]


class StoreStats(msgspec.Struct, frozen=True):
    """events: how many the log was ever given. size_bytes: of the database on disk. partitions: newest
    numbers, from partition 0 on. usage: of each event key that has observations, the largest first. models,
    text_behind: of an archive only; a store has `models()` and `texts_behind()`."""

    events: int
    calls: int
    size_bytes: int
    partitions: tuple[int, ...]
    published_to: int
    usage: tuple[BucketUsage, ...] = ()
    models: tuple[ModelState, ...] = ()
    text_behind: int | None = None


class TextSource(msgspec.Struct, frozen=True):
    position: Position
    recorded_us: int
    event: bytes


class TextStep(msgspec.Struct, frozen=True):
    """Calls of one partition to be indexed, in order of their numbers. target: what the engine wants them
    for. through: the position up to which these are all; there may be none. more: whether it is known that
    there is a next step."""

    target: int
    through: Position
    calls: tuple[TextSource, ...]
    more: bool


class CallText(msgspec.Struct, frozen=True):
    """The words of a call. missing: hashes of its bodies that have not arrived; they are looked for until
    `missing_until_us`."""

    position: Position
    bucket: str
    streams: Streams
    missing: tuple[str, ...] = ()
    missing_until_us: int = 0


class LateText(msgspec.Struct, frozen=True):
    """A call that was indexed without these bodies."""

    position: Position
    bucket: str
    missing: tuple[str, ...]


class Archive(Protocol):
    """The log as it is kept, to be proved and copied: a store, or a vault's data opened without one
    (`store.open_archive`)."""

    async def ends(self) -> tuple[End, ...]:
        """Where each partition ends, from partition 0 on."""

    async def links(self, partition: int, after: int, limit: int) -> list[Link]:
        """What follows a number, in order, for at most about `limit` numbers (a run of trimmed ones counts as
        one); empty at the end. The next page is after `last_number` of the last link. A run that retention
        has just joined may begin at or before `after`. Raises Unavailable."""

    async def check(self) -> list[str]:
        """What is wrong with the database itself, and with what is folded from the log: the read models, the
        identities, the usage; empty when nothing is. Reads everything. Raises Unavailable."""

    async def backup(self, target: Path) -> None:
        """A copy of the database as of one moment, while ingest goes on. `target` must not exist; it appears
        when it is whole and on disk. Raises Unavailable, FileExistsError."""

    def published_to(self) -> int: ...

    async def stats(self) -> StoreStats: ...


class Store(Archive, Protocol):
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

    async def read_log(
        self, selection: Selection, after: Vector, limit: int, *, backwards: bool = False
    ) -> LogSlice:
        """`backwards`: newest first, before the numbers of `after`; from the end of a partition that it does
        not name."""

    async def trace(self, id: str, limit: int) -> Trace:
        """The tree that an event (any source) or a call belongs to. Raises Refused("event-unknown")."""

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

    def models(self) -> tuple[ModelState, ...]:
        """One whose version is not today's is `rebuilding` too, though nobody may have begun."""

    async def rebuild(self, name: str, most: int) -> ModelState:
        """One small step: begin to build the model beside the one that answers, put in at most `most`
        records, or let it take the other's place. `ready` when it has. What was done survives a restart. One
        caller at a time. Raises Refused("model-unknown")."""

    async def drop_old(self, most: int) -> bool:
        """One small step of removing what no longer answers; whether more is left."""

    async def mark_published(self, number: int) -> None:
        """Remember that decisions up to this number are on the bus. Never goes back. Raises Unavailable when
        another instance leads meanwhile."""

    async def lead(self) -> None:
        """Return when this instance is the one that publishes decisions: at once when it is already, or is
        the only one. Another takes over within 5 s of its death, or of its being frozen or cut off."""

    def leads(self) -> bool:
        """Whether it is the one, as far as it knows; one that was frozen learns of its successor a moment
        after it goes on."""

    def listen(self, changed: Callable[[], None]) -> None:
        """Have `changed` called whenever another instance has appended decisions, or this one begins to
        lead."""

    def retain(self, ages: Mapping[str, int | None]) -> None:
        """How many days the observations of event keys are kept; of others, and with None, for ever. An
        engine may put what it records from now on where it is easily removed then."""

    async def trim(self, scope: Scope, most: int) -> Trimmed:
        """Retention, one small step: at most `most` records go, the oldest first; observations only. Calls
        that are starred or shared survive, but for `deleted_before_us`. What stays: their identities, so that
        they do not rise again when they are delivered again, and their digests. A stream of observations that
        went as a whole begins again at version 1."""

    async def erase(self, bucket: str, call_ids: Sequence[str], *, by: str, why: str) -> Erased:
        """These calls of a bucket are gone for good, with all observations of their streams and the decisions
        about them (`vault.call-<id>`); the log keeps a tombstone of each record. At most some hundred ids, so
        that the step stays small. Repeating it is right."""

    async def erase_bucket(self, bucket: str, upto: Vector, most: int, *, by: str, why: str) -> Erased:
        """One small step of erasing all observations with this key up to the numbers of `upto`, the oldest
        first, and the decisions about calls (`vault.call-<id>`) of that bucket; tombstones as `erase`.
        Nothing is left when no records went."""

    async def forget(self, before_us: int, most: int) -> int:
        """Forget up to `most` identities of records that went before a moment, and how many it were. What is
        unknown and not newer than the newest of them, as far as that lies before the moment, is refused from
        then on: it may have been here."""

    async def reclaim(self, most_pages: int) -> int:
        """Give disk that removed records have left back to the system, one small step; how many pages went, 0
        when there is nothing to give back."""

    async def checkpoint(self) -> bool:
        """Get what was erased or trimmed out of the database's files, and the disk that `reclaim` gave back
        to the system. False when a reader still needs them as they are: ask again."""

    async def load(self, links: Sequence[Link]) -> None:
        """Put links that follow each other onto the end of their partition, at exactly their positions; what
        is folded from the log follows. Those that are here already are passed over, and what went at their
        origin meanwhile goes here too. Load observations before the decisions about them (partition 0 last);
        the checkpoint of publication does not come along. Raises LinksDiffer, and then nothing of these was
        taken; Unavailable."""

    async def unindexed(self, limit: int) -> TextStep | None:
        """What the text index is to be given next, at most about `limit` calls; None when it has everything.
        Searches by words see the calls up to the first that is not indexed. Raises Unavailable. One task
        calls this and the next four."""

    async def index_texts(self, step: TextStep, through: Position, texts: Sequence[CallText]) -> None:
        """The words of the step's calls up to `through`, the step's own or that of one of its calls. A step
        that is not indexed is given again. Raises Unavailable."""

    async def late_texts(self, after: Position | None, limit: int) -> tuple[LateText, ...]:
        """Indexed calls that lack bodies, behind a position; those that have waited too long are
        forgotten."""

    async def text_sources(self, positions: Sequence[Position]) -> tuple[TextSource, ...]:
        """Those of these calls that are still there."""

    async def replace_texts(self, texts: Sequence[CallText]) -> None:
        """The words of calls that lacked bodies, once more."""

    def texts_behind(self) -> int:
        """How many of the newest records, calls or not, the text index has not passed."""

    async def texts_purged(self) -> None:
        """Return when nothing of the calls that were erased before is left in the text index. Needs the task
        that indexes."""

    def heads(self) -> dict[str, int]:
        """The newest number of each category, as committed."""

    def partition_of(self, key: str) -> int: ...
