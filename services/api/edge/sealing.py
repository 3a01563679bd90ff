"""Secrets on their way through the edge: what clients send is sealed before it is asked, what replies hold is
opened before it is sent. So no secret is on the bus in plain, nor in a log of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from schemas.operation import Operation, sealed_in
from services.api.edge.problems import SERVICE_FAILED
from services.chassis.secrets import SealUnreadable, Secrets

M = TypeVar("M", bound=msgspec.Struct)


class Sealing:
    """For one operation."""

    def __init__(self, service: str, operation: Operation, secrets: Secrets) -> None:
        reply: Any = operation.ask.reply_type()
        self._service = service
        self._secrets = secrets
        self._asked: Mapping[str, str] = sealed_in(operation.ask)
        self._replied: Mapping[str, str] = sealed_in(reply)

    def seal(self, ask: M) -> M:
        changes = {
            name: self._secrets.seal(value.encode(), context)
            for name, context in self._asked.items()
            if (value := getattr(ask, name)) is not None
        }
        return msgspec.structs.replace(ask, **changes) if changes else ask

    def open(self, reply: M) -> M:
        """Raises Problem when it was sealed under a key that is not here."""
        try:
            changes = {
                name: self._secrets.open(value, context).decode()
                for name, context in self._replied.items()
                if (value := getattr(reply, name)) is not None
            }
        except SealUnreadable as error:
            detail = f"{self._service} answered with a secret that cannot be opened here: {error}"
            raise SERVICE_FAILED.of(detail, service=self._service) from error
        return msgspec.structs.replace(reply, **changes) if changes else reply

    def is_secret(self, reply: Any) -> bool:
        """Whether this reply holds a secret, and is not to be kept by any cache."""
        return any(getattr(reply, name) is not None for name in self._replied)
