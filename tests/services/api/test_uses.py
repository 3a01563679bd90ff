"""That a token was used is told seldom, and in nobody's way."""

from __future__ import annotations

import asyncio
from pathlib import Path

from bus.errors import Unavailable
from bus.message import Fact
from bus.testing import ManualClock, turns
from schemas.api import USED_EVERY_S, TokenUsed
from services.api.edge.uses import MAX_WAITING, Uses
from services.chassis.access import Grant
from tests.services.api.installed import installed


class Told:
    def __init__(self) -> None:
        self.facts: list[Fact] = []
        self.down = False

    async def publish(self, *facts: Fact, subject: str | None = None, timeout_s: float = 30.0) -> None:
        if self.down:
            raise Unavailable("the bus is away")
        assert [subject] == [fact.id for fact in facts if isinstance(fact, TokenUsed)]
        self.facts += facts


def grant(id: str, kind: str = "token") -> Grant:
    return Grant("session" if kind == "session" else "token", id, id, "us", frozenset())


async def test_a_use_is_told_once_in_a_while() -> None:
    clock, told = ManualClock(), Told()
    uses = Uses(told, clock)
    async with asyncio.TaskGroup() as beside:
        telling = beside.create_task(uses.tell())
        for _ in range(5):
            uses.note(grant("a"))
        uses.note(grant("b"))
        uses.note(grant("s", "session"))
        await turns()
        assert told.facts == [TokenUsed("a", clock.now()), TokenUsed("b", clock.now())]
        await clock.advance(USED_EVERY_S - 1)
        uses.note(grant("a"))
        await turns()
        assert len(told.facts) == 2
        await clock.advance(1)
        uses.note(grant("a"))
        await turns()
        assert told.facts[2:] == [TokenUsed("a", clock.now())]
        telling.cancel()


async def test_what_cannot_be_told_is_told_with_a_later_use() -> None:
    clock, told = ManualClock(), Told()
    uses = Uses(told, clock)
    async with asyncio.TaskGroup() as beside:
        telling = beside.create_task(uses.tell())
        told.down = True
        uses.note(grant("a"))
        await turns()
        told.down = False
        uses.note(grant("a"))
        await turns()
        assert told.facts == [TokenUsed("a", clock.now())]
        telling.cancel()


async def test_while_nobody_publishes_nobody_waits() -> None:
    uses = Uses(Told(), ManualClock())
    for number in range(MAX_WAITING + 10):
        uses.note(grant(f"t-{number}"))


async def test_a_used_token_says_when(tmp_path: Path) -> None:
    async with installed(tmp_path) as api:
        asked_at = api.bus.clock.now()
        async with asyncio.timeout(10):
            used = False
            while not used:
                tokens = (await api.json("GET", "/v1/tokens"))["tokens"]
                used = any(token["last_used_at"] for token in tokens if token["name"] == "owner")
        assert next(token for token in tokens if token["name"] == "viewer")["last_used_at"] is None
        assert tokens[0]["created_at"] < asked_at.isoformat()
