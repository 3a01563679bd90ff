"""One call: decoded for reading, its captured bytes, or a snippet that sends it again. A named exception
among the generic routes, because bodies are files, read in parts and never held whole."""

from __future__ import annotations

from aiohttp import web

from schemas.request_vault import CallRecord, GetCall
from services.api.domain.view import view
from services.api.edge import forms
from services.api.edge.asking import Asker
from services.api.edge.bodies import VAULT, Bodies
from services.api.edge.forms import Side
from services.api.edge.gate import Gate
from services.api.edge.problems import CALL_UNKNOWN
from services.api.edge.replying import read_answer
from services.calls.body import as_kept
from services.chassis.web import Problem

MAX_ID_CHARS = 128


class Calls:
    """Reads calls and bodies from the vault for callers who may see them."""

    def __init__(
        self, gate: Gate, asker: Asker, bodies: Bodies, *, read_limit_bytes: int, version: str
    ) -> None:
        self._gate = gate
        self._asker = asker
        self._bodies = bodies
        self._read_limit_bytes = read_limit_bytes
        self._version = version

    async def get(self, request: web.Request) -> web.StreamResponse:
        """GET /v1/calls/{id}, with `?raw=request|response` or `?as=curl|python|har`."""
        caller = await self._gate.caller(request, "calls:read")
        raw, form = forms.wanted(request)
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
        sides = await self._bodies.sides(record.call)
        if form is not None:
            return await forms.formed(record.call, sides, form, self._version)
        limit_bytes = self._read_limit_bytes
        shown = await forms.off_loop(lambda: view(record, *sides, limit_bytes=limit_bytes), sides)
        return read_answer(request, shown)

    async def entry(self, record: CallRecord) -> bytes:
        """The call as a HAR entry, encoded."""
        return await forms.entry(record.call, await self._bodies.sides(record.call))

    async def _send_raw(self, request: web.Request, record: CallRecord, side: Side) -> web.StreamResponse:
        """The captured bytes, content codings untouched: they are what the hash is of."""
        call = record.call
        message = forms.message_of(call, side)
        parts = self._bodies.parts(call.bucket, message.body)
        first = await anext(parts)
        headers = as_kept(message.headers, message.body)
        answer = web.StreamResponse(headers=forms.raw_headers(headers, call.id, side))
        answer.content_length = message.body.captured_bytes
        await answer.prepare(request)
        if request.method == "GET":
            await answer.write(first)
            async for part in parts:
                await answer.write(part)
        await answer.write_eof()
        return answer
