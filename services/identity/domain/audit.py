"""What an audit tells of a decision: whose business it is, what it is about, and what is left out. Pure, on
top of identity's states."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from bus.message import Fact
from schemas.identity import (
    BUCKET_FACTS,
    TOKEN_FACTS,
    MemberAdded,
    MemberChanged,
    MemberRemoved,
    PasswordRehashed,
    PasswordSet,
    PersonInvited,
    SessionClosed,
    SessionOpened,
    TeamCreated,
    TeamDeleted,
    TeamJoined,
    TeamRenamed,
)
from schemas.identity import FACTS as IDENTITYS
from schemas.identity.state import State, bucket_stream, person_stream, team_stream, token_stream
from schemas.request_vault import KEEPING_FACTS, MARK_FACTS

TOLD: Mapping[str, type[Fact]] = {
    fact.TYPE: fact for fact in (*IDENTITYS, *MARK_FACTS, *KEEPING_FACTS) if fact is not PasswordRehashed
}
"""By type. A password that was hashed anew is nothing that somebody has changed."""

_KEPT_BACK = frozenset(("sha256", "hash", "share"))
"""Hashes, and what a link names a shared call by: whoever has that may read the call."""

Known = Callable[[str], State | None]
"""What is known of a stream."""


def concerns(fact: Fact, team: str, known: Known) -> bool:
    """Whether a decision of identity is this team's business."""
    match fact:
        case TeamCreated() | TeamRenamed() | TeamDeleted():
            return fact.id == team
        case MemberAdded() | MemberChanged() | MemberRemoved():
            return fact.team == team
        case PersonInvited() | SessionOpened() | TeamJoined():
            return fact.team == team
        case PasswordSet() | SessionClosed() if fact.team:
            return fact.team == team
        case PasswordSet() | SessionClosed():
            of = known(team_stream(team))
            return of is not None and of.team is not None and fact.id in of.team.members
    if isinstance(fact, TOKEN_FACTS):
        state = known(token_stream(fact.id))
        return state is not None and state.token is not None and state.token.team == team
    if isinstance(fact, BUCKET_FACTS):
        state = known(bucket_stream(fact.key))
        return state is not None and state.bucket is not None and state.bucket.bucket.team == team
    return False


def about(fact: Fact, subject: str | None, known: Known) -> str:
    """A bucket's key, a token's, team's or call's id, a person's e-mail address."""
    match fact:
        case MemberAdded() | PersonInvited():
            return fact.email
        case MemberChanged() | MemberRemoved():
            return email_of(fact.person, known, team=fact.team) or fact.person
        case PasswordSet() | SessionOpened() | SessionClosed() | TeamJoined():
            return email_of(fact.id, known) or fact.id
    if isinstance(fact, (TeamCreated, TeamRenamed, TeamDeleted, *TOKEN_FACTS)):
        return fact.id
    if isinstance(fact, BUCKET_FACTS):
        return fact.key
    return subject or ""


def name_of(by: str, team: str, known: Known) -> str:
    """The token's name or the person's e-mail address; empty when it is neither."""
    state = known(token_stream(by)) if by else None
    if state is not None and state.token is not None:
        return state.token.name
    return email_of(by, known, team=team) if by else ""


def email_of(person: str, known: Known, *, team: str = "") -> str:
    state = known(person_stream(person))
    if state is not None and state.person is not None:
        return state.person.email
    of = known(team_stream(team)) if team else None
    member = of.team.members.get(person) if of is not None and of.team is not None else None
    return member.email if member is not None else ""


def told(data: Any) -> Any:
    """The event's data without what is kept back."""
    if not isinstance(data, dict):
        return data
    return {name: value for name, value in data.items() if name not in _KEPT_BACK}
