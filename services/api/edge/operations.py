"""Serves any service's OPERATIONS: each becomes a route that checks the caller, binds the request to the ask,
asks over the bus, and answers with the reply as JSON. A new operation needs nothing here."""

from __future__ import annotations

from typing import Any

import msgspec
from aiohttp import web

from bus.ids import Ids, derived
from schemas.operation import Operation
from services.api.domain.binding import Binding, Invalid
from services.api.edge.asking import Asker
from services.api.edge.gate import Caller, Gate
from services.api.edge.problems import MEDIA_TYPE_UNKNOWN, PARAMETER_INVALID, from_invalid
from services.calls.body import media_type

PREFIX = "/v1"
MAX_IDEMPOTENCY_KEY_CHARS = 255
_IDEMPOTENCY_KEY = "Idempotency-Key"


class Served(msgspec.Struct, frozen=True):
    """An operation and the service that answers it."""

    service: str
    operation: Operation


class OperationHandler:
    """One operation's route: `answer`. Its binding is made once, here."""

    def __init__(self, served: Served, gate: Gate, asker: Asker, ids: Ids) -> None:
        self.served = served
        self.binding = Binding(served.operation)
        self._gate = gate
        self._asker = asker
        self._ids = ids

    async def answer(self, request: web.Request) -> web.Response:
        operation = self.served.operation
        caller = await self._gate.caller(request, operation.scope)
        body = b"" if self.binding.from_query else await read_json(request)
        try:
            ask = self.binding.bind(
                request.match_info, request.query.items(), body, self._filled(caller, request)
            )
        except Invalid as error:
            raise from_invalid(error) from error
        made = None
        if operation.bucket is not None:
            names_it = operation.method == "PUT" and operation.bucket in self.binding.path
            key = getattr(ask, operation.bucket)
            if not await self._gate.check_bucket(caller, key, may_be_new=names_it):
                made = key
        reply = await self._asker.ask(self.served.service, ask)
        if made is not None:
            await self._gate.await_bucket(made)
        return as_json(reply)

    def _filled(self, caller: Caller, request: web.Request) -> dict[str, Any]:
        if not self.binding.filled:
            return {}
        return {
            "command_id": self._command_id(caller, request),
            "team": caller.team,
            "actor": caller.token_id,
            "allowed_buckets": tuple(sorted(caller.buckets)),
        }

    def _command_id(self, caller: Caller, request: web.Request) -> str:
        """Two callers, or two operations, may choose the same key without meeting."""
        given = request.headers.get(_IDEMPOTENCY_KEY)
        if given is None:
            return self._ids.new()
        if not 0 < len(given) <= MAX_IDEMPOTENCY_KEY_CHARS:
            limit = MAX_IDEMPOTENCY_KEY_CHARS
            detail = f"{_IDEMPOTENCY_KEY} has {len(given)} characters; 1 to {limit} are taken."
            raise PARAMETER_INVALID.of(detail, field=_IDEMPOTENCY_KEY)
        operation = self.served.operation
        return derived(caller.token_id, operation.method, request.path, given)


async def read_json(request: web.Request) -> bytes:
    """The request's body. Raises Problem unless its type is JSON; aiohttp bounds its size."""
    body = await request.read()
    kind = media_type(request.headers.get("Content-Type"))
    if body and kind and kind != "application/json" and not kind.endswith("+json"):
        raise MEDIA_TYPE_UNKNOWN.of(f"The body is {kind[:80]!r}, not application/json.")
    return body


def as_json(reply: Any) -> web.Response:
    """Times are RFC 3339 in UTC, bytes are base64."""
    return web.Response(
        body=msgspec.json.encode(reply),
        content_type="application/json",
        headers={"Cache-Control": "no-store"},
    )
