"""Playback: a call that names a captured one (`Trunkline-Playback-Id`) is answered with that one's response,
and nobody is called. For tests that need an API to say the same thing again, and for looking at what a client
made of it.

The stored call is of the same bucket. Status, reason and headers are as they were captured, the framing
apart; the body is as it was stored, so that what was masked stays masked. It is all of the body or none: one
that was cut at the cap, or is gone, is a problem that says so. What is answered is captured like any call,
with origin `playback` and the played call's id.
"""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus
from typing import Protocol, TypeVar

import msgspec
from aiohttp import web

from bus.errors import BusError, Refused
from bus.message import Ask
from schemas.request_vault import GetCall, ReadBody
from schemas.traffic_gateway import Body, CallCaptured, CallError, CapturedResponse
from services.chassis.outgoing import header_fault
from services.chassis.web import Problem
from services.chassis.web.problems import CONTENT_TYPE
from services.traffic_gateway.domain.bodies import Budget
from services.traffic_gateway.domain.capture import Capture
from services.traffic_gateway.domain.framing import BODILESS, Framing
from services.traffic_gateway.domain.headers import RawHeader, ResponseHeaders
from services.traffic_gateway.edge import problems
from services.traffic_gateway.edge.answering import Answer
from services.traffic_gateway.edge.recording import Recorder
from services.traffic_gateway.edge.swallowing import swallow

R = TypeVar("R")

ASK_TIMEOUT_S = 5.0
RETRY_AFTER_S = "2"
_FRAMING = frozenset((b"content-length", b"transfer-encoding", b"trunkline-call-id"))


class Asks(Protocol):
    """`bus.Bus`, as far as it is used here."""

    async def ask(self, ask: Ask[R], *, timeout_s: float = ...) -> R: ...


class Stored(msgspec.Struct, frozen=True):
    status: int
    reason: bytes
    http_version: str
    headers: tuple[RawHeader, ...]
    body: bytes


class Playback:
    def __init__(self, asks: Asks, recorder: Recorder, budget: Budget) -> None:
        self._asks = asks
        self._recorder = recorder
        self._budget = budget

    async def answer(
        self, request: web.BaseRequest, bucket: str, id: str, call: Capture, answer: Answer
    ) -> None:
        """bucket: its key. Raises BodyFailed when the request's body is malformed."""
        await swallow(request, call, answer)
        try:
            played = await self._call(bucket, id)
            call.replay_of = played.id
            response = _playable(played)
            size_bytes = response.body.captured_bytes
            if size_bytes > self._budget.left_bytes:
                raise _unavailable("the bodies of other calls hold all of the memory there is for them")
            with self._budget.lent(size_bytes):  # also while a slow client takes it
                stored = await self._stored(played, response)
                call.answered(stored.status, stored.reason, stored.http_version, stored.headers)
                call.response_body.add(stored.body)
                await self._write(request, call, answer, stored)
        except Problem as problem:
            call.error = CallError(problem.slug, problem.detail)
            call.status_sent = problem.status
            await self._write(request, call, answer, _told(problem))

    async def _call(self, bucket: str, id: str) -> CallCaptured:
        try:
            record = await self._asks.ask(GetCall(id, bucket), timeout_s=ASK_TIMEOUT_S)
        except Refused as error:
            raise problems.PLAYBACK_UNKNOWN.of(f"the bucket has no call {id[:80]!r}") from error
        except BusError as error:
            raise _unavailable(f"the request vault cannot be asked: {error}") from error
        return record.call

    async def _stored(self, played: CallCaptured, response: CapturedResponse) -> Stored:
        reason = response.reason.encode("latin-1", "replace")
        headers = _headers(response)
        for name, value in ((b"Reason", reason), *headers):
            if (wrong := header_fault(name, value)) is not None:
                raise problems.PLAYBACK_IMPOSSIBLE.of(f"the response to call {played.id} has {wrong}")
        body = await self._body(played, response.body)
        return Stored(response.status, reason, response.http_version, headers, body)

    async def _body(self, played: CallCaptured, body: Body) -> bytes:
        if body.inline is not None or not body.captured_bytes:
            return body.inline or b""
        parts: list[bytes] = []
        size = 0
        while body.sha256 is not None and size < body.captured_bytes:
            try:
                part = await self._asks.ask(
                    ReadBody(played.bucket, body.sha256, size), timeout_s=ASK_TIMEOUT_S
                )
            except Refused:
                break
            except BusError as error:
                raise _unavailable(f"the request vault cannot be asked: {error}") from error
            if not part.data:
                break
            parts.append(part.data)
            size += len(part.data)
        if size < body.captured_bytes:
            raise problems.PLAYBACK_GONE.of(
                f"of the response to call {played.id}, {size} of {body.captured_bytes} bytes are there"
            )
        return b"".join(parts)

    async def _write(self, request: web.BaseRequest, call: Capture, answer: Answer, stored: Stored) -> None:
        bodiless = request.method == "HEAD" or stored.status in BODILESS
        headers = stored.headers
        if stored.status not in BODILESS:
            headers += ((b"Content-Length", b"%d" % len(stored.body)),)
        framing = Framing(ResponseHeaders(headers), bodiless=bodiless, http11=answer.http11, hold=False)
        head = answer.head(framing, stored.status, stored.reason)
        await self._recorder.before_the_end(call)
        await answer.write(head if bodiless else head + stored.body)


def _playable(played: CallCaptured) -> CapturedResponse:
    """Its response, when that is one to answer with. Raises Problem."""
    response = played.response
    if response is None:
        raise _unanswered(played)
    if played.origin == "tunnel" or response.body.form != "plain":
        raise problems.PLAYBACK_IMPOSSIBLE.of(
            f"call {played.id} is a {'tunnel' if played.origin == 'tunnel' else 'WebSocket'}; "
            "only a response that is whole can be played back"
        )
    if not 200 <= response.status <= 999:
        raise problems.PLAYBACK_IMPOSSIBLE.of(f"status {response.status} ends no call")
    if response.body.truncated or (played.error is not None and played.request.method != "HEAD"):
        raise problems.PLAYBACK_TRUNCATED.of(
            f"of the response to call {played.id}, {response.body.captured_bytes} of "
            f"{response.body.size_bytes} bytes were kept" + ("" if played.error is None else "; it broke off")
        )
    return response


def _headers(response: CapturedResponse) -> tuple[RawHeader, ...]:
    dropped = _FRAMING | {b"content-encoding"} if response.body.decoded else _FRAMING
    return tuple((name, value) for name, value in _raw(response.headers) if name.lower() not in dropped)


def _raw(headers: Iterable[tuple[str, str]]) -> Iterable[RawHeader]:
    for name, value in headers:
        yield name.encode("latin-1", "replace"), value.encode("latin-1", "replace")


def _told(problem: Problem) -> Stored:
    headers = tuple(_raw({"Content-Type": CONTENT_TYPE, **problem.headers}.items()))
    reason = HTTPStatus(problem.status).phrase.encode("ascii")
    return Stored(problem.status, reason, "1.1", headers, msgspec.json.encode(problem.document()))


def _unavailable(why: str) -> Problem:
    return problems.PLAYBACK_UNAVAILABLE.of(why, headers={"Retry-After": RETRY_AFTER_S})


def _unanswered(played: CallCaptured) -> Problem:
    """What the played call's own client was told."""
    error = played.error or CallError("gateway-failed", "no response was captured")
    status = played.status_sent if played.status_sent >= 400 else 502
    return Problem(status, error.slug, "The played call had no response", error.detail, played=played.id)
