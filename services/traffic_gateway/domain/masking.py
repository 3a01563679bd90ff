"""A captured call as it may be published: what the bucket's `Redactor` says is secret gives way to marks.
Pure.

Called by `edge.redacting` for every call before it leaves the process.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

import msgspec

from schemas.traffic_gateway import (
    INLINE_BODY_BYTES,
    Body,
    CallCaptured,
    CallError,
    CapturedRequest,
    CapturedResponse,
    Headers,
    Masked,
)
from services.calls.redaction.marks import DROPPED, Side, Tally
from services.calls.redaction.redactor import Redactor
from services.traffic_gateway.domain.bodies import Stored
from services.traffic_gateway.domain.echo import echo_of
from services.traffic_gateway.domain.transcript import masked_transcript

FAILED = "failed"
"""The rule by which everything was dropped, since masking itself failed."""

_AUTHORITY_END = re.compile(r"[/?#]")
_DROPPED = DROPPED.decode("ascii")


def masked(
    call: CallCaptured, stored: Sequence[Stored], redactor: Redactor, echoed: Headers | None = None
) -> tuple[CallCaptured, list[Stored]]:
    """`call` and the bodies that travel beside it (`stored`), redacted. Sizes stay those that were relayed;
    what is told of the kept bytes is of the masked ones. echoed: the headers that the request bin showed to
    its client; what is captured of the echo is then made anew from what is masked. Raises only on faults of
    the code."""
    if redactor.mode == "raw":
        return call, list(stored)
    work = _Work(redactor, dict(stored))
    request, response, error = call.request, call.response, call.error
    url = redactor.url(request.url, work.tally)
    headers = redactor.headers(request.headers, "request", work.tally)
    body = work.body(request.body, request.headers, "request")
    if not (url == request.url and headers is request.headers and body is request.body):
        request = CapturedRequest(request.method, url, request.http_version, headers, body)
    if response is not None:
        if echoed is None:
            body = work.body(response.body, response.headers, "response")
        else:
            body = work.echo(response.body, call.id, request, echoed)
        headers = redactor.headers(response.headers, "response", work.tally)
        if not (headers is response.headers and body is response.body):
            response = CapturedResponse(
                response.status, response.reason, response.http_version, headers, body
            )
    if error is not None and error.detail:
        detail = error.detail.replace(call.request.url, url)
        error = CallError(error.slug, redactor.text(detail, "request.url", work.tally))
    redacted = work.tally.masked()
    if redacted or request is not call.request or response is not call.response:
        call = msgspec.structs.replace(
            call, request=request, response=response, error=error, redacted=redacted
        )
    return call, list(work.beside.items())


def dropped(call: CallCaptured, cause: Exception) -> CallCaptured:
    """What may be published of a call that could not be masked: that it happened, and how it went. No body,
    no value of a header, of the URL nothing but where it went."""
    failed: list[Masked] = []
    cause_name = type(cause).__name__
    request = call.request
    asked = CapturedRequest(
        request.method,
        request.url if call.origin == "tunnel" else _origin(request.url),
        request.http_version,
        _names(request.headers),
        _no_body(request.body),
    )
    failed += (
        Masked("request.url", FAILED, cause_name),
        Masked("request.header", FAILED, cause_name),
        Masked("request.body", FAILED, cause_name),
    )
    answered = None
    if (response := call.response) is not None:
        answered = CapturedResponse(
            response.status,
            response.reason,
            response.http_version,
            _names(response.headers),
            _no_body(response.body),
        )
        failed += (
            Masked("response.header", FAILED, cause_name),
            Masked("response.body", FAILED, cause_name),
        )
    error = call.error
    return msgspec.structs.replace(
        call,
        request=asked,
        response=answered,
        error=None if error is None else CallError(error.slug, _DROPPED),
        redacted=tuple(failed),
    )


class _Work:
    """One call's. stored: the bodies that did not ride in the event, by their hash. beside: those that do not
    in the redacted one."""

    __slots__ = ("_redactor", "_stored", "beside", "tally")

    def __init__(self, redactor: Redactor, stored: dict[str, bytes]) -> None:
        self._redactor = redactor
        self._stored = stored
        self.beside: dict[str, bytes] = {}
        self.tally = Tally()

    def body(self, body: Body, headers: Headers, side: Side) -> Body:
        data = self._data(body)
        if not data:
            return body
        truncated = body.truncated
        if body.form == "websocket":
            redacted = masked_transcript(data, side, self._redactor, self.tally)
        else:
            redacted = self._redactor.body(data, headers, side, self.tally, truncated=truncated)
        if redacted.data is data:
            return self._kept(body, data)
        return self._replaced(body, redacted.data, redacted.decoded, truncated or redacted.cut)

    def echo(self, body: Body, id: str, request: CapturedRequest, echoed: Headers) -> Body:
        """The echo of the masked request. Secrets in it were counted where the client sent them."""
        data = self._data(body)
        if not data:
            return body
        headers = self._redactor.headers(echoed, "request", Tally())
        shown = echo_of(id, request.method, request.url, headers, request.body)
        if body.truncated:
            shown = shown[: body.captured_bytes]
        return self._kept(body, data) if shown == data else self._replaced(body, shown, False, body.truncated)

    def _data(self, body: Body) -> bytes:
        return body.inline if body.inline is not None else self._stored.get(body.sha256 or "", b"")

    def _kept(self, body: Body, data: bytes) -> Body:
        if body.inline is None and body.sha256 is not None:
            self.beside[body.sha256] = data
        return body

    def _replaced(self, body: Body, data: bytes, decoded: bool, truncated: bool) -> Body:
        if not data:
            return Body(body.size_bytes, truncated=truncated, decoded=decoded, form=body.form)
        sha256 = hashlib.sha256(data).hexdigest()
        inline = data if len(data) <= INLINE_BODY_BYTES else None
        if inline is None:
            self.beside[sha256] = data
        return Body(body.size_bytes, len(data), sha256, inline, truncated, decoded, body.form)


def _origin(url: str) -> str:
    """Cut, not parsed: what is no URL must not fail here."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{_AUTHORITY_END.split(rest, maxsplit=1)[0].rpartition('@')[2]}/"


def _no_body(body: Body) -> Body:
    return Body(body.size_bytes, truncated=body.size_bytes > 0, form=body.form)


def _names(headers: Headers) -> Headers:
    return tuple((name, _DROPPED) for name, _ in headers)
