"""Searching and reading calls, and what they are made of when they are counted."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec

from bus.message import Ask, Signal
from schemas.request_vault.log import Position
from schemas.request_vault.marks import CallMarks
from schemas.traffic_gateway import CallCaptured


class CallSummary(msgspec.Struct, frozen=True):
    """A row of the read model of calls. `position` orders calls; status None when no response came. template:
    the path with its changing parts named (`/v1/items/{id}`)."""

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
    template: str = ""
    starred: bool = False
    shared: bool = False
    tags: tuple[str, ...] = ()
    note: str = ""


class CallPage(msgspec.Struct, frozen=True):
    """A page that a rare filter makes short may have fewer calls than asked for though there are more: only
    `next_cursor` says that this is the end. text_behind: how many of the newest records, calls or not,
    the text index has not passed yet, when the query asks for text; it lacks no more calls than that."""

    calls: tuple[CallSummary, ...]
    next_cursor: str | None
    text_behind: int = 0


class SearchCalls(Ask[CallPage], frozen=True):
    """Calls of a bucket, newest first; with `after`, those behind that position, oldest first.

    bucket: its key. q (the field `query`): what a person types, such as `status:5xx -path:/health`
    (`services/calls/query`); its `since:2h` counts back from when it is asked. method, host: exact,
    case-insensitive; the host with its port unless that is the scheme's default. path: a prefix. status:
    `404`, or a class such as `5xx`. error: true for calls that failed on their way only, false for the others
    only. error_slug: only calls that failed in this way, such as `connect-refused`. since: started then or
    later. before: started before then. All that is given must match. limit: 1 to 500. cursor: the
    `next_cursor` of the page before; stays right while calls arrive. after: a position (exclusive), for those
    who follow a bucket; not together with `cursor`, and a `next_cursor` of null says only that there is no
    more now: the last call's position is the next `after`. Refused: query-invalid (at a character of the
    query: `q, character 8: ...`), cursor-invalid.
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
    marks: CallMarks | None = None


class GetCall(Ask[CallRecord], frozen=True):
    """Refused: call-unknown (also when it is in another bucket than the one named)."""

    TYPE = "vault.calls.get"

    id: str
    bucket: str | None = None


class GetShared(Ask[CallRecord], frozen=True):
    """The call that a share names. Refused: share-unknown (also when the share has ended, or the call was
    deleted)."""

    TYPE = "vault.calls.shared"

    share: str


class CallsRecorded(Signal, frozen=True):
    """Calls of a bucket have become readable: live views fetch up to `position`."""

    TYPE = "vault.calls.recorded"

    bucket: str
    position: Position
    count: int


class FacetValue(msgspec.Struct, frozen=True):
    value: str
    count: int


class Facets(msgspec.Struct, frozen=True):
    """The most frequent values of each field among the calls that were counted, most frequent first.

    counted: how many calls that was; complete: whether those are all that match, else they are the
    newest."""

    hosts: tuple[FacetValue, ...]
    methods: tuple[FacetValue, ...]
    statuses: tuple[FacetValue, ...]
    templates: tuple[FacetValue, ...]
    counted: int
    complete: bool


class FacetCalls(Ask[Facets], frozen=True):
    """What a bucket's calls are: by host, method, class of status (`5xx`, `none` without a response) and path
    template.

    q (the field `query`), since, before: as in SearchCalls. limit: how many values of each field, 1 to 100.
    Refused: query-invalid.
    """

    TYPE = "vault.calls.facet"

    bucket: str
    query: str = msgspec.field(default="", name="q")
    since: datetime | None = None
    before: datetime | None = None
    limit: int = 10
