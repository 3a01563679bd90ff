"""The header Idempotency-Key (draft-ietf-httpapi-idempotency-key-header-07): on any operation that changes
something.

The command's id derives from it, so the services make a repeat one event and the same answer. Here a repeat
is told from another request under the same key (422), and from one whose first still runs (409).
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from aiohttp import web

from bus.clock import Clock
from bus.errors import Unavailable
from bus.ids import Ids, derived
from services.api.edge.problems import KEY_REUSED, KEY_RUNNING, PARAMETER_INVALID
from services.api.edge.seldom import Seldom
from services.api.store import Begun, Repeats
from services.chassis.access import Grant
from services.chassis.secrets import Secrets
from services.chassis.web import Problem

HEADER = "Idempotency-Key"
MAX_CHARS = 255
_KEY = re.compile(r"[\x20-\x7e]+")
_QUOTED = re.compile(r'"((?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"')  # RFC 9651, 3.3.3


class Command(msgspec.Struct, frozen=True):
    """id: the command's. repeat: what a repeat is known by, None without a key."""

    id: str
    repeat: str | None = None


class Repeating:
    def __init__(self, repeats: Repeats, secrets: Secrets, clock: Clock, ids: Ids) -> None:
        self._repeats = repeats
        self._ids = ids
        self._seldom = Seldom(clock, "repeats are not told apart: what keeps them does not answer")
        # Fingerprints are of requests that may hold a password, and short secrets can be guessed from a hash.
        self._key = secrets.derived("idempotency")

    def command(self, caller: Grant, request: web.Request) -> Command:
        """Two callers, or two operations, may choose the same key without meeting. Raises Problem."""
        given = key_of(request)
        if given is None:
            return Command(self._ids.new())
        # Without a token, callers are told apart by their addresses.
        who = caller.id or f"address {request.remote}"
        id = derived(who, request.method, request.path, given)
        return Command(id, id)

    def fingerprint(self, request: web.Request, inputs: Any) -> str:
        """inputs: what the client gave, decoded, so that white space makes no difference."""
        said = msgspec.msgpack.encode(
            (request.method, request.path, request.headers.getall("If-Match", []), inputs)
        )
        return hmac.digest(self._key, said, hashlib.sha256).hex()

    @asynccontextmanager
    async def once(self, command: Command, fingerprint: str) -> AsyncIterator[None]:
        """Around the asking. Raises Problem."""
        if command.repeat is None:
            yield
            return
        begun = await self._begin(command.repeat, fingerprint)
        if begun == "other":
            raise KEY_REUSED.of(f"{HEADER}: it was used for another request.", field=HEADER)
        if begun == "running":
            detail = f"{HEADER}: the first request with it has not been answered yet."
            raise KEY_RUNNING.of(detail, headers={"Retry-After": "1"}, field=HEADER)
        refused = False
        try:
            yield
        except Problem as problem:
            refused = problem.status < 500
            raise
        finally:
            if begun == "first":
                await self._end(command.repeat, fingerprint, refused)

    async def _begin(self, id: str, fingerprint: str) -> Begun:
        try:
            return await self._repeats.begin(id, fingerprint)
        except Unavailable as error:
            self._seldom.warn(error)  # nothing is done twice all the same: the command's id sees to that
            return "again"

    async def _end(self, id: str, fingerprint: str, refused: bool) -> None:
        try:
            await (self._repeats.forget(id) if refused else self._repeats.end(id, fingerprint))
        except Unavailable as error:
            self._seldom.warn(error)


def key_of(request: web.Request) -> str | None:
    """The key, None without one. A quoted one is a structured string (RFC 9651), as the draft has it; one
    without quotes, as most clients send it, is taken as it stands. Raises Problem."""
    lines = request.headers.getall(HEADER, [])
    if not lines:
        return None
    if len(lines) > 1:
        raise PARAMETER_INVALID.of(f"{HEADER} is given more than once.", field=HEADER)
    given = lines[0].strip()
    if given.startswith('"'):
        quoted = _QUOTED.fullmatch(given)
        if quoted is None:
            raise PARAMETER_INVALID.of(f"{HEADER} begins with a quote and is no quoted string.", field=HEADER)
        given = re.sub(r'\\(["\\])', r"\1", quoted[1])
    if not 0 < len(given) <= MAX_CHARS:
        detail = f"{HEADER} has {len(given)} characters; 1 to {MAX_CHARS} are taken."
        raise PARAMETER_INVALID.of(detail, field=HEADER)
    if _KEY.fullmatch(given) is None:
        raise PARAMETER_INVALID.of(f"{HEADER} has characters that are not printable ASCII.", field=HEADER)
    return given
