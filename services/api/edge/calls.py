"""One call: decoded for reading, its captured bytes, or a snippet that sends it again. A named exception
among the generic routes, because bodies are files, read in parts and never held whole."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from typing import Literal, TypeVar

import msgspec
from aiohttp import web

from schemas.request_vault import CallRecord, GetCall, ReadBody
from schemas.traffic_gateway import Body, Headers
from services.api.domain.view import view
from services.api.edge.asking import Asker
from services.api.edge.gate import Gate
from services.api.edge.operations import as_json
from services.api.edge.problems import (
    BODY_DAMAGED,
    BODY_UNKNOWN,
    CALL_UNKNOWN,
    PARAMETER_INVALID,
    PARAMETER_UNKNOWN,
)
from services.calls import har, snippet
from services.calls.body import header
from services.chassis.web import Problem

VAULT = "request_vault"
MAX_ID_CHARS = 128
AT_ONCE_BYTES = 4 * 1024

T = TypeVar("T")

Side = Literal["request", "response"]

_HEADER_VALUE = re.compile(r"[\x20-\x7e]{1,255}")
_FORMS = ("curl", "python", "har")
_SIDES: tuple[Side, ...] = ("request", "response")


class Calls:
    """Reads calls and bodies from the vault for callers who may see them."""

    def __init__(self, gate: Gate, asker: Asker, *, read_limit_bytes: int, version: str) -> None:
        self._gate = gate
        self._asker = asker
        self._read_limit_bytes = read_limit_bytes
        self._version = version

    async def get(self, request: web.Request) -> web.StreamResponse:
        """GET /v1/calls/{id}, with `?raw=request|response` or `?as=curl|python|har`."""
        caller = await self._gate.caller(request, "calls:read")
        raw, form = _wanted(request)
        id = request.match_info["id"]
        unknown = CALL_UNKNOWN.of(f"There is no call {id[:80]!r}.")
        if len(id) > MAX_ID_CHARS:
            raise unknown
        try:
            record = await self._asker.ask(VAULT, GetCall(id))
            await self._gate.check_bucket(caller, record.call.bucket)
        except Problem as problem:
            # The same words as for a call that does not exist: a foreign one gives no hint.
            raise unknown if problem.status == 404 else problem from None
        if raw is not None:
            return await self._send_raw(request, record, raw)
        if form == "har":
            document = har.opening(self._version) + await self.entry(record) + har.CLOSING
            return web.Response(body=document, content_type="application/json")
        sides = await self._bodies(record)
        if form is not None:
            show = snippet.curl if form == "curl" else snippet.python
            return web.Response(text=await _off_loop(lambda: show(record.call, sides[0]), sides))
        limit_bytes = self._read_limit_bytes
        return as_json(await _off_loop(lambda: view(record, *sides, limit_bytes=limit_bytes), sides))

    async def entry(self, record: CallRecord) -> bytes:
        """The call as a HAR entry, encoded."""
        sides = await self._bodies(record)
        return await _off_loop(lambda: msgspec.json.encode(har.entry(record.call, *sides)), sides)

    async def _bodies(self, record: CallRecord) -> tuple[bytes | None, bytes | None]:
        """The captured bytes of both sides; None where they are missing or damaged, empty where there is no
        body."""
        call = record.call
        request = await self._body(call.bucket, call.request.body)
        if call.response is None:
            return request, b""
        return request, await self._body(call.bucket, call.response.body)

    async def _body(self, bucket: str, body: Body) -> bytes | None:
        try:
            return b"".join([part async for part in self._parts(bucket, body)])
        except Problem as problem:
            if problem.slug in (BODY_UNKNOWN.slug, BODY_DAMAGED.slug):
                return None
            raise

    async def _parts(self, bucket: str, body: Body) -> AsyncIterator[bytes]:
        """The captured bytes in parts. Raises Problem when they are missing."""
        if body.inline is not None or not body.captured_bytes:
            yield body.inline or b""
            return
        if body.sha256 is None:
            raise BODY_UNKNOWN.of("The bytes of this body were not kept.")
        at = 0
        while at < body.captured_bytes:
            part = await self._asker.ask(VAULT, ReadBody(bucket, body.sha256, at))
            if not part.data:
                raise BODY_UNKNOWN.of(f"Only {at} of {body.captured_bytes} bytes of this body are there.")
            yield part.data
            at += len(part.data)

    async def _send_raw(self, request: web.Request, record: CallRecord, side: Side) -> web.StreamResponse:
        """The captured bytes, content codings untouched: they are what the hash is of. Sent so that no
        browser runs them."""
        call = record.call
        message = call.request if side == "request" else call.response
        if message is None:
            raise BODY_UNKNOWN.of("The call has no response.")
        parts = self._parts(call.bucket, message.body)
        first = await anext(parts)
        answer = web.StreamResponse(headers=_raw_headers(message.headers, call.id, side))
        answer.content_length = message.body.captured_bytes
        await answer.prepare(request)
        if request.method == "GET":
            await answer.write(first)
            async for part in parts:
                await answer.write(part)
        await answer.write_eof()
        return answer


async def _off_loop(work: Callable[[], T], sides: tuple[bytes | None, bytes | None]) -> T:
    """What `work` gives. Decoding large bodies takes long enough to hold up everybody else: a thread does
    it."""
    if sum(len(side) for side in sides if side is not None) <= AT_ONCE_BYTES:
        return work()
    return await asyncio.to_thread(work)


def _raw_headers(captured: Headers, id: str, side: Side) -> dict[str, str]:
    content_type = (header(captured, "content-type") or "").strip()
    coding = (header(captured, "content-encoding") or "").strip()
    headers = {
        "Content-Type": content_type if _HEADER_VALUE.fullmatch(content_type) else "application/octet-stream",
        "Content-Disposition": f'attachment; filename="{re.sub(r"[^A-Za-z0-9-]", "_", id)}-{side}"',
        "Content-Security-Policy": "sandbox; default-src 'none'",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-store",
    }
    if _HEADER_VALUE.fullmatch(coding):
        # Not as Content-Encoding: clients would undo it, or fail on a body that is cut.
        headers["Trunkline-Content-Encoding"] = coding
    return headers


def _wanted(request: web.Request) -> tuple[Side | None, str | None]:
    known = ["raw", "as"]
    for name in request.query:
        if name not in known:
            detail = f"query {name[:80]!r}: there is no parameter of this name; there are raw, as."
            raise PARAMETER_UNKNOWN.of(detail, field=name, known=known)
    given = request.query.getall("raw", []) + request.query.getall("as", [])
    if len(given) > 1:
        raise PARAMETER_INVALID.of("raw and as are given once, and not together.", field="raw")
    raw, form = request.query.get("raw"), request.query.get("as")
    if raw is not None and raw not in _SIDES:
        raise PARAMETER_INVALID.of("query 'raw': it is request or response.", field="raw")
    if form is not None and form not in _FORMS:
        raise PARAMETER_INVALID.of(f"query 'as': it is one of {', '.join(_FORMS)}.", field="as")
    return next((side for side in _SIDES if side == raw), None), form
