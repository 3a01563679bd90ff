"""Identity's decisions, folded in memory, and the questions that the edges have for them.

It goes on answering while identity and the vault are down. Buckets are answered from whatever is known,
however old. Tokens and sessions fail closed: once the state is older than `max_stale_s`, `grant` raises
Unavailable rather than trust one that may be revoked. What is unknown is looked for once in the log (250 ms)
before the answer is no; that answer is kept for a second.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from typing import Literal

import msgspec

from bus.clock import Clock
from bus.errors import BusError, Unavailable
from schemas.identity import CATEGORY, FACTS, Bucket
from schemas.identity.state import (
    FOLD_VERSION,
    PersonState,
    State,
    TokenState,
    bucket_stream,
    evolve,
    team_stream,
)
from schemas.operation import ROLE_SCOPES, SCOPES, Role, Scope
from services.chassis.access.tokens import digest_of, is_mistyped
from services.chassis.projection import Fold, Footing, Projection

MAX_STALE_S = 300.0
LOOK_AGAIN_S = 0.25
NO_FOR_S = 1.0
MAX_NOES = 10_000


class Grant(msgspec.Struct, frozen=True):
    """What a token or a session allows. id: the token's or the session's. actor: who acts: the token's id, or
    the person's. buckets: keys; empty means every bucket of the team. role: of a person."""

    kind: Literal["token", "session"]
    id: str
    actor: str
    team: str
    scopes: frozenset[Scope]
    buckets: frozenset[str] = frozenset()
    role: Role | None = None

    def covers(self, bucket: Bucket) -> bool:
        """Whether the bucket is one this grant may be used for."""
        return bucket.team == self.team and (not self.buckets or bucket.key in self.buckets)


class Addressed(msgspec.Struct, frozen=True):
    """The bucket that an address of the gateway means. guard_sha256: of the token that clients must show;
    empty: none."""

    bucket: Bucket
    guard_sha256: str = ""


