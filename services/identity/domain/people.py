"""People: invitations accepted, sessions opened and closed, passwords changed.

What a password proves was found out before, on the person as it was known then (`basis`): whoever decides on
another one has to find it out again.
"""

from __future__ import annotations

from datetime import datetime

from bus.errors import Unavailable
from bus.message import Fact
from schemas.identity import PasswordRehashed, PasswordSet, Session, SessionClosed, SessionOpened, TeamJoined
from schemas.identity.state import InvitationState, MemberState, PersonState, SessionState, State
from schemas.operation import ROLE_SCOPES
from services.identity.domain.members import elsewhere
from services.identity.domain.refusing import No

MAX_SESSIONS = 50


def invitation_in(person: PersonState, sha256: str, now: datetime) -> InvitationState | None:
    """The one with this code, if it is not too late."""
    return next(
        (each for each in person.invitations if each.sha256 == sha256 and each.expires_at > now), None
    )


def leads_in(invitation: InvitationState, member: MemberState) -> bool:
    """Whether the invitation still lets this member in: whoever made it, or holds it, may do no more than
    they could when it was made."""
    return ROLE_SCOPES[member.role] <= ROLE_SCOPES[invitation.role]


def keeps_password(person: PersonState, invitation: InvitationState) -> bool:
    """Whether the invitation only lets into its team who knows the password: it leads into other teams too,
    and is not theirs to give."""
    return bool(person.hash) and bool(elsewhere(person, invitation.team)) and not invitation.resets


def decide_accept(
    state: State | None, basis: PersonState, invitation: InvitationState, opened: SessionOpened, hash: str
) -> tuple[Fact, ...]:
    """hash: the new password's, sealed; empty when the present one was proved. The session comes first: it is
    the one that setting a password leaves."""
    person = state.person if state is not None else None
    if person is None or invitation not in person.invitations:
        raise unknown_invitation()
    if (person.hash, person.joined) != (basis.hash, basis.joined):
        raise _overtaken()
    if not hash:
        return (opened, TeamJoined(person.id, invitation.team, person.id), *_too_many(person))
    set_ = PasswordSet(
        person.id, hash, opened.session, person.id, team=invitation.team, resets=invitation.resets
    )
    return (opened, set_)


def decide_open(
    state: State | None, basis: PersonState, opened: SessionOpened, rehashed: str
) -> tuple[Fact, ...]:
    """rehashed: the same password's, empty when its hash is good as it is."""
    person = state.person if state is not None else None
    if person is None or person.hash != basis.hash:
        raise _overtaken()
    again = (PasswordRehashed(person.id, rehashed),) if rehashed else ()
    return (opened, *again, *_too_many(person))


def decide_close(state: State | None, session: str, actor: str) -> tuple[Fact, ...]:
    person = state.person if state is not None else None
    open = session_in(person, session) if person is not None else None
    if person is None or open is None:
        raise unknown_session()
    return (SessionClosed(person.id, session, actor, open.team),)


def decide_change(state: State | None, basis: PersonState, session: str, hash: str) -> tuple[Fact, ...]:
    """hash: the new password's, sealed; empty when the current one was not proved."""
    person = state.person if state is not None else None
    if person is None or session_in(person, session) is None:
        raise unknown_session()
    if not hash:
        raise No("password-unauthorized", "current is not the password")
    if person.hash != basis.hash:
        raise _overtaken()
    return (PasswordSet(person.id, hash, session, person.id),)


def session_in(person: PersonState, id: str) -> SessionState | None:
    return next((each for each in person.sessions if each.id == id), None)


def session_of(person: PersonState, session: SessionState, member: MemberState) -> Session:
    """As it is answered, without its secret."""
    return Session(session.id, person.email, session.team, member.role, session.expires_at)


def unknown_invitation() -> No:
    return No("invitation-unknown", "there is no such invitation: the code is wrong, was used, or is too old")


def unknown_session() -> No:
    return No("session-unknown", "this is not signed in with a session")


def _too_many(person: PersonState) -> tuple[Fact, ...]:
    """Before another session: the oldest has to go."""
    excess = len(person.sessions) + 1 - MAX_SESSIONS
    return tuple(
        SessionClosed(person.id, each.id, team=each.team) for each in person.sessions[: max(excess, 0)]
    )


def _overtaken() -> Unavailable:
    return Unavailable("the password was changed at this very moment; try again")
