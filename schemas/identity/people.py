"""Who signs in: passwords and sessions. Stream `identity.person-<id>`; the id follows from the e-mail
address.

Being named a member lets nobody in: a person works in a team once an invitation of that very team was
accepted with the password, so that a password which one team gave out opens no other. Nor does a team's
invitation set the password of who works in another team too.

A session works like a token of its person: it allows what the person's role in the session's team allows at
the time. The log holds password hashes (argon2id) sealed under the installation's key, and of invitations and
sessions the SHA-256.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from bus.message import Ask, Fact
from schemas.operation import Role, Scope, Sealed

SESSION_S = 14 * 24 * 3600
MIN_PASSWORD_CHARS = 12
MAX_PASSWORD_CHARS = 256


class PersonInvited(Fact, frozen=True):
    """Subject: the person's id. The invitation replaces the team's one before. resets: it sets a new password
    in any case. role: the member's, when the code was handed out; who may do more by now needs another
    one."""

    TYPE = "identity.person.invited"
    ORDERED = True

    id: str
    email: str
    team: str
    sha256: str
    expires_at: datetime
    by: str = ""
    resets: bool = False
    role: Role = "owner"


class PasswordSet(Fact, frozen=True):
    """hash: sealed, with the context `identity.password.<id>`. team: whose invitation it was set with, the
    only team to work in from now on unless it `resets`; empty: the person changed it. Uses up the
    invitation, those of teams that the person works in, and ends every session but `kept`."""

    TYPE = "identity.person.secured"
    ORDERED = True

    id: str
    hash: str
    kept: str = ""
    by: str = ""
    team: str = ""
    resets: bool = False


class PasswordRehashed(Fact, frozen=True):
    """The same password under other parameters or another key of the installation. Nothing ends."""

    TYPE = "identity.person.rehashed"
    ORDERED = True

    id: str
    hash: str


class TeamJoined(Fact, frozen=True):
    """Somebody who works in other teams accepted this one's invitation with the password."""

    TYPE = "identity.person.joined"
    ORDERED = True

    id: str
    team: str
    by: str = ""


class SessionOpened(Fact, frozen=True):
    TYPE = "identity.person.signed_in"
    ORDERED = True

    id: str
    session: str
    sha256: str
    team: str
    expires_at: datetime
    address: str = ""
    by: str = ""


class SessionClosed(Fact, frozen=True):
    TYPE = "identity.person.signed_out"
    ORDERED = True

    id: str
    session: str
    by: str = ""
    team: str = ""


class Session(Fact, frozen=True):
    """secret: goes where a token goes; shown once."""

    TYPE = "identity.session.state"

    id: str
    email: str
    team: str
    role: Role
    expires_at: datetime
    secret: Sealed | None = None


class Caller(Fact, frozen=True):
    """Who a token or a session is, and what it may do. email and role: of who is signed in."""

    TYPE = "identity.caller.state"

    kind: Literal["token", "session"]
    id: str
    name: str
    team: str
    scopes: tuple[str, ...]
    buckets: tuple[str, ...]
    email: str = ""
    role: Role | None = None
    expires_at: datetime | None = None


class AcceptInvitation(Ask[Session], frozen=True):
    """Set a password with the code of an invitation, and sign in.

    code: as the owner of the team got it. password: 12 to 256 characters; who works in another team already
    gives the present password, and keeps it. Refused: invitation-unknown (wrong, used or too late),
    password-invalid, password-unauthorized (not the present one), session-limited (too many attempts).
    """

    TYPE = "identity.invitation.accept"

    command_id: str
    code: Sealed
    password: Sealed
    client_address: str = ""


class OpenSession(Ask[Session], frozen=True):
    """Sign in.

    for_team: the id of the team to work in; needed by who is a member of several. Refused:
    session-unauthorized (the address or the password is wrong, or there is no such membership),
    session-invalid (a team must be named), session-limited (too many attempts).
    """

    TYPE = "identity.session.open"

    command_id: str
    email: str
    password: Sealed
    for_team: str = ""
    client_address: str = ""


class CloseSession(Ask[Session], frozen=True):
    """Sign out. Refused: session-unknown (not signed in with a session)."""

    TYPE = "identity.session.close"

    command_id: str
    actor: str = ""
    session: str = ""


class ChangePassword(Ask[Session], frozen=True):
    """Set another password; every other session of this person ends.

    current: the password until now. password: the new one, 12 to 256 characters. Refused: session-unknown
    (not signed in with a session), password-unauthorized (the current one is wrong), password-invalid,
    session-limited (too many attempts).
    """

    TYPE = "identity.password.change"

    command_id: str
    current: Sealed
    password: Sealed
    actor: str = ""
    session: str = ""
    client_address: str = ""


class GetCaller(Ask[Caller], frozen=True):
    """Who the token or session of this request is, and what it may do. Refused: caller-unknown."""

    TYPE = "identity.caller.get"

    actor: str = ""
    session: str = ""
    team: str = ""
    actor_scopes: tuple[Scope, ...] | None = None
    allowed_buckets: tuple[str, ...] = ()
