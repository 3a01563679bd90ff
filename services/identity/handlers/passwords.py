"""Answers who sets a password: with an invitation, or with the one until now."""

from __future__ import annotations

from bus.clock import Clock
from bus.errors import Refused
from bus.ids import derived
from bus.message import Fact
from bus.router import Delivery, Router
from schemas.identity import AcceptInvitation, ChangePassword, Session
from schemas.identity.state import InvitationState, PersonState, State, person_stream
from services.chassis.access.tokens import digest_of, is_mistyped
from services.chassis.projection import Projection
from services.identity.domain import people as domain
from services.identity.domain.passwords import check_password, normalized
from services.identity.handlers.attempts import Attempts
from services.identity.handlers.deciding import Deciding, refused
from services.identity.handlers.hashing import Hashing
from services.identity.handlers.secrets import Makes
from services.identity.handlers.sessions import Sessions


class Passwords:
    def __init__(
        self,
        deciding: Deciding,
        known: Projection[State],
        clock: Clock,
        makes: Makes,
        hashing: Hashing,
        attempts: Attempts,
        sessions: Sessions,
    ) -> None:
        self._deciding = deciding
        self._known = known
        self._clock = clock
        self._makes = makes
        self._hashing = hashing
        self._attempts = attempts
        self._sessions = sessions

    def bind_hashing(self, router: Router) -> None:
        router.answers(AcceptInvitation, self.answer_accept_invitation)
        router.answers(ChangePassword, self.answer_change_password)

    async def answer_accept_invitation(self, ask: AcceptInvitation, delivery: Delivery) -> Session:
        await self._attempts.take(address=ask.client_address)
        code = self._makes.opened(ask, "code").strip()
        password = normalized(self._makes.opened(ask, "password"))
        digest = digest_of(code)
        found = None
        if not is_mistyped(code):
            await self._known.refresh()  # also of the role, which may be another by now
            found = self._invited(digest)
        if found is None:
            return await self._accepted_before(ask, digest, password)
        person, invitation = found
        await self._attempts.take(address="", person=person.id)
        hash = ""
        if domain.keeps_password(person, invitation):
            if not await self._hashing.is_of(person.id, person.hash, password):
                detail = f"{person.email} has a password already, and this is not the one"
                raise Refused("password-unauthorized", detail)
        else:
            with refused():
                check_password(password, person.email)
            hash = await self._hashing.hashed(person.id, password)
        opened, made = self._sessions.prepared(
            ask.command_id, person.id, invitation.team, digest, ask.client_address
        )

        def decide(state: State | None) -> tuple[Fact, ...]:
            return domain.decide_accept(state, person, invitation, opened, hash)

        return await self._sessions.open(ask.command_id, decide, opened, made)

    async def answer_change_password(self, ask: ChangePassword, delivery: Delivery) -> Session:
        current = normalized(self._makes.opened(ask, "current"))
        password = normalized(self._makes.opened(ask, "password"))
        person = self._sessions.person(ask.actor)
        if person is None or domain.session_in(person, ask.session) is None:
            raise _refused_session()
        await self._attempts.take(address=ask.client_address, person=person.id)
        await self._known.refresh()
        person = self._sessions.person(ask.actor) or person
        with refused():
            check_password(password, person.email)
        hash = ""
        if await self._hashing.is_of(person.id, person.hash, current):
            hash = await self._hashing.hashed(person.id, password)
        basis = person

        def decide(state: State | None) -> tuple[Fact, ...]:
            return domain.decide_change(state, basis, ask.session, hash)

        stream = person_stream(person.id)
        _, after = await self._deciding.carry_out(ask.command_id, stream, person.id, "_", decide)
        return self._sessions.shown(after, ask.session)

    async def _accepted_before(self, ask: AcceptInvitation, digest: str, password: str) -> Session:
        """A repeat finds its invitation used up: it is answered with the session that it opened, if it has
        the password, too. Raises Refused."""
        id = derived(ask.command_id, "session", digest)
        for state in self._known.states():
            person = state.person
            session = domain.session_in(person, id) if person is not None else None
            if person is None or session is None:
                continue
            await self._attempts.take(address="", person=person.id)
            if await self._hashing.is_of(person.id, person.hash, password):
                made = self._makes.secret("tls", ask.command_id, id)
                return self._sessions.shown(State(person=person), id, made)
        with refused():
            raise domain.unknown_invitation()

    def _invited(self, digest: str) -> tuple[PersonState, InvitationState] | None:
        now = self._clock.now()
        for state in self._known.states():
            person = state.person
            invitation = domain.invitation_in(person, digest, now) if person is not None else None
            if person is not None and invitation is not None:
                member = self._sessions.member(person.id, invitation.team)
                good = member is not None and domain.leads_in(invitation, member)
                return (person, invitation) if good else None
        return None


def _refused_session() -> Refused:
    no = domain.unknown_session()
    return Refused(no.slug, no.detail)
