"""The log as outside clients read it: events as CloudEvents in plain JSON, and the tree that one belongs
to."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from bus.message import Ask
from schemas.request_vault.log import Position


class LoggedEvent(msgspec.Struct, frozen=True):
    """A CloudEvent 1.0 (JSON format), and where the log keeps it.

    data: plain values; bytes in it are {"base64": "..."}. data_omitted: it is too large for this answer, or
    no JSON can say it, and `data` is null. position: (partition, number). version: in its stream; the data's
    own is the end of `dataschema`. correlationid: the id of the event that its tree began with; causationid:
    of the one that caused it."""

    id: str
    source: str
    type: str
    subject: str | None
    time: datetime
    dataschema: str
    key: str
    data: Any
    position: Position
    stream: str
    version: int
    recorded_at: datetime
    partitionkey: str | None = None
    correlationid: str | None = None
    causationid: str | None = None
    traceparent: str | None = None
    data_omitted: bool = False
    specversion: str = "1.0"
    datacontenttype: str = "application/json"


class EventList(msgspec.Struct, frozen=True):
    """events: in log order within a partition. A page of a filtered read may be empty though there is more:
    only `next_cursor` says that this is the end. tail_cursor: where this page ends, given at the end too, for
    those who read on later."""

    events: tuple[LoggedEvent, ...]
    next_cursor: str | None
    tail_cursor: str


class EventTree(msgspec.Struct, frozen=True):
    """root: the id of the event that the tree began with. events: in the order in which they were
    recorded."""

    root: str
    events: tuple[LoggedEvent, ...]
    next_cursor: str | None


class ReadEvents(Ask[EventList], frozen=True):
    """The log, oldest first: the events of the buckets that the token may see; of the whole installation
    with the scope installation.

    type (the field `types`): topic patterns over the type, such as `identity.bucket.*` or `vault.#`. subject:
    what the event is about, exactly. correlation: the id of the event that a tree began with. key: the
    bucket, `_` for events of none. after: the `next_cursor` of the page before, or the `tail_cursor` of an
    earlier one, with the same filters. limit: 1 to 500. Refused: cursor-invalid, pattern-invalid,
    query-invalid.
    """

    TYPE = "vault.events.read"

    types: tuple[str, ...] = msgspec.field(default=(), name="type")
    subject: str | None = None
    correlation: str | None = None
    key: str | None = None
    after: str = ""
    limit: int = 100
    visible_keys: tuple[str, ...] | None = None


class TraceEvent(Ask[EventTree], frozen=True):
    """What one event or call belongs to: the event that it began with, and all that this one caused.

    id: an event's or a call's. after: the `next_cursor` of the page before. limit: 1 to 500. Refused:
    event-unknown, cursor-invalid, query-invalid.
    """

    TYPE = "vault.events.trace"

    id: str
    after: str = ""
    limit: int = 500
    visible_keys: tuple[str, ...] | None = None
