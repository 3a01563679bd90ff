"""A call that is shared by a link: for everybody who has the link, without a token. A named exception, like
`calls`."""

from __future__ import annotations

from aiohttp import web

from schemas.identity import Redaction
from schemas.request_vault import CallRecord, GetShared
from services.api.domain.sharing import masked, redactor_of, shared_view
from services.api.edge import forms
from services.api.edge.asking import Asker
from services.api.edge.bodies import VAULT, Bodies
from services.api.edge.gate import Gate
from services.api.edge.problems import BODY_UNKNOWN, SHARE_UNKNOWN
from services.api.edge.replying import as_bytes
from services.chassis.secrets import Secrets
from services.chassis.web import LOGGED_PATH, Problem

MAX_SHARE_CHARS = 128
QUIET = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Robots-Tag": "noindex"}
"""The link is the secret: it is not to be kept, told to other sites, or found by searching."""


class SharedCalls:
    def __init__(
        self,
        gate: Gate,
        asker: Asker,
        bodies: Bodies,
        secrets: Secrets,
        *,
        read_limit_bytes: int,
        version: str,
    ) -> None:
        self._gate = gate
        self._asker = asker
        self._bodies = bodies
        self._secrets = secrets
        self._read_limit_bytes = read_limit_bytes
        self._version = version

    async def get(self, request: web.Request) -> web.StreamResponse:
        """GET /v1/shared/{share}, with `?raw=request|response` or `?as=curl|python|har`."""
        request[LOGGED_PATH] = "/v1/shared/..."
        await self._gate.caller(request, "public")
        try:
            answer = await self._shown(request)
        except Problem as problem:
            problem.headers.update(QUIET)
            raise
        answer.headers.update(QUIET)
        return answer

    async def _shown(self, request: web.Request) -> web.Response:
        raw, form = forms.wanted(request)
        share = request.match_info["share"]
        record, rules = await self._record(share)
        redactor = redactor_of(rules, self._secrets.derived("redaction of shared calls", share))
        read = await self._bodies.sides(record.call)
        call, sides = await forms.off_loop(lambda: masked(record.call, read, redactor), read)
        if raw is not None:
            message = forms.message_of(call, raw)
            body = sides[0] if raw == "request" else sides[1]
            if body is None:
                raise BODY_UNKNOWN.of("The bytes of this body are not there.")
            return web.Response(body=body, headers=forms.raw_headers(message.headers, call.id, raw))
        if form is not None:
            return await forms.formed(call, sides, form, self._version)
        limit_bytes = self._read_limit_bytes
        shown = await forms.off_loop(lambda: shared_view(call, sides, limit_bytes=limit_bytes), sides)
        return web.Response(body=as_bytes(shown), content_type="application/json")

    async def _record(self, share: str) -> tuple[CallRecord, Redaction]:
        unknown = SHARE_UNKNOWN.of("There is no such link, or it has ended.")
        if not share or len(share) > MAX_SHARE_CHARS:
            raise unknown
        try:
            record = await self._asker.ask(VAULT, GetShared(share))
            bucket = await self._gate.living_bucket(record.call.bucket)
        except Problem as problem:
            raise unknown if problem.status == 404 else problem from None
        return record, bucket.redaction