class Access:
    """Made by `Access.open`."""

    def __init__(self, clock: Clock, max_stale_s: float) -> None:
        self._clock = clock
        self._max_stale_s = max_stale_s
        self._secrets: dict[str, tuple[str, ...]] = {}  # SHA-256 of a secret -> the streams that have it
        self._addresses: dict[str, tuple[str, ...]] = {}  # gateway address -> the bucket's stream
        self._noes: dict[str, float] = {}  # what was looked for in vain -> until when that is believed
        self._projection: Projection[State]

    @classmethod
    @asynccontextmanager
    async def open(cls, footing: Footing, *, max_stale_s: float = MAX_STALE_S) -> AsyncIterator[Access]:
        """Follow identity until exit. footing: the service's Ground. Ready as `Projection.open` says."""
        access = cls(footing.clock, max_stale_s)
        fold = Fold(
            category=CATEGORY,
            version=FOLD_VERSION,
            state=State,
            facts=FACTS,
            evolve=evolve,
            changed=access._changed,
        )
        async with Projection.open(footing, fold) as projection:
            access._projection = projection
            yield access

    async def bucket(self, key: str) -> Bucket | None:
        """The bucket with this key, None when there is none. Raises Unavailable when it is not known and the
        log cannot be asked."""
        stream = bucket_stream(key)
        if self._known_bucket(stream) is None:
            await self._look_again(stream)
        return self._known_bucket(stream)

    async def addressed(self, address: str) -> Addressed | None:
        """The bucket that the gateway is called by this address for, None when there is none. Raises
        Unavailable when it is not known and the log cannot be asked."""
        found = self._at(address)
        if found is None:
            await self._look_again(f"address {address}")
            found = self._at(address)
        return found

    def keys_of(self, team: str) -> tuple[str, ...]:
        """The keys of the team's buckets, as far as they are known here."""
        living = (state.living_bucket for state in self._projection.states())
        return tuple(bucket.key for bucket in living if bucket is not None and bucket.team == team)

    async def grant(self, secret: str) -> Grant | None:
        """What the token or session with this secret allows, None when there is none, it is revoked or has
        ended. Raises Unavailable when the state is too old to tell."""
        if is_mistyped(secret):
            return None
        digest = digest_of(secret)
        if digest not in self._secrets:
            with suppress(Unavailable):  # then what is known has to do, if it is not too old
                await self._look_again(digest)
        age_s = self._projection.age_s()
        if age_s > self._max_stale_s:
            raise Unavailable(
                f"tokens cannot be checked: what is known of them is {_for_people(age_s)} old, "
                f"the limit is {self._max_stale_s:g} s; is the request vault running?"
            )
        now = self._clock.now()
        for stream in reversed(self._secrets.get(digest, ())):
            known = self._projection.get(stream).state
            grant: Grant | None = None
            if known is not None and known.token is not None:
                grant = self._of_token(known.token, digest, now)
            elif known is not None and known.person is not None:
                grant = self._of_person(known.person, digest, now)
            if grant is not None:
                return grant
        return None

    def age_s(self) -> float:
        """Seconds since the state was last known to be complete; infinite when it never was."""
        return self._projection.age_s()

    def _of_token(self, token: TokenState, digest: str, now: datetime) -> Grant | None:
        if token.revoked or digest not in token.digests(now) or self._ended(token.team):
            return None
        if token.expires_at is not None and token.expires_at <= now:
            return None
        scopes = SCOPES.intersection(token.scopes)
        return Grant("token", token.id, token.id, token.team, scopes, frozenset(token.buckets))

    def _of_person(self, person: PersonState, digest: str, now: datetime) -> Grant | None:
        for session in person.sessions:
            if session.sha256 == digest and session.expires_at > now:
                known = self._projection.get(team_stream(session.team)).state
                team = known.living_team if known is not None else None
                member = team.members.get(person.id) if team is not None else None
                if member is None:
                    return None
                scopes = ROLE_SCOPES[member.role]
                return Grant("session", session.id, person.id, session.team, scopes, role=member.role)
        return None

    def _ended(self, team: str) -> bool:
        known = self._projection.get(team_stream(team)).state
        return known is not None and known.team is not None and known.team.deleted

    def _known_bucket(self, stream: str) -> Bucket | None:
        known = self._projection.get(stream).state
        bucket = known.living_bucket if known is not None else None
        return None if bucket is None or self._ended(bucket.team) else bucket

    def _at(self, address: str) -> Addressed | None:
        for stream in self._addresses.get(address, ()):
            known = self._projection.get(stream).state
            state = known.bucket if known is not None else None
            if state is None or self._ended(state.bucket.team):
                continue
            if address == state.bucket.address or address in state.addresses(self._clock.now()):
                return Addressed(state.bucket, state.guard_sha256)
        return None

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

    def _changed(self, stream: str, before: State | None, after: State | None) -> None:
        """Keep the indexes; what has ended is told apart when it is asked for."""
        for index, old, new in (
            (self._secrets, _digests(before), _digests(after)),
            (self._addresses, _addresses(before), _addresses(after)),
        ):
            for name in old - new:
                left = tuple(each for each in index[name] if each != stream)
                if left:
                    index[name] = left
                else:
                    del index[name]
            for name in new - old:
                index[name] = (*index.get(name, ()), stream)


def _digests(state: State | None) -> frozenset[str]:
    if state is None:
        return frozenset()
    if state.token is not None and not state.token.revoked:
        return frozenset((state.token.sha256, *(each.sha256 for each in state.token.former)))
    if state.person is not None:
        return frozenset(session.sha256 for session in state.person.sessions)
    return frozenset()


def _addresses(state: State | None) -> frozenset[str]:
    bucket = state.living_bucket if state is not None else None
    if bucket is None:
        return frozenset()
    return frozenset((bucket.address, *(each.address for each in bucket.former_addresses)))


def _for_people(age_s: float) -> str:
    return "infinitely" if age_s == float("inf") else f"{age_s:.0f} s"
