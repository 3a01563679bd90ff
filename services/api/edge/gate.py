"""Who calls, and what they may touch.

A token is checked first, then how often it is used, then its scope, then the bucket. What belongs to others
does not exist for a caller: the answer is 404 with the same words as for what was never there.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Protocol

from aiohttp import web

from bus.clock import Clock
from bus.errors import Unavailable
from schemas.identity import Bucket
from schemas.operation import NEEDS_NO_GRANT, Scope
from services.api.edge.failing import CHALLENGE, unavailable
from services.api.edge.limiting import Limiter
from services.api.edge.problems import BUCKET_UNKNOWN, SCOPE_MISSING, TOKEN_MISSING, TOKEN_REFUSED
from services.api.edge.uses import Uses
from services.calls.address import is_key
from services.chassis.access import Grant
from services.chassis.web import Problem

MAX_TOKEN_CHARS = 512
KNOWN_WITHIN_S = 1.0
LOOK_EVERY_S = 0.005


class Access(Protocol):
    """Identity's projection, as far as it is used here. `grant` raises Unavailable when it is too old to be
    trusted, `bucket` when it cannot tell."""

    async def grant(self, secret: str) -> Grant | None: ...
    async def bucket(self, key: str) -> Bucket | None: ...
    def keys_of(self, team: str) -> tuple[str, ...]: ...


NOBODY = Grant("token", "", "", "", frozenset())
"""Who calls an operation that needs no token."""


class Gate:
    def __init__(self, access: Access, clock: Clock, limiter: Limiter, uses: Uses) -> None:
        self._access = access
        self._clock = clock
        self._limiter = limiter
        self._uses = uses

    async def caller(self, request: web.Request, scope: Scope) -> Grant:
        """Whoever sent this, if the token allows `scope`, and sends no more than it may. Raises Problem."""
        if scope == "public":
            await self._limiter.take_address(request)
            return NOBODY
        try:
            granted = await self._granted(request)
        except Problem as problem:
            if problem.status == 401:
                await self._limiter.take_address(request)
            raise
        await self._limiter.take_token(request, granted.id)
        self._uses.note(granted)
        _check_scope(granted, scope)
        return granted

    async def still(self, request: web.Request, scope: Scope) -> Grant:
        """As `caller`, for an answer that goes on: it is not counted. Raises Problem."""
        granted = await self._granted(request)
        _check_scope(granted, scope)
        return granted

    async def _granted(self, request: web.Request) -> Grant:
        secret = _secret(request)
        try:
            granted = await self._access.grant(secret)
        except Unavailable as error:
            raise unavailable(
                "identity", f"tokens cannot be checked now: {error}", retry_after_s=2
            ) from error
        if granted is None:
            challenge = {"WWW-Authenticate": f'{CHALLENGE}, error="invalid_token"'}
            raise TOKEN_REFUSED.of("The token is unknown, revoked or expired.", headers=challenge)
        return granted

    async def check_bucket(self, caller: Grant, key: str, *, may_be_new: bool = False) -> bool:
        """Whether this bucket exists. Raises Problem unless the caller may touch it. may_be_new: a client
        names it to create it, which a token limited to certain buckets cannot."""
        if may_be_new and not caller.buckets and not is_key(key):
            return False  # identity says what is wrong with it
        if is_key(key) and (not caller.buckets or key in caller.buckets):
            try:
                bucket = await self._access.bucket(key)
            except Unavailable as error:
                raise unavailable(
                    "identity", f"buckets are not known now: {error}", retry_after_s=2
                ) from error
            if bucket is not None and caller.covers(bucket):
                return True
            if bucket is None and may_be_new and not caller.buckets:
                return False
        raise BUCKET_UNKNOWN.of(f"There is no bucket {key[:80]!r}.")

    async def living_bucket(self, key: str) -> Bucket:
        """The bucket, whoever asks. Raises Problem when it is not there, or no longer."""
        try:
            bucket = await self._access.bucket(key)
        except Unavailable as error:
            raise unavailable("identity", f"buckets are not known now: {error}", retry_after_s=2) from error
        if bucket is None:
            raise BUCKET_UNKNOWN.of(f"There is no bucket {key[:80]!r}.")
        return bucket

    def visible_keys(self, caller: Grant) -> tuple[str, ...] | None:
        """The event keys that the caller may see; None means every one of the installation's."""
        if caller.buckets:
            return tuple(sorted(caller.buckets))
        return None if "installation" in caller.scopes else self._access.keys_of(caller.team)

    async def await_bucket(self, key: str) -> None:
        """Return when a bucket that was made just now is known here, so that who made it can use it at once;
        or after KNOWN_WITHIN_S, since it was made all the same."""
        until_s = self._clock.monotonic() + KNOWN_WITHIN_S
        with suppress(Unavailable):
            while await self._access.bucket(key) is None and self._clock.monotonic() < until_s:
                await self._clock.sleep(LOOK_EVERY_S)


def _check_scope(granted: Grant, scope: Scope) -> None:
    if scope in NEEDS_NO_GRANT or scope in granted.scopes:
        return
    challenge = {"WWW-Authenticate": f'{CHALLENGE}, error="insufficient_scope", scope="{scope}"'}
    raise SCOPE_MISSING.of(f"The token lacks the scope {scope}.", headers=challenge, scope=scope)


def _secret(request: web.Request) -> str:
    """RFC 6750 2.1. Tokens in the URL are not taken: URLs end up in logs."""
    given = request.headers.getall("Authorization", [])
    scheme, _, secret = given[0].partition(" ") if given else ("", "", "")
    challenge = {"WWW-Authenticate": CHALLENGE}
    if len(given) > 1:
        raise TOKEN_MISSING.of("The header Authorization is given more than once.", headers=challenge)
    if scheme.lower() != "bearer" or not secret.strip():
        raise TOKEN_MISSING.of("The header `Authorization: Bearer <token>` is missing.", headers=challenge)
    secret = secret.strip()
    if len(secret) > MAX_TOKEN_CHARS or not secret.isascii():
        raise TOKEN_REFUSED.of("This is no token of Trunkline.", headers=challenge)
    return secret
