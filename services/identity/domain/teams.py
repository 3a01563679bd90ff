"""Teams: created, renamed, deleted; and whose business a team is."""

from __future__ import annotations

from collections.abc import Collection

from bus.message import Fact
from schemas.identity import DeleteTeam, PutTeam, RenameTeam, Team, TeamCreated, TeamDeleted, TeamRenamed
from schemas.identity.state import State, TeamState
from schemas.operation import Scope
from services.identity.domain.refusing import No, check_name, check_team, check_unlimited


def decide_put_team(state: State | None, command: PutTeam) -> tuple[Fact, ...]:
    check_unlimited(command.allowed_buckets, "a team")
    check_team("team-invalid", command.id)
    check_name("team-invalid", command.name)
    if state is None or state.team is None:
        return (TeamCreated(command.id, command.name, command.actor),)
    if state.team.deleted:
        raise No("team-invalid", f"team {command.id} was deleted, and its id is not given again")
    return _renamed(state.team, command.name, command.actor)


def decide_rename_team(state: State | None, command: RenameTeam) -> tuple[Fact, ...]:
    team = living(state, command.id)
    check_unlimited(command.allowed_buckets, "a team")
    check_name("team-invalid", command.name)
    return _renamed(team, command.name, command.actor)


def decide_delete_team(state: State | None, command: DeleteTeam) -> tuple[Fact, ...]:
    living(state, command.id)
    check_unlimited(command.allowed_buckets, "a team")
    return (TeamDeleted(command.id, command.actor),)


def check_own(id: str, team: str, scopes: Collection[Scope] | None = ()) -> None:
    """team: the caller's, empty for a caller on the bus. scopes: the caller's, where they let it into other
    teams; None for a caller on the bus. Another team answers as one that never was."""
    if team not in ("", id) and scopes is not None and "installation" not in scopes:
        raise unknown(id)


def living(state: State | None, id: str) -> TeamState:
    team = state.living_team if state is not None else None
    if team is None:
        raise unknown(id)
    return team


def unknown(id: str) -> No:
    return No("team-unknown", f"there is no team {id[:63]!r}")


def team_of(state: TeamState) -> Team:
    """As it is answered."""
    return Team(state.id, state.name, state.created_at, len(state.members), state.version)


def _renamed(team: TeamState, name: str, actor: str) -> tuple[Fact, ...]:
    return () if team.name == name else (TeamRenamed(team.id, name, actor),)
