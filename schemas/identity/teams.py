"""Teams and their members. Stream `identity.team-<id>`, members included, so that a team always keeps an
owner."""

from __future__ import annotations

from datetime import datetime

from bus.message import Ask, Fact
from schemas.operation import Role, Scope, Sealed

INVITATION_S = 7 * 24 * 3600


class TeamCreated(Fact, frozen=True):
    """Subject: the team's id (a-z, 0-9, `-` and `_`, at most 63 characters)."""

    TYPE = "identity.team.created"
    ORDERED = True

    id: str
    name: str
    by: str = ""


class TeamRenamed(Fact, frozen=True):
    TYPE = "identity.team.renamed"
    ORDERED = True

    id: str
    name: str
    by: str = ""


class TeamDeleted(Fact, frozen=True):
    """Its buckets, tokens and sessions end with it."""

    TYPE = "identity.team.deleted"
    ORDERED = True

    id: str
    by: str = ""


class MemberAdded(Fact, frozen=True):
    """person: the id of who has this e-mail address, the same in every team."""

    TYPE = "identity.member.added"
    ORDERED = True

    team: str
    person: str
    email: str
    role: Role
    by: str = ""


class MemberChanged(Fact, frozen=True):
    TYPE = "identity.member.changed"
    ORDERED = True

    team: str
    person: str
    role: Role
    by: str = ""


class MemberRemoved(Fact, frozen=True):
    TYPE = "identity.member.removed"
    ORDERED = True

    team: str
    person: str
    by: str = ""


class Team(Fact, frozen=True):
    TYPE = "identity.team.state"

    id: str
    name: str
    created_at: datetime
    members: int = 0
    version: int = 0


class TeamList(Fact, frozen=True):
    TYPE = "identity.team.list"

    teams: tuple[Team, ...]
    next_cursor: str | None = None


class Member(Fact, frozen=True):
    """has_password: whether this person can sign in to the team; else an invitation leads there."""

    TYPE = "identity.member.state"

    email: str
    role: Role
    person: str
    added_at: datetime
    has_password: bool = False


class MemberList(Fact, frozen=True):
    TYPE = "identity.member.list"

    members: tuple[Member, ...]
    next_cursor: str | None = None


class Invitation(Fact, frozen=True):
    """code: what the person sets a password with, once; hand it over on a way that you trust. Shown once."""

    TYPE = "identity.invitation"

    email: str
    code: Sealed
    expires_at: datetime


class ListTeams(Ask[TeamList], frozen=True):
    """The caller's team; all teams for those who have the scope installation.

    limit: 1 to 500. cursor: the `next_cursor` of the page before. Refused: cursor-invalid, list-invalid.
    """

    TYPE = "identity.teams.list"

    team: str = "default"
    actor_scopes: tuple[Scope, ...] | None = None
    limit: int = 100
    cursor: str = ""


class GetTeam(Ask[Team], frozen=True):
    """Refused: team-unknown."""

    TYPE = "identity.team.get"

    id: str
    team: str = ""
    actor_scopes: tuple[Scope, ...] | None = None


class PutTeam(Ask[Team], frozen=True):
    """Create a team, or rename it.

    id: a-z, 0-9, `-` and `_`, at most 63 characters. name: for people. Refused: team-invalid,
    scope-forbidden (the caller is limited to buckets).
    """

    TYPE = "identity.team.put"

    command_id: str
    id: str
    name: str
    actor: str = ""
    allowed_buckets: tuple[str, ...] = ()


class RenameTeam(Ask[Team], frozen=True):
    """Refused: team-unknown, team-invalid, scope-forbidden (the caller is limited to buckets)."""

    TYPE = "identity.team.rename"

    command_id: str
    id: str
    name: str
    team: str = ""
    actor: str = ""
    allowed_buckets: tuple[str, ...] = ()


class DeleteTeam(Ask[Team], frozen=True):
    """End a team: its tokens and sessions at once, its buckets with all their calls soon after.

    Refused: team-unknown, scope-forbidden (the caller is limited to buckets).
    """

    TYPE = "identity.team.delete"

    command_id: str
    id: str
    team: str = ""
    actor: str = ""
    actor_scopes: tuple[Scope, ...] | None = None
    allowed_buckets: tuple[str, ...] = ()


class ListMembers(Ask[MemberList], frozen=True):
    """The members of a team, by e-mail address.

    limit: 1 to 500. cursor: the `next_cursor` of the page before. Refused: team-unknown, cursor-invalid,
    list-invalid.
    """

    TYPE = "identity.members.list"

    id: str
    team: str = ""
    actor_scopes: tuple[Scope, ...] | None = None
    limit: int = 100
    cursor: str = ""


class PutMember(Ask[Member], frozen=True):
    """Make somebody a member, or give a member another role.

    email: the address. role: viewer, editor or owner; at most what the caller itself may do. Refused:
    team-unknown, member-invalid, member-conflict (the team's last owner), scope-forbidden.
    """

    TYPE = "identity.member.put"

    command_id: str
    id: str
    email: str
    role: Role
    team: str = ""
    actor: str = ""
    actor_scopes: tuple[Scope, ...] | None = None
    allowed_buckets: tuple[str, ...] = ()


class RemoveMember(Ask[Member], frozen=True):
    """Take a member out of the team; this person's sessions in it end. Refused: team-unknown, member-unknown,
    member-conflict (the team's last owner), scope-forbidden (the caller is limited to buckets)."""

    TYPE = "identity.member.remove"

    command_id: str
    id: str
    email: str
    team: str = ""
    actor: str = ""
    actor_scopes: tuple[Scope, ...] | None = None
    allowed_buckets: tuple[str, ...] = ()


class InviteMember(Ask[Invitation], frozen=True):
    """Make a code with which a member sets a password and may work in the team, within seven days. A later
    one of the team replaces it. Who works in another team already joins with the present password: only who
    has the scope installation can have that one replaced.

    Refused: team-unknown, member-unknown, member-conflict (this person works in this team and in another, and
    changes the password alone), scope-forbidden (the member may do more than the caller).
    """

    TYPE = "identity.member.invite"

    command_id: str
    id: str
    email: str
    team: str = ""
    actor: str = ""
    actor_scopes: tuple[Scope, ...] | None = None
    allowed_buckets: tuple[str, ...] = ()
