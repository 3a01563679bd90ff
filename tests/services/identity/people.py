"""Asks of people who sign in, as the edge sends them."""

from __future__ import annotations

from typing import Any

import msgspec

from bus.message import Ask
from schemas.identity import (
    AcceptInvitation,
    InviteMember,
    OpenSession,
    PutMember,
    PutTeam,
    Session,
)
from schemas.operation import ROLE_SCOPES, sealed_in
from tests.services.identity.place import Place

ANN = "ann@example.com"
GOOD = "tea shop at dawn"
OTHER = "a quiet harbour 7"
OWNER = tuple(sorted(ROLE_SCOPES["owner"]))
OPERATOR = (*OWNER, "installation")


class People:
    """Asks with their secrets sealed."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self._commands = 0

    def sealed(self, ask: Ask[Any]) -> Any:
        secrets = self.place.shared.secrets
        changes = {
            name: secrets.seal(getattr(ask, name).encode(), context)
            for name, context in sealed_in(type(ask)).items()
        }
        return msgspec.structs.replace(ask, **changes)

    def command(self) -> str:
        self._commands += 1
        return f"command-{self._commands}"

    async def team(self, id: str, *members: tuple[str, str]) -> None:
        await self.place.bus.ask(PutTeam(self.command(), id, id))
        for email, role in members:
            put: Any = PutMember(self.command(), id, email, role)  # type: ignore[arg-type]
            await self.place.bus.ask(put)

    async def invite(self, team: str, email: str = ANN, scopes: Any = OWNER) -> str:
        ask = InviteMember(self.command(), team, email, team, "t-1", scopes)
        return self.place.secret_in(await self.place.bus.ask(ask))

    def accept(self, code: str, password: str, command: str = "") -> AcceptInvitation:
        accept: AcceptInvitation = self.sealed(AcceptInvitation(command or self.command(), code, password))
        return accept

    def sign_in(self, password: str, email: str = ANN, team: str = "", command: str = "") -> OpenSession:
        ask: OpenSession = self.sealed(
            OpenSession(command or self.command(), email, password, team, "192.0.2.7")
        )
        return ask

    async def joined(self, team: str, email: str = ANN, password: str = GOOD) -> Session:
        return await self.place.bus.ask(self.accept(await self.invite(team, email), password))

    async def refused(self, ask: Ask[Any]) -> str:
        return await self.place.refused(ask)
