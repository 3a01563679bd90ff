"""Serves any service's OPERATIONS: each becomes a route that checks the caller, binds the request to the ask,
asks over the bus, and answers with the reply as JSON. A new operation needs nothing here."""

from __future__ import annotations

from typing import Any

import msgspec
from aiohttp import web

from bus.message import Ask
from schemas.operation import Operation
from services.api.domain.binding import Binding, Invalid
from services.api.edge.asking import Asker
from services.api.edge.failing import from_invalid
from services.api.edge.gate import Gate
from services.api.edge.problems import MEDIA_TYPE_UNKNOWN, PARAMETER_INVALID, PRECONDITION_FAILED
from services.api.edge.repeating import Command, Repeating
from services.api.edge.replying import NEVER_KEPT, as_bytes, changed_answer, conditions_of, read_answer
from services.api.edge.sealing import Sealing
from services.calls.body import media_type
from services.chassis.access import Grant
from services.chassis.secrets import Secrets
from services.chassis.web import Problem

PREFIX = "/v1"


class Served(msgspec.Struct, frozen=True):
    """An operation and the service that answers it."""

    service: str
    operation: Operation


class OperationHandler:
    """One operation's route: `answer`. Its binding is made once, here."""

    def __init__(
        self, served: Served, gate: Gate, asker: Asker, repeating: Repeating, secrets: Secrets
    ) -> None:
        self.served = served
        self.binding = Binding(served.operation)
        self._gate = gate
        self._asker = asker
        self._repeating = repeating
        self._sealing = Sealing(served.service, served.operation, secrets)

    async def answer(self, request: web.Request) -> web.Response:
        operation = self.served.operation
        caller = await self._gate.caller(request, operation.scope)
        reads = operation.method == "GET"
        command = Command("") if reads else self._repeating.command(caller, request)
        body = b"" if self.binding.from_query else await read_json(request)
        try:
            ask = self.binding.bind(
                request.match_info, request.query.items(), body, self._filled(caller, request, command)
            )
        except Invalid as error:
            raise from_invalid(error) from error
        made = None
        if operation.bucket is not None:
            names_it = operation.method == "PUT" and operation.path.endswith(f"{{{operation.bucket}}}")
            key = getattr(ask, operation.bucket)
            if not await self._gate.check_bucket(caller, key, may_be_new=names_it):
                made = key
        reply = await self._asked(ask) if reads else await self._changed(request, command, ask)
        if made is not None:
            await self._gate.await_bucket(made)
        shown = self._sealing.open(reply)
        if self._sealing.is_secret(shown):
            return web.Response(body=as_bytes(shown), content_type="application/json", headers=NEVER_KEPT)
        return read_answer(request, shown) if reads else changed_answer(request, shown)

    async def _asked(self, ask: Ask[Any]) -> Any:
        return await self._asker.ask(self.served.service, self._sealing.seal(ask))

    async def _changed(self, request: web.Request, command: Command, ask: Ask[Any]) -> Any:
        """Ask for a change, once for each version that the client would take. Raises Problem."""
        conditions = conditions_of(request)
        wanted = conditions.versions(self.served.operation)
        inputs = [
            getattr(ask, field.name) for field in (*self.binding.path.values(), *self.binding.inputs.values())
        ]
        async with self._repeating.once(command, self._repeating.fingerprint(request, inputs)):
            for number, version in enumerate(wanted, 1):
                if version is not None:
                    ask = msgspec.structs.replace(ask, if_version=version)
                try:
                    return await self._asked(ask)
                except Problem as problem:
                    if version is None or not problem.slug.endswith("-conflict"):
                        raise
                    if number == len(wanted):
                        raise PRECONDITION_FAILED.of(problem.detail) from problem

    def _filled(self, caller: Grant, request: web.Request, command: Command) -> dict[str, Any]:
        if not self.binding.filled:
            return {}
        return {
            "command_id": command.id,
            "team": caller.team,
            "actor": caller.actor,
            "session": caller.id if caller.kind == "session" else "",
            "actor_scopes": tuple(sorted(caller.scopes)),
            "allowed_buckets": tuple(sorted(caller.buckets)),
            "visible_keys": self._gate.visible_keys(caller),
            "if_version": None,
            "client_address": request.remote or "",
        }


async def read_json(request: web.Request) -> bytes:
    """The request's body. Raises Problem unless its type is JSON; aiohttp bounds its size."""
    kinds = request.headers.getall("Content-Type", [])
    if len(kinds) > 1:
        raise PARAMETER_INVALID.of("Content-Type is given more than once.", field="Content-Type")
    body = await request.read()
    kind = media_type(kinds[0] if kinds else None)
    if body and kind and kind != "application/json" and not kind.endswith("+json"):
        raise MEDIA_TYPE_UNKNOWN.of(f"The body is {kind[:80]!r}, not application/json.")
    return body
