"""What identity's facts come to: the state of each stream, as identity decides on it and as the edges check
callers against it. Pure; one fold for all who follow the category."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from bus.message import Fact
from schemas.identity.buckets import (
    Bucket,
    BucketChanged,
    BucketCreated,
    BucketDeleted,
    BucketGuarded,
    BucketRekeyed,
    BucketSettings,
    FormerAddress,
)
from schemas.identity.people import (
    PasswordRehashed,
    PasswordSet,
    PersonInvited,
    SessionClosed,
    SessionOpened,
    TeamJoined,
)
from schemas.identity.teams import (
    MemberAdded,
    MemberChanged,
    MemberRemoved,
    TeamCreated,
    TeamDeleted,
    TeamRenamed,
)
from schemas.identity.tokens import TokenCreated, TokenRenamed, TokenRevoked, TokenRotated
from schemas.operation import Role

FOLD_VERSION = 5
SETTINGS = tuple(BucketSettings.__struct_fields__)


class BucketState(msgspec.Struct, frozen=True):
    """bucket: its `version` is that of the last decision; its `former_addresses` are all that it ever had.
    A deleted one stays known, so that neither its key nor an address of it is given to another."""

    bucket: Bucket
    guard_sha256: str = ""
    deleted: bool = False

    def addresses(self, now: datetime) -> tuple[str, ...]:
        """What the gateway may be called by: the present address first."""
        former = (each.address for each in self.bucket.former_addresses if each.ends_at > now)
        return self.bucket.address, *former


class FormerSecret(msgspec.Struct, frozen=True):
    sha256: str
    ends_at: datetime


class TokenState(msgspec.Struct, frozen=True):
    """A revoked token stays known, so that the audit can name it."""

    id: str
    name: str
    team: str
    sha256: str
    scopes: tuple[str, ...]
    buckets: tuple[str, ...]
    created_at: datetime
    expires_at: datetime | None
    created_by: str = ""
    former: tuple[FormerSecret, ...] = ()
    revoked: bool = False

    def digests(self, now: datetime) -> tuple[str, ...]:
        """The SHA-256 of every secret that works."""
        return self.sha256, *(each.sha256 for each in self.former if each.ends_at > now)


class MemberState(msgspec.Struct, frozen=True):
    email: str
    role: Role
    added_at: datetime


class TeamState(msgspec.Struct, frozen=True):
    """members: by person. version: that of the last decision."""

    id: str
    name: str
    created_at: datetime
    members: dict[str, MemberState] = {}
    deleted: bool = False
    version: int = 1


class SessionState(msgspec.Struct, frozen=True):
    id: str
    sha256: str
    team: str
    expires_at: datetime


class InvitationState(msgspec.Struct, frozen=True):
    sha256: str
    team: str
    expires_at: datetime
    resets: bool = False
    role: Role = "owner"


class PersonState(msgspec.Struct, frozen=True):
    """hash: sealed; empty: no password yet. joined: the teams whose invitation was accepted with it.
    invitations: one a team. sessions: those that had not ended at the last decision."""

    id: str
    email: str
    hash: str = ""
    joined: tuple[str, ...] = ()
    invitations: tuple[InvitationState, ...] = ()
    sessions: tuple[SessionState, ...] = ()


class State(msgspec.Struct, frozen=True):
    """One stream: exactly one of these."""

    bucket: BucketState | None = None
    token: TokenState | None = None
    team: TeamState | None = None
    person: PersonState | None = None

    @property
    def living_bucket(self) -> Bucket | None:
        return self.bucket.bucket if self.bucket is not None and not self.bucket.deleted else None

    @property
    def living_team(self) -> TeamState | None:
        return self.team if self.team is not None and not self.team.deleted else None


def bucket_stream(key: str) -> str:
    return f"identity.bucket-{key}"


def token_stream(id: str) -> str:
    return f"identity.token-{id}"


def team_stream(id: str) -> str:
    return f"identity.team-{id}"


def person_stream(id: str) -> str:
    return f"identity.person-{id}"


def evolve(state: State | None, fact: Fact, at: datetime) -> State | None:
    """The stream's state after a fact that happened `at`. Facts that do not fit change nothing."""
    match fact:
        case BucketCreated() if state is None:
            settings: dict[str, Any] = {name: getattr(fact, name) for name in SETTINGS}
            bucket = Bucket(fact.key, fact.name, fact.team, at, fact.key, version=1, **settings)
            return State(bucket=BucketState(bucket))
        case TokenCreated() if state is None:
            return State(
                token=TokenState(
                    fact.id, fact.name, fact.team, fact.sha256, fact.scopes, fact.buckets, at,
                    fact.expires_at, fact.by,
                )
            )  # fmt: skip
        case TeamCreated() if state is None:
            return State(team=TeamState(fact.id, fact.name, at))
    if state is None:
        return _first_of_person(fact)
    if state.bucket is not None:
        return State(bucket=_bucket(state.bucket, fact, at))
    if state.token is not None:
        return State(token=_token(state.token, fact, at))
    if state.team is not None:
        return State(team=_team(state.team, fact, at))
    if state.person is not None:
        return State(person=_person(state.person, fact, at))
    return state


