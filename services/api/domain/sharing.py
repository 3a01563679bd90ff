"""What of a call a shared link shows: masked by the default redaction whatever its bucket's mode was, and
nothing of where it came from. Pure, given the key.

Addresses of client and server stay out, with the header fields that carry them, an error's words, the bucket
and what people noted.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import TypeVar

import msgspec

from schemas.identity import Redaction
from schemas.traffic_gateway import Body, CallCaptured, CapturedRequest, CapturedResponse, Timings
from services.api.domain.view import RequestView, ResponseView, request_view, response_view
from services.calls.body import as_kept
from services.calls.redaction.errors import InvalidRule
from services.calls.redaction.marks import Side, Tally
from services.calls.redaction.redactor import Redactor

CARRY_ADDRESSES = frozenset(
    (
        "forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-server", "x-original-forwarded-for",
        "x-real-ip", "x-client-ip", "x-cluster-client-ip", "true-client-ip", "cf-connecting-ip",
        "fastly-client-ip", "x-envoy-external-address", "x-remote-addr", "x-remote-ip", "via",
    )
)  # fmt: skip

M = TypeVar("M", CapturedRequest, CapturedResponse)


class SharedView(msgspec.Struct, frozen=True):
    """A call, as a link shows it. error: in one word, such as `connect-refused`."""

    id: str
    started_at: datetime
    duration_ms: float
    request: RequestView
    response: ResponseView | None
    error: str | None
    timings: Timings
    status_sent: int
    origin: str


def redactor_of(rules: Redaction, key: bytes) -> Redactor:
    """Masks by the built-in rules, and by those of the bucket that are good."""
    try:
        return Redactor(msgspec.structs.replace(rules, mode="default"), key)
    except InvalidRule:
        return Redactor(Redaction(), key)


def masked(
    call: CallCaptured, sides: tuple[bytes | None, bytes | None], redactor: Redactor
) -> tuple[CallCaptured, tuple[bytes | None, bytes | None]]:
    """The call and its bodies as they may be shown. May take long: bodies are searched."""
    tally = Tally()
    request, request_body = _masked(call.request, sides[0], "request", redactor, tally)
    request = msgspec.structs.replace(request, url=redactor.url(request.url, tally))
    response, response_body = call.response, sides[1]
    if response is not None:
        response, response_body = _masked(response, sides[1], "response", redactor, tally)
        response = msgspec.structs.replace(
            response, reason=redactor.text(response.reason, "response.body", tally)
        )
    error = None if call.error is None else msgspec.structs.replace(call.error, detail="")
    shown = msgspec.structs.replace(
        call,
        bucket="",
        request=request,
        response=response,
        error=error,
        client_address=None,
        server_address=None,
        replay_of=None,
    )
    return shown, (request_body, response_body)


def shared_view(
    call: CallCaptured, sides: tuple[bytes | None, bytes | None], *, limit_bytes: int
) -> SharedView:
    """call, sides: as `masked` gives them."""
    return SharedView(
        id=call.id,
        started_at=call.started_at,
        duration_ms=call.duration_ms,
        request=request_view(call.request, sides[0], limit_bytes),
        response=None if call.response is None else response_view(call.response, sides[1], limit_bytes),
        error=None if call.error is None else call.error.slug,
        timings=call.timings,
        status_sent=call.status_sent,
        origin=call.origin,
    )


def _masked(
    message: M, data: bytes | None, side: Side, redactor: Redactor, tally: Tally
) -> tuple[M, bytes | None]:
    body = message.body
    if data is not None:
        found = redactor.body(data, as_kept(message.headers, body), side, tally, truncated=body.truncated)
        data = found.data
        body = Body(
            size_bytes=body.size_bytes,
            captured_bytes=len(data),
            sha256=hashlib.sha256(data).hexdigest() if data else None,
            truncated=body.truncated or found.cut,
            decoded=body.decoded or found.decoded,
            form=body.form,
        )
    else:
        body = msgspec.structs.replace(body, sha256=None)  # the hash of what nobody is shown
    shown = as_kept(redactor.headers(message.headers, side, tally), body)
    headers = tuple((name, value) for name, value in shown if name.lower() not in CARRY_ADDRESSES)
    return msgspec.structs.replace(message, headers=headers, body=body), data
