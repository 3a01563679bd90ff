"""A revoked token stops working in another process within two seconds: over RabbitMQ, on buses of their
own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bus import Bus, connect
from bus.testing import turns
from schemas.identity import CreateToken, RevokeToken, RotateToken, Token
from schemas.operation import sealed_in
from services import catalog
from services.chassis.access import Access
from services.chassis.host import Shared
from services.identity import service as identity_service
from services.identity.config import Config as IdentityConfig
from services.request_vault import service as vault_service
from services.request_vault.config import Config as VaultConfig
from tests.services.grounds import a_ground

WITHIN_S = 2.0

pytestmark = [pytest.mark.slow, pytest.mark.rabbitmq]


@asynccontextmanager
async def a_bus(amqp_url: str, source: str) -> AsyncIterator[Bus]:
    subscriptions = catalog.contracts().subscriptions
    async with connect(amqp_url, source=source, subscriptions=subscriptions) as bus:
        yield bus


def secret_in(token: Token, shared: Shared) -> str:
    ((_, context),) = sealed_in(Token).items()
    assert token.secret is not None
    return shared.secrets.open(token.secret, context).decode()


async def test_it_stops_working_elsewhere_within_two_seconds(tmp_path: Path, amqp_url: str) -> None:
    async with (
        a_bus(amqp_url, "request_vault") as vaults,
        a_bus(amqp_url, "identity") as identitys,
        a_bus(amqp_url, "api") as apis,
        a_bus(amqp_url, "cli") as asking,
    ):
        shared = Shared.alone(apis.clock)
        async with (
            vault_service.build(VaultConfig(), a_ground(vaults, tmp_path)),
            identity_service.build(IdentityConfig(), a_ground(identitys, tmp_path, shared=shared)),
            Access.open(a_ground(apis, tmp_path)) as access,
        ):
            for number in range(5):
                made = await asking.ask(CreateToken(f"c{number}", "t", ("calls:read",)))
                old = secret_in(made, shared)
                assert await access.grant(old) is not None, "it works at once"
                new = secret_in(await asking.ask(RotateToken(f"r{number}", made.id, 0)), shared)
                await _until_refused(access, old)
                assert await access.grant(new) is not None
                await asking.ask(RevokeToken(f"x{number}", made.id))
                await _until_refused(access, new)


async def _until_refused(access: Access, secret: str) -> None:
    async with asyncio.timeout(WITHIN_S):
        while await access.grant(secret) is not None:
            await turns()
