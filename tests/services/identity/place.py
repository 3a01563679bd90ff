"""Where identity is tested: a bus in memory, a log, and instances of identity with one installation key."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from bus.errors import Refused
from bus.message import Ask, Fact
from bus.router import Delivery, Router
from bus.testing import Harness
from schemas.operation import sealed_in
from schemas.request_vault import EraseBucket, Erasure
from services.chassis.host import Shared
from services.identity.config import Config
from services.identity.service import build
from tests.services.a_log import ALog
from tests.services.grounds import a_ground


class Place:
    def __init__(self, bus: Harness, data_dir: Path) -> None:
        self.bus = bus
        self.log = ALog(bus)
        self.shared = Shared.alone(bus.clock)
        self.erasures: list[EraseBucket] = []  # that the vault was asked for, repeats too
        self.data_dir = data_dir

    def vault(self) -> Router:
        """What identity asks the vault beside decisions."""
        router = Router("request_vault")
        router.answers(EraseBucket, self.answer_erase_bucket)
        return router

    async def answer_erase_bucket(self, ask: EraseBucket, delivery: Delivery) -> Erasure:
        self.erasures.append(ask)
        return Erasure(ask.command_id, ask.bucket, "bucket", "running", 0)

    @asynccontextmanager
    async def identity(self, name: str = "identity") -> AsyncIterator[None]:
        """An instance of it; `name` is for its folder only."""
        ground = a_ground(self.bus.as_source("identity"), self.data_dir / name, shared=self.shared)
        async with build(Config(), ground):
            yield

    async def happens(self, fact: Fact, stream: str) -> None:
        """Somebody else decided it, and everybody has heard of it."""
        self.log.record(fact, stream)
        await self.heard()

    async def heard(self) -> None:
        """Everybody has heard of what was decided."""
        await self.log.tell()
        await self.bus.settled()

    async def refused(self, ask: Ask[Any]) -> str:
        """The slug that this is refused with."""
        with pytest.raises(Refused) as caught:
            await self.bus.ask(ask)
        return caught.value.reason

    def secret_in(self, reply: Any) -> str:
        """What the one sealed field of a reply hides, as the edge opens it."""
        ((name, context),) = sealed_in(type(reply)).items()
        return self.shared.secrets.open(getattr(reply, name), context).decode()
