"""The secrets that identity hands out, once each: tokens, invitations, sessions; and those it is given.

A secret follows from the command that makes it and the installation's key, so that a repeated command gets
the same answer though no secret is kept."""

from __future__ import annotations

from typing import Any

import msgspec

from bus.errors import Refused
from bus.message import Ask
from schemas.operation import sealed_in
from services.chassis.access.tokens import Kind, digest_of, secret_of
from services.chassis.secrets import SealUnreadable, Secrets


class Made(msgspec.Struct, frozen=True):
    plain: str
    sha256: str
    secrets: Secrets

    def sealed_for(self, reply: type[Any]) -> str:
        """As it travels in the one sealed field of `reply`."""
        (context,) = sealed_in(reply).values()
        return self.secrets.seal(self.plain.encode(), context)

    def __repr__(self) -> str:
        return f"Made({self.sha256[:8]})"


class Makes:
    def __init__(self, secrets: Secrets) -> None:
        self._secrets = secrets

    def secret(self, kind: Kind, command_id: str, about: str) -> Made:
        """Always the same for the same command. about: what it is for: a bucket's key, a token's id ..."""
        plain = secret_of(kind, self._secrets.derived(f"secret {kind}", f"{about} {command_id}"))
        return Made(plain, digest_of(plain), self._secrets)

    def opened(self, ask: Ask[Any], field: str) -> str:
        """What was given in a sealed field. Raises Refused."""
        try:
            return self._secrets.open(getattr(ask, field), sealed_in(type(ask))[field]).decode()
        except (SealUnreadable, UnicodeDecodeError) as error:
            raise Refused("sealed-unreadable", f"{field} cannot be opened: {error}") from error
