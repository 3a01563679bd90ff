"""Answers who signs in and out, and who a caller is."""

from __future__ import annotations

from datetime import timedelta

import msgspec

from bus.clock import Clock
from bus.errors import Refused
from bus.ids import derived
from bus.message import Fact
from bus.router import Delivery, Router
from schemas.identity import (
    SESSION_S,
    Caller,
    CloseSession,
    GetCaller,
    OpenSession,
    Session,
    SessionOpened,
)
from schemas.identity.state import MemberState, PersonState, State, person_stream, team_stream, token_stream
from services.chassis.projection import Projection
from services.identity.domain import people as domain
from services.identity.domain.addresses import address_from
from services.identity.domain.passwords import normalized
from services.identity.domain.refusing import No
from services.identity.handlers.attempts import Attempts
from services.identity.handlers.deciding import Decide, Deciding, refused
from services.identity.handlers.hashing import Hashing
from services.identity.handlers.persons import person_of
from services.identity.handlers.secrets import Made, Makes


class Sessions:
    def __init__(
        self,
        deciding: Deciding,
        known: Projection[State],
        clock: Clock,
        makes: Makes,
        hashing: Hashing,
        attempts: Attempts,
    ) -> None:
        self._deciding = deciding
        self._known = known
        self._clock = clock
        self._makes = makes
        self._hashing = hashing
        self._attempts = attempts

    def bind_hashing(self, router: Router) -> None:
        router.answers(OpenSession, self.answer_open_session)

    def bind(self, router: Router) -> None:
        router.answers(CloseSession, self.answer_close_session)
        router.answers(GetCaller, self.answer_get_caller)

    async def answer_open_session(self, ask: OpenSession, delivery: Delivery) -> Session:
        password = normalized(self._makes.opened(ask, "password"))
        try:
            id = person_of(address_from(ask.email))
        except No:
            await self._attempts.take(address=ask.client_address)
            raise _unauthorized() from None
        await self._attempts.take(address=ask.client_address, person=id)
        await self._known.refresh()  # for everybody, so that it takes no longer for some
        person = self.person(id)
        right = await self._hashing.is_of(id, person.hash if person is not None else "", password)
        if person is None or not right:
            raise _unauthorized()
        team = self._team_for(person, ask.for_team)
        opened, made = self.prepared(ask.command_id, id, team, f"{id} {team}", ask.client_address)
        rehashed = ""
        if self._hashing.is_outdated(id, person.hash):
            rehashed = await self._hashing.hashed(id, password)

        def decide(state: State | None) -> tuple[Fact, ...]:
            return domain.decide_open(state, person, opened, rehashed)

        return await self.open(ask.command_id, decide, opened, made)

    async def answer_close_session(self, ask: CloseSession, delivery: Delivery) -> Session:
        def decide(state: State | None) -> tuple[Fact, ...]:
            return domain.decide_close(state, ask.session, ask.actor)

        def did(state: State) -> bool:
            return state.person is not None and domain.session_in(state.person, ask.session) is None

        stream = person_stream(ask.actor)
        before, _ = await self._deciding.carry_out(ask.command_id, stream, ask.actor, "_", decide, did=did)
        return self.shown(before, ask.session)

    async def answer_get_caller(self, ask: GetCaller, delivery: Delivery) -> Caller:
        scopes = tuple(ask.actor_scopes or ())
        if ask.session:
            person = self.person(ask.actor)
            session = domain.session_in(person, ask.session) if person is not None else None
            if person is not None and session is not None:
                shown = self.shown(State(person=person), session.id)
                return Caller(
                    "session", session.id, person.email, session.team, scopes, ask.allowed_buckets,
                    person.email, shown.role, session.expires_at,
                )  # fmt: skip
        elif ask.actor:
            known = await self._deciding.state(token_stream(ask.actor))
            token = known.token if known is not None else None
            if token is not None and ask.team in ("", token.team):
                return Caller(
                    "token", token.id, token.name, token.team, scopes, ask.allowed_buckets,
                    expires_at=token.expires_at,
                )  # fmt: skip
        raise Refused("caller-unknown", "this is asked with no token and no session")

    def person(self, id: str) -> PersonState | None:
        state = self._known.get(person_stream(id)).state
        return state.person if state is not None else None

    def prepared(
        self, command_id: str, person: str, team: str, about: str, address: str
    ) -> tuple[SessionOpened, Made]:
        """A session to open, always the same for the same command. about: what it is opened with."""
        id = derived(command_id, "session", about)
        made = self._makes.secret("tls", command_id, id)
        expires_at = self._clock.now() + timedelta(seconds=SESSION_S)
        return SessionOpened(person, id, made.sha256, team, expires_at, address[:64], person), made

    async def open(self, command_id: str, decide: Decide, opened: SessionOpened, made: Made) -> Session:
        """Carry out what opens this session, and answer with it."""

        def did_it(state: State) -> bool:
            return state.person is not None and domain.session_in(state.person, opened.session) is not None

        stream = person_stream(opened.id)
        _, after = await self._deciding.carry_out(command_id, stream, opened.id, "_", decide, did=did_it)
        return self.shown(after, opened.session, made)

    def shown(self, state: State | None, id: str, made: Made | None = None) -> Session:
        """Raises Refused when the person is no longer in the team."""
        person = state.person if state is not None else None
        session = domain.session_in(person, id) if person is not None else None
        with refused():
            if person is None or session is None:
                raise domain.unknown_session()
            member = self.member(person.id, session.team)
            if member is None:
                raise domain.unknown_session()
            answer = domain.session_of(person, session, member)
        return answer if made is None else msgspec.structs.replace(answer, secret=made.sealed_for(Session))

    def member(self, person: str, team: str) -> MemberState | None:
        """None too when the team has ended."""
        known = self._known.get(team_stream(team)).state
        living = known.living_team if known is not None else None
        return living.members.get(person) if living is not None else None

    def _team_for(self, person: PersonState, wanted: str) -> str:
        """The team to work in. Raises Refused."""
        teams = [team for team in person.joined if self.member(person.id, team) is not None]
        if wanted:
            teams = [team for team in teams if team == wanted]
        if not teams:
            raise _unauthorized()
        if len(teams) > 1:
            raise Refused(
                "session-invalid", f"for_team must name one of your teams: {', '.join(sorted(teams))}"
            )
        return teams[0]


def _unauthorized() -> Refused:
    return Refused(
        "session-unauthorized", "the e-mail address or the password is wrong, or there is no such membership"
    )
