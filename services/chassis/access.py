"""Who may do what, as the edges know it: identity's buckets and tokens, folded in memory.

Opened by the traffic gateway (`bucket`) and the API (`bucket`, `grant`) with `async with Access.open(ground)
as access`. It goes on answering while identity and the vault are down. Buckets are answered from whatever is
known, however old. Tokens fail closed: once the state is older than `max_stale_s`, `grant` raises Unavailable
rather than trust a token that may be revoked. What is unknown is looked for once in the log (250 ms) before
the answer is no; that answer is kept for a second.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import datetime

import msgspec

from bus.clock import Clock
from bus.errors import BusError, Unavailable
from bus.message import Fact
from schemas.identity import (
    CATEGORY,
    Bucket,
    BucketChanged,
    BucketCreated,
    BucketDeleted,
    TokenCreated,
    TokenRevoked,
)
from services.chassis.projection import Fold, Footing, Projection

FOLD_VERSION = 1
MAX_STALE_S = 300.0
LOOK_AGAIN_S = 0.25
NO_FOR_S = 1.0
MAX_NOES = 10_000


class Grant(msgspec.Struct, frozen=True):
    """What a token allows. buckets: keys; empty means every bucket of the team."""

    token_id: str
    team: str
    scopes: frozenset[str]
    buckets: frozenset[str]

    def covers(self, bucket: Bucket) -> bool:
        """Whether the bucket is one this token may be used for."""
        return bucket.team == self.team and (not self.buckets or bucket.key in self.buckets)


class Access:
    """Made by `Access.open`."""

    def __init__(self, clock: Clock, max_stale_s: float) -> None:
        self._clock = clock
        self._max_stale_s = max_stale_s
        self._tokens: dict[str, str] = {}  # SHA-256 of the secret -> the token's stream
        self._noes: dict[str, float] = {}  # what was looked for in vain -> until when that is believed
        self._projection: Projection[_Known]

    @classmethod
    @asynccontextmanager
    async def open(cls, footing: Footing, *, max_stale_s: float = MAX_STALE_S) -> AsyncIterator[Access]:
        """Follow identity until exit. footing: the service's Ground. Ready as `Projection.open` says."""
        access = cls(footing.clock, max_stale_s)
        fold = Fold(
            category=CATEGORY,
            version=FOLD_VERSION,
            state=_Known,
            facts=(BucketCreated, BucketChanged, BucketDeleted, TokenCreated, TokenRevoked),
            evolve=_evolve,
            changed=access._changed,
        )
        async with Projection.open(footing, fold) as projection:
            access._projection = projection
            yield access

    async def bucket(self, key: str) -> Bucket | None:
        """The bucket with this key, None when there is none. Raises Unavailable when it is not known and the
        log cannot be asked."""
        stream = f"{CATEGORY}.bucket-{key}"
        if self._projection.get(stream).state is None:
            await self._look_again(stream)
        known = self._projection.get(stream).state
        return known.bucket if known is not None else None

    async def grant(self, secret: str) -> Grant | None:
        """What the token with this secret allows, None when it is no token, is revoked or has expired. Raises
        Unavailable when the state is too old to tell."""
        digest = hashlib.sha256(secret.encode()).hexdigest()
        if digest not in self._tokens:
            with suppress(Unavailable):  # then what is known has to do, if it is not too old
                await self._look_again(digest)
        age_s = self._projection.age_s()
        if age_s > self._max_stale_s:
            raise Unavailable(
                f"tokens cannot be checked: what is known of them is {_for_people(age_s)} old, "
                f"the limit is {self._max_stale_s:g} s; is the request vault running?"
            )
        known = self._projection.get(self._tokens.get(digest, "")).state
        token = known.token if known is not None else None
        if token is None or not hmac.compare_digest(token.sha256, digest):
            return None
        if token.expires_at is not None and token.expires_at <= self._clock.now():
            return None
        return Grant(token.id, token.team, frozenset(token.scopes), frozenset(token.buckets))

    def age_s(self) -> float:
        """Seconds since the state was last known to be complete; infinite when it never was."""
        return self._projection.age_s()

    async def _look_again(self, what: str) -> None:
        """Read the log up to its head, unless `what` was looked for in vain a moment ago. Raises Unavailable
        when it cannot be read, which says nothing of `what`."""
        now = self._clock.monotonic()
        if self._noes.get(what, 0.0) > now:
            return
        try:
            await self._projection.refresh(LOOK_AGAIN_S)
        except BusError as error:
            raise Unavailable(f"the log of {CATEGORY} cannot be read: {error}") from error
        if len(self._noes) >= MAX_NOES:
            self._noes = {name: until for name, until in self._noes.items() if until > now}
        if len(self._noes) < MAX_NOES:
            self._noes[what] = now + NO_FOR_S

    def _changed(self, stream: str, before: _Known | None, after: _Known | None) -> None:
        if (
            before is not None
            and before.token is not None
            and self._tokens.get(before.token.sha256) == stream
        ):
            del self._tokens[before.token.sha256]
        if after is not None and after.token is not None:
            self._tokens[after.token.sha256] = stream


class _Token(msgspec.Struct, frozen=True):
    id: str
    team: str
    sha256: str
    scopes: tuple[str, ...]
    buckets: tuple[str, ...]
    expires_at: datetime | None


class _Known(msgspec.Struct, frozen=True):
    """One stream's state: a bucket or a token."""

    bucket: Bucket | None = None
    token: _Token | None = None


def _evolve(known: _Known | None, fact: Fact, at: datetime) -> _Known | None:
    match fact:
        case BucketCreated():
            return _Known(
                bucket=Bucket(
                    fact.key, fact.name, fact.team, fact.capture, fact.body_cap_bytes, created_at=at
                )
            )
        case BucketChanged():
            if known is None or known.bucket is None:
                return known
            changed = msgspec.structs.replace(
                known.bucket, name=fact.name, capture=fact.capture, body_cap_bytes=fact.body_cap_bytes
            )
            return _Known(bucket=changed)
        case TokenCreated():
            token = _Token(fact.id, fact.team, fact.sha256, fact.scopes, fact.buckets, fact.expires_at)
            return _Known(token=token)
        case BucketDeleted() | TokenRevoked():
            return None
    return known


def _for_people(age_s: float) -> str:
    return "infinitely" if age_s == float("inf") else f"{age_s:.0f} s"
