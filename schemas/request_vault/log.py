"""Appending decisions to the log, and reading it."""

from __future__ import annotations

from datetime import datetime

import msgspec

from bus.message import Ask, Signal

Position = tuple[int, int]

ANY_VERSION = -1
NO_STREAM = 0
MAX_PAGE = 500
MAX_KEYS = 5000


class Appended(msgspec.Struct, frozen=True):
    """version: the stream's version after the append. positions: of each event, in order; of the first time
    when `repeated`."""

    stream: str
    version: int
    positions: tuple[Position, ...]
    repeated: bool = False


class Append(Ask[Appended], frozen=True):
    """Append decisions to one stream, all or none; they are published by the vault afterwards.

    expected_version: the stream's version the decision was made on (NO_STREAM: it must not exist;
    ANY_VERSION: no check). Identity is (source, id): the same events again answer as the first time, whatever
    the expected version. Stream names are `<category>.<thing>-<id>`. Refused: version-conflict (read again,
    decide again), event-conflict (same id, other content), stream-observed (the stream holds observations),
    event-malformed.
    """

    TYPE = "vault.append"

    stream: str
    expected_version: int
    events: tuple[bytes, ...]


class StreamWrite(msgspec.Struct, frozen=True):
    """What one stream gets in an append to several; as in Append."""

    stream: str
    expected_version: int
    events: tuple[bytes, ...]


class AppendedAll(msgspec.Struct, frozen=True):
    """In the order of the writes."""

    writes: tuple[Appended, ...]


class AppendAll(Ask[AppendedAll], frozen=True):
    """Append decisions to several streams in one transaction, all or none. Each stream is named once.
    Repeated as a whole it answers as the first time. Refused: as Append."""

    TYPE = "vault.append.all"

    writes: tuple[StreamWrite, ...]


class Recorded(msgspec.Struct, frozen=True):
    """One event of the log. prev: the number before it in the same category, None for observations and for
    the first."""

    position: Position
    stream: str
    version: int
    recorded_at: datetime
    event: bytes
    prev: int | None = None


class LogPage(msgspec.Struct, frozen=True):
    """records in log order. next_after: pass it as `after` to go on. head: the newest number of what was
    asked for (0: none)."""

    records: tuple[Recorded, ...]
    next_after: int
    head: int


class ReadCategory(Ask[LogPage], frozen=True):
    """Decisions of one category (the stream name's part before the first dot) after a number of partition 0.
    What a follower reads to fold its projection."""

    TYPE = "vault.read.category"

    category: str
    after: int = 0
    limit: int = MAX_PAGE


class ReadStream(Ask[LogPage], frozen=True):
    """One stream's events after a version; `next_after` and `head` are versions here."""

    TYPE = "vault.read.stream"

    stream: str
    after: int = 0
    limit: int = MAX_PAGE


class DecisionPage(msgspec.Struct, frozen=True):
    """records: newest first; fewer than asked for, or none, though there are more: only `next_before` says
    that this is the end. next_before: pass it as `before` to go on; 0: there is no more."""

    records: tuple[Recorded, ...]
    next_before: int


class ReadDecisions(Ask[DecisionPage], frozen=True):
    """Decisions from the newest on, before a number of partition 0 (0: from the end): those whose type one of
    the topic patterns matches and whose key is one of `keys`; none given: all. At most MAX_KEYS keys.
    Refused: pattern-invalid, query-invalid."""

    TYPE = "vault.read.decisions"

    before: int = 0
    types: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    limit: int = MAX_PAGE


class EventPage(msgspec.Struct, frozen=True):
    """records: in log order within a partition. A page of a filtered read may be empty though there is more.
    next_cursor: None at the end. tail_cursor: where this page ends, given at the end too: a follower reads on
    from it later."""

    records: tuple[Recorded, ...]
    next_cursor: str | None
    tail_cursor: str | None = None


class ReadLog(Ask[EventPage], frozen=True):
    """The whole log from a cursor on (empty: the beginning), optionally only some types (topic patterns over
    the type), one subject or one correlation. Refused: cursor-invalid, pattern-invalid."""

    TYPE = "vault.read.log"

    cursor: str = ""
    types: tuple[str, ...] = ()
    subject: str | None = None
    correlation: str | None = None
    key: str | None = None
    limit: int = MAX_PAGE


class TraceEvents(Ask[EventPage], frozen=True):
    """All events of the tree that an event belongs to: those of its correlation, oldest first (at most
    MAX_PAGE). `id` may be an event's or a call's. `next_cursor` goes on with ReadLog(correlation=<id of the
    first event>). Refused: event-unknown."""

    TYPE = "vault.trace"

    id: str


class CategoryHeads(Signal, frozen=True):
    """Every second: the newest number of each category, so that a follower notices what it missed."""

    TYPE = "vault.heads.beat"

    heads: dict[str, int]
