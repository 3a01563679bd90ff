"""A call as the API shows it: everything that was captured, with bodies decoded for reading.

The fields are those of `CallCaptured`, so that a client that knows the event can read the view as one.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from schemas.request_vault import CallMarks, CallRecord, Position
from schemas.traffic_gateway import (
    Body,
    CallError,
    CapturedRequest,
    CapturedResponse,
    Headers,
    Masked,
    Timings,
)
from services.calls.body import Readable, as_kept, readable


class BodyView(msgspec.Struct, frozen=True):
    """size_bytes: relayed. captured_bytes: kept. sha256: of the kept bytes. decoded: content codings were
    undone before. missing: they are not there (not yet, or no longer). content: the body for reading, None
    when it is missing; the kept bytes themselves are at `?raw=request` or `?raw=response`."""

    size_bytes: int
    captured_bytes: int
    sha256: str | None
    truncated: bool
    decoded: bool
    missing: bool
    content: Readable | None


class RequestView(msgspec.Struct, frozen=True):
    method: str
    url: str
    http_version: str
    headers: Headers
    body: BodyView


class ResponseView(msgspec.Struct, frozen=True):
    status: int
    reason: str
    http_version: str
    headers: Headers
    body: BodyView


class CallView(msgspec.Struct, frozen=True):
    """One call, whole. redacted: what was masked before it was kept. marks: None while it has none."""

    id: str
    bucket: str
    started_at: datetime
    duration_ms: float
    request: RequestView
    response: ResponseView | None
    error: CallError | None
    timings: Timings
    status_sent: int
    client_address: str | None
    server_address: str | None
    origin: str
    replay_of: str | None
    strict: bool
    position: Position
    recorded_at: datetime
    event_id: str
    redacted: tuple[Masked, ...] = ()
    marks: CallMarks | None = None


def view(
    record: CallRecord, request_body: bytes | None, response_body: bytes | None, *, limit_bytes: int
) -> CallView:
    """`record` with its bodies decoded, each up to `limit_bytes`; None stands for bytes that are missing."""
    call = record.call
    response = None if call.response is None else response_view(call.response, response_body, limit_bytes)
    return CallView(
        id=call.id,
        bucket=call.bucket,
        started_at=call.started_at,
        duration_ms=call.duration_ms,
        request=request_view(call.request, request_body, limit_bytes),
        response=response,
        error=call.error,
        timings=call.timings,
        status_sent=call.status_sent,
        client_address=call.client_address,
        server_address=call.server_address,
        origin=call.origin,
        replay_of=call.replay_of,
        strict=call.strict,
        position=record.position,
        recorded_at=record.recorded_at,
        event_id=record.event_id,
        redacted=call.redacted,
        marks=record.marks,
    )


def request_view(asked: CapturedRequest, data: bytes | None, limit_bytes: int) -> RequestView:
    body = _body(asked.body, asked.headers, data, limit_bytes)
    return RequestView(asked.method, asked.url, asked.http_version, asked.headers, body)


def response_view(answered: CapturedResponse, data: bytes | None, limit_bytes: int) -> ResponseView:
    body = _body(answered.body, answered.headers, data, limit_bytes)
    return ResponseView(answered.status, answered.reason, answered.http_version, answered.headers, body)


def _body(body: Body, headers: Headers, data: bytes | None, limit_bytes: int) -> BodyView:
    content = None
    if data is not None:
        content = readable(as_kept(headers, body), data, truncated=body.truncated, limit_bytes=limit_bytes)
    return BodyView(
        body.size_bytes,
        body.captured_bytes,
        body.sha256,
        body.truncated,
        body.decoded,
        data is None,
        content,
    )
