"""From a team to a session, its end, and the audit of it all: over RabbitMQ, on buses of their own, with two
instances of identity."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest

from bus import Bus, connect
from bus.message import Ask
from bus.testing import turns
from schemas.identity import (
    AcceptInvitation,
    ChangePassword,
    InviteMember,
    OpenSession,
    PutMember,
    PutTeam,
    ReadAudit,
    RemoveMember,
    Session,
)
from schemas.operation import sealed_in
from services import catalog
from services.chassis.access import Access
from services.chassis.host import Shared
from services.identity import service as identity_service
from services.identity.config import Config as IdentityConfig
from services.request_vault import service as vault_service
from services.request_vault.config import Config as VaultConfig
from tests.services.grounds import a_ground

ANN, BOB = "ann@example.com", "bob@example.com"
WITHIN_S = 2.0

pytestmark = [pytest.mark.slow, pytest.mark.rabbitmq]

A = TypeVar("A", bound=msgspec.Struct)


@asynccontextmanager
async def a_bus(amqp_url: str, source: str) -> AsyncIterator[Bus]:
    async with connect(amqp_url, source=source, subscriptions=catalog.contracts().subscriptions) as bus:
        yield bus


def sealed(ask: A, shared: Shared) -> A:
    changes = {
        name: shared.secrets.seal(getattr(ask, name).encode(), context)
        for name, context in sealed_in(type(ask)).items()
    }
    return msgspec.structs.replace(ask, **changes)


def secret_in(reply: Any, shared: Shared) -> str:
    ((name, context),) = sealed_in(type(reply)).items()
    return shared.secrets.open(getattr(reply, name), context).decode()


async def test_a_session_from_its_invitation_to_its_end(tmp_path: Path, amqp_url: str) -> None:
    async with (
        a_bus(amqp_url, "request_vault") as vaults,
        a_bus(amqp_url, "identity") as one,
        a_bus(amqp_url, "identity") as two,
        a_bus(amqp_url, "api") as apis,
        a_bus(amqp_url, "cli") as asking,
    ):
        shared = Shared.alone(apis.clock)
        async with (
            vault_service.build(VaultConfig(), a_ground(vaults, tmp_path)),
            identity_service.build(IdentityConfig(), a_ground(one, tmp_path / "1", shared=shared)),
            identity_service.build(IdentityConfig(), a_ground(two, tmp_path / "2", shared=shared)),
            Access.open(a_ground(apis, tmp_path)) as access,
        ):

            async def ask(question: Ask[Any]) -> Any:
                return await asking.ask(sealed(question, shared))

            await ask(PutTeam("c1", "shop", "The shop"))
            await ask(PutMember("c2", "shop", ANN, "owner"))
            await ask(PutMember("c3", "shop", BOB, "editor"))
            code = secret_in(await ask(InviteMember("c4", "shop", BOB)), shared)
            first: Session = await ask(AcceptInvitation("c5", code, "tea shop at dawn"))
            assert await access.grant(secret_in(first, shared)) is not None
            second: Session = await ask(OpenSession("c6", BOB, "tea shop at dawn"))
            granted = await access.grant(secret_in(second, shared))
            assert granted is not None
            assert (granted.kind, granted.team, granted.role) == ("session", "shop", "editor")
            change = ChangePassword("c7", "tea shop at dawn", "a quiet harbour", granted.actor, second.id)
            assert (await ask(change)).id == second.id
            await _until_refused(access, secret_in(first, shared))
            assert await access.grant(secret_in(second, shared)) is not None
            await ask(RemoveMember("c8", "shop", BOB))
            await _until_refused(access, secret_in(second, shared))
            page = await ask(ReadAudit("shop", by=BOB))
            assert [entry.type.rpartition(".")[2] for entry in page.entries] == [
                "signed_in",
                "secured",
                "signed_in",
            ]
            everything = await ask(ReadAudit("shop", types=("identity.member.*",)))
            assert [entry.about for entry in everything.entries] == [BOB, BOB, ANN]


async def _until_refused(access: Access, secret: str) -> None:
    async with asyncio.timeout(WITHIN_S):
        while await access.grant(secret) is not None:
            await turns()
