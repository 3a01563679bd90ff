"""Answers what is asked about teams."""

from __future__ import annotations

from collections.abc import Callable, Collection

from bus.message import Fact
from bus.router import Delivery, Router
from schemas.identity import DeleteTeam, GetTeam, ListTeams, PutTeam, RenameTeam, Team, TeamList
from schemas.identity.state import State, TeamState, team_stream
from schemas.operation import Scope
from services.chassis.projection import Projection
from services.identity.domain import teams as domain
from services.identity.handlers.deciding import Decide, Deciding, refused
from services.identity.handlers.pages import page


class Teams:
    def __init__(self, deciding: Deciding, known: Projection[State]) -> None:
        self._deciding = deciding
        self._known = known

    def bind(self, router: Router) -> None:
        router.answers(PutTeam, self.answer_put_team)
        router.answers(GetTeam, self.answer_get_team)
        router.answers(RenameTeam, self.answer_rename_team)
        router.answers(ListTeams, self.answer_list_teams)
        router.answers(DeleteTeam, self.answer_delete_team)

    async def answer_put_team(self, ask: PutTeam, delivery: Delivery) -> Team:
        def decide(state: State | None) -> tuple[Fact, ...]:
            return domain.decide_put_team(state, ask)

        _, after = await self._carry_out(ask.command_id, ask.id, decide, lambda team: team.name == ask.name)
        return _shown(after, ask.id)

    async def answer_get_team(self, ask: GetTeam, delivery: Delivery) -> Team:
        return domain.team_of(await self.living(ask.id, ask.team, ask.actor_scopes))

    async def answer_rename_team(self, ask: RenameTeam, delivery: Delivery) -> Team:
        with refused():
            domain.check_own(ask.id, ask.team)

        def decide(state: State | None) -> tuple[Fact, ...]:
            return domain.decide_rename_team(state, ask)

        _, after = await self._carry_out(ask.command_id, ask.id, decide, lambda team: team.name == ask.name)
        return _shown(after, ask.id)

    async def answer_list_teams(self, ask: ListTeams, delivery: Delivery) -> TeamList:
        every = ask.actor_scopes is None or "installation" in ask.actor_scopes
        teams = (
            domain.team_of(team)
            for state in self._known.states()
            if (team := state.living_team) is not None and (every or team.id == ask.team)
        )
        of = ("teams", "" if every else ask.team)
        shown, cursor = page(teams, _place, of=of, limit=ask.limit, cursor=ask.cursor)
        return TeamList(shown, cursor)

    async def answer_delete_team(self, ask: DeleteTeam, delivery: Delivery) -> Team:
        with refused():
            domain.check_own(ask.id, ask.team, ask.actor_scopes)

        def decide(state: State | None) -> tuple[Fact, ...]:
            return domain.decide_delete_team(state, ask)

        before, _ = await self._carry_out(ask.command_id, ask.id, decide, lambda team: team.deleted)
        return _shown(before, ask.id)

    async def living(self, id: str, team: str, scopes: Collection[Scope] | None = ()) -> TeamState:
        """The team that the path names, if it is one of the caller's. Raises Refused."""
        with refused():
            domain.check_own(id, team, scopes)
            return domain.living(await self._deciding.state(team_stream(id)), id)

    async def _carry_out(
        self, command_id: str, id: str, decide: Decide, did: Callable[[TeamState], bool]
    ) -> tuple[State | None, State | None]:
        def did_it(state: State) -> bool:
            return state.team is not None and did(state.team)

        stream = team_stream(id)
        return await self._deciding.carry_out(command_id, stream, id[:63], "_", decide, did=did_it)


def _shown(state: State | None, id: str) -> Team:
    with refused():
        return domain.team_of(domain.living(state, id))


def _place(team: Team) -> str:
    """Oldest first."""
    return f"{team.created_at.isoformat()} {team.id}"
