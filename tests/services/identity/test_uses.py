"""When a token was last used: heard, and read back from the log."""

from __future__ import annotations

import asyncio
from pathlib import Path

from bus.message import Fact
from bus.testing import Harness, harness
from schemas import request_vault
from schemas.api import TokenUsed
from schemas.identity import CreateToken, GetToken, ListTokens, Token
from services.identity.config import Config
from services.identity.service import build
from services.request_vault import service as vault_service
from services.request_vault.config import Config as VaultConfig
from tests.services.grounds import a_ground
from tests.services.identity.place import Place
from tests.services.request_vault.running import vault


class Misused(Fact, frozen=True):
    TYPE = "api.token.used"

    what: str


CREATE = CreateToken("c1", "laptop", ("calls:read",))


async def used(b: Harness, id: str) -> TokenUsed:
    fact = TokenUsed(id, b.clock.now())
    await b.as_source("api").publish(fact, subject=id)
    await b.settled()
    return fact


async def known(b: Harness, id: str) -> Token:
    """Once identity knows that it was used."""
    async with asyncio.timeout(20):
        while (token := await b.ask(GetToken(id))).last_used_at is None:
            await b.clock.advance(0.1)
        return token


async def test_a_use_is_heard(place: Place) -> None:
    async with place.identity():
        made = await place.bus.ask(CREATE)
        assert made.last_used_at is None
        first = await used(place.bus, made.id)
        await place.bus.clock.advance(300)
        second = await used(place.bus, made.id)
        await place.bus.as_source("api").publish(first, subject=made.id)  # late, by another instance
        await place.bus.settled()
        assert (await place.bus.ask(GetToken(made.id))).last_used_at == second.at
        assert (await place.bus.ask(ListTokens())).tokens[0].last_used_at == second.at


async def test_uses_are_read_back_after_a_restart(tmp_path: Path) -> None:
    async with vault(tmp_path) as b:
        async with build(Config(), a_ground(b.as_source("identity"), tmp_path)):
            made = await b.ask(CREATE)
            await used(b, made.id)
            await b.clock.advance(300)
            last = await used(b, made.id)
        async with build(Config(), a_ground(b.as_source("identity"), tmp_path)):
            assert (await known(b, made.id)).last_used_at == last.at


async def test_identity_starts_without_the_vault_and_reads_when_it_is_there(tmp_path: Path) -> None:
    async with harness(subscriptions=request_vault.SUBSCRIPTIONS) as b:
        vault_ground = a_ground(b.as_source("request_vault"), tmp_path)
        ground = a_ground(b.as_source("identity"), tmp_path)
        async with vault_service.build(VaultConfig(), vault_ground), build(Config(), ground):
            made = await b.ask(CREATE)
            last = await used(b, made.id)
        async with build(Config(), ground):
            assert (await b.ask(GetToken(made.id))).last_used_at is None
            async with vault_service.build(VaultConfig(), vault_ground):
                assert (await known(b, made.id)).last_used_at == last.at


async def test_of_each_token_the_last_use_is_looked_up(tmp_path: Path) -> None:
    """However long the log is, and whatever else it holds by that name."""
    async with vault(tmp_path) as b:
        ground = a_ground(b.as_source("identity"), tmp_path)
        async with build(Config(), ground):
            tokens = [await b.ask(CreateToken(f"c{n}", "t", ("calls:read",))) for n in range(4)]
            last = None
            for _ in range(5):
                await b.clock.advance(300)
                for token in tokens[:2]:
                    last = await used(b, token.id)
            assert last is not None
            await b.as_source("shop").publish(Misused("x"), subject=tokens[2].id)
            await b.settled()
        async with build(Config(), ground):
            for token in tokens[:2]:
                assert (await known(b, token.id)).last_used_at == last.at
            for token in tokens[2:]:
                assert (await b.ask(GetToken(token.id))).last_used_at is None
