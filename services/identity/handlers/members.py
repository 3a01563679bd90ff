"""Answers what is asked about members of a team."""

from __future__ import annotations

from datetime import timedelta

from bus.clock import Clock
from bus.errors import Refused
from bus.ids import derived
from bus.message import Fact
from bus.router import Delivery, Router
from schemas.identity import (
    SESSION_S,
    Invitation,
    InviteMember,
    ListMembers,
    Member,
    MemberList,
    MemberRemoved,
    PutMember,
    RemoveMember,
    SessionClosed,
)
from schemas.identity.state import MemberState, PersonState, State, person_stream, team_stream
from services.chassis.projection import Projection
from services.identity.domain import members as domain
from services.identity.domain.addresses import address_from
from services.identity.domain.teams import check_own, living
from services.identity.handlers.deciding import USED_ELSEWHERE, Decide, Deciding, refused
from services.identity.handlers.pages import page
from services.identity.handlers.persons import person_of
from services.identity.handlers.secrets import Makes


class Members:
    def __init__(self, deciding: Deciding, known: Projection[State], clock: Clock, makes: Makes) -> None:
        self._deciding = deciding
        self._known = known
        self._clock = clock
        self._makes = makes

    def bind(self, router: Router) -> None:
        router.answers(PutMember, self.answer_put_member)
        router.answers(RemoveMember, self.answer_remove_member)
        router.answers(ListMembers, self.answer_list_members)
        router.answers(InviteMember, self.answer_invite_member)

    async def answer_put_member(self, ask: PutMember, delivery: Delivery) -> Member:
        person, address = _meant(ask)

        def decide(state: State | None) -> tuple[Fact, ...]:
            return domain.decide_put_member(state, ask, person, address)

        _, after = await self._carry_out(ask, decide)
        member = _member(after, person)
        if member is None or member.role != ask.role:
            raise Refused("command-conflict", USED_ELSEWHERE)
        return self._shown(member, person, ask.id)

    async def answer_remove_member(self, ask: RemoveMember, delivery: Delivery) -> Member:
        person, address = _meant(ask)

        def decide(state: State | None) -> tuple[Fact, ...]:
            return domain.decide_remove_member(state, ask, person, address)

        before, after = await self._carry_out(ask, decide)
        member = _member(before, person)
        if member is None or _member(after, person) is not None:
            raise Refused("command-conflict", USED_ELSEWHERE)
        return self._shown(member, person, ask.id)

    async def answer_list_members(self, ask: ListMembers, delivery: Delivery) -> MemberList:
        with refused():
            check_own(ask.id, ask.team, ask.actor_scopes)
            team = living(await self._deciding.state(team_stream(ask.id)), ask.id)
        members = (self._shown(member, person, ask.id) for person, member in team.members.items())
        shown, cursor = page(members, _place, of=("members", ask.id), limit=ask.limit, cursor=ask.cursor)
        return MemberList(shown, cursor)

    async def answer_invite_member(self, ask: InviteMember, delivery: Delivery) -> Invitation:
        person, address = _meant(ask)
        made = self._makes.secret("tli", ask.command_id, f"{ask.id} {person}")
        team = team_stream(ask.id)
        await self._deciding.state(team)

        def decide(state: State | None) -> tuple[Fact, ...]:
            return domain.decide_invite_member(
                state,
                ask,
                person,
                living(self._known.get(team).state, ask.id),
                address,
                sha256=made.sha256,
                now=self._clock.now(),
            )

        _, after = await self._deciding.carry_out(ask.command_id, person_stream(person), person, "_", decide)
        invited = after.person if after is not None else None
        for each in invited.invitations if invited is not None else ():
            if invited is not None and each.sha256 == made.sha256:
                return Invitation(invited.email, made.sealed_for(Invitation), each.expires_at)
        raise Refused("command-conflict", USED_ELSEWHERE)

    async def on_member_removed(self, removed: MemberRemoved, delivery: Delivery) -> None:
        """The sessions in the team have ended with the membership; none comes back with another one."""
        await self._known.refresh()
        opened_before = delivery.event.time + timedelta(seconds=SESSION_S)
        person = self._person(removed.person)
        for session in person.sessions if person is not None else ():
            if session.team == removed.team and session.expires_at <= opened_before:
                await self._close(removed, session.id)

    async def _close(self, removed: MemberRemoved, session: str) -> None:
        def decide(state: State | None) -> tuple[Fact, ...]:
            person = state.person if state is not None else None
            if person is None or all(each.id != session for each in person.sessions):
                return ()
            return (SessionClosed(person.id, session, removed.by, removed.team),)

        command_id = derived("member removed", removed.team, session)
        await self._deciding.carry_out(command_id, person_stream(removed.person), removed.person, "_", decide)

    async def _carry_out(
        self, ask: PutMember | RemoveMember, decide: Decide
    ) -> tuple[State | None, State | None]:
        return await self._deciding.carry_out(ask.command_id, team_stream(ask.id), ask.id[:63], "_", decide)

    def _shown(self, member: MemberState, person: str, team: str) -> Member:
        return domain.member_of(member, person, self._person(person), team)

    def _person(self, id: str) -> PersonState | None:
        state = self._known.get(person_stream(id)).state
        return state.person if state is not None else None


def _meant(ask: PutMember | RemoveMember | InviteMember) -> tuple[str, str]:
    """The person's id and address, if the team is the caller's business. Raises Refused."""
    with refused():
        check_own(ask.id, ask.team, ask.actor_scopes)
        slug = "member-invalid" if isinstance(ask, PutMember) else "member-unknown"
        address = address_from(ask.email, slug)
    return person_of(address), address


def _member(state: State | None, person: str) -> MemberState | None:
    return state.team.members.get(person) if state is not None and state.team is not None else None


def _place(member: Member) -> str:
    return f"{member.email} {member.person}"
