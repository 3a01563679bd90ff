"""Calls for tests, with everything that a test does not care about filled in."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

from schemas.traffic_gateway import (
    Body,
    CallCaptured,
    CallError,
    CapturedRequest,
    CapturedResponse,
    Headers,
    Timings,
)

AT = datetime(2026, 1, 31, 12, 0, 0, 123_456, tzinfo=UTC)
INLINE_LIMIT_BYTES = 16 * 1024


def body_of(data: bytes, *, size_bytes: int | None = None) -> Body:
    """As the gateway captures `data`. size_bytes: what was relayed, when the capture is cut."""
    return Body(
        size_bytes=len(data) if size_bytes is None else size_bytes,
        captured_bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest() if data else None,
        inline=data if 0 < len(data) <= INLINE_LIMIT_BYTES else None,
        truncated=size_bytes is not None and size_bytes > len(data),
    )


def call_of(
    method: str = "GET",
    url: str = "http://api.example.com/things?a=1",
    request_headers: Headers = (("Host", "api.example.com"),),
    request_body: bytes = b"",
    *,
    id: str = "call-1",
    bucket: str = "bucket000001",
    status: int | None = 200,
    response_headers: Headers = (("Content-Type", "application/json"),),
    response_body: bytes = b'{"ok":true}',
    response_size_bytes: int | None = None,
    error: CallError | None = None,
    timings: Timings | None = None,
    duration_ms: float = 12.5,
    started_at: datetime = AT,
) -> CallCaptured:
    response = None
    if status is not None:
        captured = body_of(response_body, size_bytes=response_size_bytes)
        response = CapturedResponse(status, "OK", "1.1", response_headers, captured)
    return CallCaptured(
        id=id,
        bucket=bucket,
        started_at=started_at,
        duration_ms=duration_ms,
        request=CapturedRequest(method, url, "1.1", request_headers, body_of(request_body)),
        response=response,
        error=error,
        timings=timings or Timings(),
        status_sent=502 if status is None else status,
        server_address="127.0.0.1:80",
    )
