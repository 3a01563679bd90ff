"""Answers identity's asks. Called over the bus by the API and the command line."""

from __future__ import annotations

from bus.router import Router
from schemas.identity import MemberRemoved
from schemas.identity.state import State
from services.chassis.host import Ground
from services.chassis.projection import Projection
from services.identity.config import Config
from services.identity.handlers.attempts import Attempts
from services.identity.handlers.audit import Audit
from services.identity.handlers.buckets import Buckets
from services.identity.handlers.deciding import Deciding
from services.identity.handlers.endings import Endings
from services.identity.handlers.hashing import AT_ONCE as HASHED_AT_ONCE
from services.identity.handlers.hashing import Hashing
from services.identity.handlers.members import Members
from services.identity.handlers.passwords import Passwords
from services.identity.handlers.secrets import Makes
from services.identity.handlers.sessions import Sessions
from services.identity.handlers.teams import Teams
from services.identity.handlers.tokens import Tokens
from services.identity.handlers.uses import Uses


class Handlers:
    """Every handler, put together."""

    def __init__(self, config: Config, ground: Ground, known: Projection[State], hashing: Hashing) -> None:
        self.uses = Uses()
        deciding = Deciding(config, ground.bus, known)
        makes = Makes(ground.shared.secrets)
        attempts = Attempts(ground.shared.limits, ground.clock)
        buckets = Buckets(deciding, known, ground.clock, makes)
        tokens = Tokens(deciding, known, ground.clock, makes, self.uses)
        sessions = Sessions(deciding, known, ground.clock, makes, hashing, attempts)
        passwords = Passwords(deciding, known, ground.clock, makes, hashing, attempts, sessions)
        self._members = Members(deciding, known, ground.clock, makes)
        teams, audit = Teams(deciding, known), Audit(deciding, known)
        self._answering = (buckets, tokens, teams, self._members, audit, sessions)
        self._hashing = (sessions, passwords)
        self._endings = Endings(deciding, known, buckets, tokens)

    def routers(self) -> tuple[Router, ...]:
        """Passwords are hashed on a queue of their own, so that nobody else waits for them."""
        answering, hashing = Router("identity"), Router("identity.people", concurrency=HASHED_AT_ONCE * 2)
        for each in self._answering:
            each.bind(answering)
        for one in self._hashing:
            one.bind_hashing(hashing)
        endings = self._endings.router()
        endings.on(MemberRemoved, self._members.on_member_removed)
        return answering, hashing, endings, self.uses.router()
