"""Members of a team: added, given another role, removed, invited."""

from __future__ import annotations

from datetime import datetime, timedelta

from bus.message import Fact
from schemas.identity import (
    INVITATION_S,
    InviteMember,
    Member,
    MemberAdded,
    MemberChanged,
    MemberRemoved,
    PersonInvited,
    PutMember,
    RemoveMember,
)
from schemas.identity.state import MemberState, PersonState, State, TeamState
from schemas.operation import ROLE_SCOPES, Role
from services.identity.domain.refusing import No, check_allowed, check_unlimited
from services.identity.domain.teams import living

MAX_MEMBERS = 1000


def decide_put_member(state: State | None, command: PutMember, person: str, address: str) -> tuple[Fact, ...]:
    team = living(state, command.id)
    if command.role not in ROLE_SCOPES:
        raise No("member-invalid", f"role {command.role!r} is none of: {', '.join(ROLE_SCOPES)}")
    _check_gives(command.role, command, f"to make somebody {command.role}")
    member = team.members.get(person)
    if member is None:
        if len(team.members) >= MAX_MEMBERS:
            raise No("member-invalid", f"team {team.id} has {MAX_MEMBERS} members, and takes no more")
        return (MemberAdded(team.id, person, address, command.role, command.actor),)
    if member.role == command.role:
        return ()
    _check_owner_left(team, person)
    return (MemberChanged(team.id, person, command.role, command.actor),)


def decide_remove_member(
    state: State | None, command: RemoveMember, person: str, address: str
) -> tuple[Fact, ...]:
    team = living(state, command.id)
    check_unlimited(command.allowed_buckets, "a member")
    known(team, person, address)
    _check_owner_left(team, person)
    return (MemberRemoved(team.id, person, command.actor),)


def decide_invite_member(
    state: State | None,
    command: InviteMember,
    person: str,
    team: TeamState,
    address: str,
    *,
    sha256: str,
    now: datetime,
) -> tuple[Fact, ...]:
    """On the person's stream. An invitation never becomes a way into another team: there it gives the
    password only to whoever had it (`people.judge`)."""
    member = known(team, person, address)
    _check_gives(member.role, command, f"to invite a member who is {member.role}")
    before = state.person if state is not None else None
    others = elsewhere(before, team.id)
    may_reset = command.actor_scopes is None or "installation" in command.actor_scopes
    if before is not None:
        if any(each.sha256 == sha256 for each in before.invitations):
            return ()
        if others and team.id in before.joined and not may_reset:
            raise No(
                "member-conflict",
                f"{address} works in another team too, and changes the password alone",
            )
    expires_at = now + timedelta(seconds=INVITATION_S)
    resets = may_reset and bool(others)
    return (
        PersonInvited(person, member.email, team.id, sha256, expires_at, command.actor, resets, member.role),
    )


def elsewhere(person: PersonState | None, team: str) -> tuple[str, ...]:
    """The other teams that this password leads into, or did: a team that the person has left counts, so that
    nothing hangs on when this was heard of."""
    return tuple(each for each in person.joined if each != team) if person is not None else ()


def known(team: TeamState, person: str, address: str) -> MemberState:
    member = team.members.get(person)
    if member is None:
        raise No("member-unknown", f"{address!r} is no member of team {team.id}")
    return member


def member_of(state: MemberState, id: str, person: PersonState | None, team: str) -> Member:
    """As it is answered."""
    can_sign_in = person is not None and bool(person.hash) and team in person.joined
    return Member(state.email, state.role, id, state.added_at, can_sign_in)


def _check_gives(role: Role, command: PutMember | InviteMember, what: str) -> None:
    check_allowed(ROLE_SCOPES[role], command.actor_scopes, what)
    check_unlimited(command.allowed_buckets, "a member")


def _check_owner_left(team: TeamState, person: str) -> None:
    """Before this member ceases to be an owner."""
    owners = {each for each, member in team.members.items() if member.role == "owner"}
    if owners == {person}:
        raise No(
            "member-conflict",
            f"{team.members[person].email} is the last owner of team {team.id}; name another",
        )
