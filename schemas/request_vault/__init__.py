"""The request vault's contract: append decisions, read the log, search and read calls.

`events` travel as encoded envelopes (`bus.codec.encode_event`), opaque to whoever only passes them on.
Positions are (partition, number). Cursors are opaque text, bound to what they were made for.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec

from bus.message import Ask, Fact, Signal, Subscription
from schemas.operation import Operation
from schemas.traffic_gateway import CallCaptured

Position = tuple[int, int]

ANY_VERSION = -1
NO_STREAM = 0
MAX_PAGE = 500
BODY_PART_BYTES = 256 * 1024


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


class CallSummary(msgspec.Struct, frozen=True):
    """A row of the read model of calls. `position` orders calls; status None when no response came."""

    id: str
    bucket: str
    started_at: datetime
    method: str
    scheme: str
    host: str
    path: str
    query: str
    status: int | None
    duration_ms: float
    request_bytes: int
    response_bytes: int
    content_type: str | None
    error: str | None
    origin: str
    position: Position


class CallPage(msgspec.Struct, frozen=True):
    calls: tuple[CallSummary, ...]
    next_cursor: str | None


class SearchCalls(Ask[CallPage], frozen=True):
    """Calls of a bucket, newest first; with `after`, those behind that position, oldest first.

    bucket: its key. q (the field `query`): what a person types, such as `status:5xx -path:/health`
    (`services/calls/query.py`); its `since:2h` counts back from when it is asked. method, host: exact,
    case-insensitive; the host with its port unless that is the scheme's default. path: a prefix. status:
    `404`, or a class such as `5xx`. error: true for calls that failed on their way only, false for the others
    only. error_slug: only calls that failed in this way, such as `connect-refused`. since: started then or
    later. before: started before then. All that is given must match. limit: 1 to 500. cursor: the
    `next_cursor` of the page before; stays right while calls arrive. after: a position (exclusive), for those
    who follow a bucket; not together with `cursor`, and `next_cursor` is null then: the last call's position
    is the next `after`. Refused: query-invalid (at a character of the query: `q, character 8: ...`),
    cursor-invalid.
    """

    TYPE = "vault.calls.search"

    bucket: str
    query: str = msgspec.field(default="", name="q")
    method: str | None = None
    host: str | None = None
    path: str | None = None
    status: str | None = None
    error: bool | None = None
    error_slug: str | None = None
    since: datetime | None = None
    before: datetime | None = None
    limit: int = 50
    cursor: str | None = None
    after: Position | None = None


class CallRecord(msgspec.Struct, frozen=True):
    """A call whole. Bodies that do not ride inline are read with ReadBody; `body_missing` names sides
    ("request", "response") whose bytes have not arrived or are gone."""

    call: CallCaptured
    position: Position
    recorded_at: datetime
    event_id: str
    body_missing: tuple[Literal["request", "response"], ...] = ()


class GetCall(Ask[CallRecord], frozen=True):
    """Refused: call-unknown (also when it is in another bucket than the one named)."""

    TYPE = "vault.calls.get"

    id: str
    bucket: str | None = None


class BodyPart(msgspec.Struct, frozen=True):
    data: bytes
    size_bytes: int  # of the whole body


class ReadBody(Ask[BodyPart], frozen=True):
    """Up to BODY_PART_BYTES of a stored body from `offset` on. Refused: body-unknown."""

    TYPE = "vault.body.read"

    bucket: str
    sha256: str
    offset: int = 0


class VaultStats(msgspec.Struct, frozen=True):
    events: int
    calls: int
    bodies: int
    size_bytes: int
    heads: dict[str, int]  # category -> newest number
    partitions: tuple[int, ...]  # newest number by partition
    published_to: int  # decisions up to this number of partition 0 are on the bus


class GetVaultStats(Ask[VaultStats], frozen=True):
    TYPE = "vault.stats"


class CategoryHeads(Signal, frozen=True):
    """Every second: the newest number of each category, so that a follower notices what it missed."""

    TYPE = "vault.heads.beat"

    heads: dict[str, int]


class CallsRecorded(Signal, frozen=True):
    """Calls of a bucket have become readable: live views fetch up to `position`."""

    TYPE = "vault.calls.recorded"

    bucket: str
    position: Position
    count: int


class BodyChunk(Fact, frozen=True):
    """A piece of a body on its way to the vault, sent before the event that names the body.

    Subject: the body's SHA-256 (hex). Key: the bucket. chunk i of n covers bytes [i * chunk size, ...); all
    but the last have the same size of at most 256 KiB. A chunk's event id derives from bucket, hash and
    index, so that a repeat is the same event.
    """

    TYPE = "vault.body.chunk"
    EXCHANGE = "bodies"

    bucket: str
    sha256: str
    index: int
    count: int
    size_bytes: int  # of the whole body
    data: bytes


LOG = Subscription("request_vault", ("#",), max_bytes=4 * 1024**3, pushes_back=True)
BODIES = Subscription("request_vault.bodies", ("#",), exchange="bodies")

FACTS = (BodyChunk,)
OPERATIONS = (
    Operation(
        SearchCalls, "GET", "/buckets/{bucket}/calls", "calls:read", "List a bucket's calls", bucket="bucket"
    ),
)
SUBSCRIPTIONS = (LOG, BODIES)