def _bucket(state: BucketState, fact: Fact, at: datetime) -> BucketState:
    bucket = msgspec.structs.replace(state.bucket, version=state.bucket.version + 1)
    match fact:
        case BucketChanged():
            changes = {name: getattr(fact, name) for name in ("name", *SETTINGS)}
            bucket = msgspec.structs.replace(bucket, **changes)
        case BucketRekeyed():
            ends_at = fact.overlap_ends_at
            before = tuple(
                FormerAddress(each.address, min(each.ends_at, ends_at)) for each in bucket.former_addresses
            )
            former = (*before, FormerAddress(bucket.address, ends_at))
            bucket = msgspec.structs.replace(bucket, address=fact.address, former_addresses=former)
        case BucketGuarded():
            bucket = msgspec.structs.replace(bucket, guarded=bool(fact.sha256))
            return msgspec.structs.replace(state, bucket=bucket, guard_sha256=fact.sha256)
        case BucketDeleted():
            return msgspec.structs.replace(state, deleted=True)
        case _:
            return state
    return msgspec.structs.replace(state, bucket=bucket)


def _token(state: TokenState, fact: Fact, at: datetime) -> TokenState:
    match fact:
        case TokenRenamed():
            return msgspec.structs.replace(state, name=fact.name)
        case TokenRotated():
            ends_at = fact.overlap_ends_at
            before = tuple(
                FormerSecret(each.sha256, min(each.ends_at, ends_at))
                for each in state.former
                if each.ends_at > at
            )
            former = (*before, FormerSecret(state.sha256, ends_at))
            return msgspec.structs.replace(state, sha256=fact.sha256, former=former)
        case TokenRevoked():
            return msgspec.structs.replace(state, revoked=True)
    return state


def _team(state: TeamState, fact: Fact, at: datetime) -> TeamState:
    replace, version = msgspec.structs.replace, state.version + 1
    match fact:
        case TeamRenamed():
            return replace(state, name=fact.name, version=version)
        case TeamDeleted():
            return replace(state, deleted=True, version=version)
        case MemberAdded():
            members = state.members | {fact.person: MemberState(fact.email, fact.role, at)}
        case MemberChanged() if fact.person in state.members:
            changed = replace(state.members[fact.person], role=fact.role)
            members = state.members | {fact.person: changed}
        case MemberRemoved():
            members = {person: each for person, each in state.members.items() if person != fact.person}
        case _:
            return state
    return replace(state, members=members, version=version)


def _first_of_person(fact: Fact) -> State | None:
    if not isinstance(fact, PersonInvited):
        return None
    return State(person=PersonState(fact.id, fact.email, invitations=(_invitation(fact),)))


def _invitation(fact: PersonInvited) -> InvitationState:
    return InvitationState(fact.sha256, fact.team, fact.expires_at, fact.resets, fact.role)


def _person(state: PersonState, fact: Fact, at: datetime) -> PersonState:
    replace = msgspec.structs.replace
    sessions = tuple(each for each in state.sessions if each.expires_at > at)
    invitations = tuple(each for each in state.invitations if each.expires_at > at)
    match fact:
        case PersonInvited():
            others = (each for each in invitations if each.team != fact.team)
            return replace(state, invitations=(*others, _invitation(fact)), sessions=sessions)
        case PasswordSet():
            joined = state.joined if fact.resets or not fact.team else ()
            joined = _with(joined, fact.team)
            return replace(
                state,
                hash=fact.hash,
                joined=joined,
                invitations=tuple(each for each in invitations if each.team not in joined),
                sessions=tuple(each for each in sessions if each.id == fact.kept),
            )
        case PasswordRehashed():
            return replace(state, hash=fact.hash, sessions=sessions)
        case TeamJoined():
            left = tuple(each for each in invitations if each.team != fact.team)
            return replace(state, joined=_with(state.joined, fact.team), invitations=left, sessions=sessions)
        case SessionOpened():
            opened = SessionState(fact.session, fact.sha256, fact.team, fact.expires_at)
            return replace(state, sessions=(*sessions, opened))
        case SessionClosed():
            return replace(state, sessions=tuple(each for each in sessions if each.id != fact.session))
    return state


def _with(joined: tuple[str, ...], team: str) -> tuple[str, ...]:
    return joined if not team or team in joined else (*joined, team)
