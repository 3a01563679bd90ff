"""Who calls, and what they may touch.

A token is checked first, then its scope, then the bucket. What belongs to others does not exist for a caller:
the answer is 404 with the same words as for what was never there.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Protocol

import msgspec
from aiohttp import web

from bus.clock import Clock
from bus.errors import Unavailable
from schemas.identity import Bucket
from schemas.operation import Scope
from services.api.edge.problems import (
    BUCKET_UNKNOWN,
    SCOPE_MISSING,
    TOKEN_MISSING,
    TOKEN_REFUSED,
    unavailable,
)
from services.calls.address import is_key

MAX_TOKEN_CHARS = 512
KNOWN_WITHIN_S = 1.0
LOOK_EVERY_S = 0.005
_CHALLENGE = 'Bearer realm="trunkline"'


class Granted(Protocol):
    """What a token allows. buckets: the keys it is limited to; empty means all of its team's."""

    @property
    def token_id(self) -> str: ...
    @property
    def team(self) -> str: ...
    @property
    def scopes(self) -> frozenset[str]: ...
    @property
    def buckets(self) -> frozenset[str]: ...


class Access(Protocol):
    """Identity's projection (`services.chassis.access`). Both raise Unavailable when it is too old to be
    trusted."""

    async def grant(self, secret: str) -> Granted | None: ...
    async def bucket(self, key: str) -> Bucket | None: ...


class Caller(msgspec.Struct, frozen=True):
    token_id: str
    team: str
    scopes: frozenset[str]
    buckets: frozenset[str]


class Gate:
    def __init__(self, access: Access, clock: Clock) -> None:
        self._access = access
        self._clock = clock

    async def caller(self, request: web.Request, scope: Scope) -> Caller:
        """Whoever sent this, if the token allows `scope`. Raises Problem."""
        secret = _secret(request)
        try:
            granted = await self._access.grant(secret)
        except Unavailable as error:
            raise unavailable(
                "identity", f"tokens cannot be checked now: {error}", retry_after_s=2
            ) from error
        if granted is None:
            challenge = {"WWW-Authenticate": f'{_CHALLENGE}, error="invalid_token"'}
            raise TOKEN_REFUSED.of("The token is unknown, revoked or expired.", headers=challenge)
        if scope not in granted.scopes:
            challenge = {"WWW-Authenticate": f'{_CHALLENGE}, error="insufficient_scope", scope="{scope}"'}
            raise SCOPE_MISSING.of(f"The token lacks the scope {scope}.", headers=challenge, scope=scope)
        return Caller(granted.token_id, granted.team, granted.scopes, granted.buckets)

    async def check_bucket(self, caller: Caller, key: str, *, may_be_new: bool = False) -> bool:
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
            if bucket is not None and bucket.team == caller.team:
                return True
            if bucket is None and may_be_new and not caller.buckets:
                return False
        raise BUCKET_UNKNOWN.of(f"There is no bucket {key[:80]!r}.")

    async def await_bucket(self, key: str) -> None:
        """Return when a bucket that was made just now is known here, so that who made it can use it at once;
        or after KNOWN_WITHIN_S, since it was made all the same."""
        until_s = self._clock.monotonic() + KNOWN_WITHIN_S
        with suppress(Unavailable):
            while await self._access.bucket(key) is None and self._clock.monotonic() < until_s:
                await self._clock.sleep(LOOK_EVERY_S)


def _secret(request: web.Request) -> str:
    """RFC 6750 2.1. Tokens in the URL are not taken: URLs end up in logs."""
    given = request.headers.getall("Authorization", [])
    scheme, _, secret = given[0].partition(" ") if given else ("", "", "")
    challenge = {"WWW-Authenticate": _CHALLENGE}
    if len(given) > 1:
        raise TOKEN_MISSING.of("The header Authorization is given more than once.", headers=challenge)
    if scheme.lower() != "bearer" or not secret.strip():
        raise TOKEN_MISSING.of("The header `Authorization: Bearer <token>` is missing.", headers=challenge)
    secret = secret.strip()
    if len(secret) > MAX_TOKEN_CHARS or not secret.isascii():
        raise TOKEN_REFUSED.of("This is no token of Trunkline.", headers=challenge)
    return secret
