"""A whole installation for tests of the API: the real vault, identity and API over one bus in memory or on
disk, two teams, and a token for every role.

Ours is the team `default` with the bucket OURS, its twin OTHER, and the call CALL; theirs is the team `them`
with FOREIGN and FOREIGN_CALL.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from bus import Bus, Refused, connect
from schemas import api as api_contract
from schemas import identity as identity_contract
from schemas import request_vault as vault_contract
from schemas.identity import CreateToken, PutBucket, PutTeam
from schemas.operation import ROLE_SCOPES, SCOPES
from schemas.request_vault import GetCall
from schemas.traffic_gateway import CallCaptured
from services.api import service as api_service
from services.api.config import Config
from services.chassis.access.tokens import secret_of
from services.chassis.host import Ground, Shared
from services.chassis.host.board import Board
from services.identity import service as identity_service
from services.identity.config import Config as IdentityConfig
from services.request_vault import service as vault_service
from services.request_vault.config import Config as VaultConfig
from tests.services.api.standing import UNLIMITED
from tests.services.calls.made import call_of
from tests.services.grounds import a_ground

OURS, OTHER, FOREIGN = "ours00000001", "ours00000002", "foreign00001"
CALL, FOREIGN_CALL = "call-ours", "call-foreign"
SUBSCRIPTIONS = (
    *vault_contract.SUBSCRIPTIONS,
    *identity_contract.SUBSCRIPTIONS,
    *api_contract.SUBSCRIPTIONS,
)


class Installed(msgspec.Struct):
    """secrets: of tokens, by name: viewer, editor, owner, limited (an owner's, for OURS only), foreign (an
    owner's of the other team), operator (everything). `client` is the owner's. parts: the services; closing
    one stops it."""

    bus: Bus
    url: str
    client: aiohttp.ClientSession
    secrets: dict[str, str]
    shared: Shared
    parts: dict[str, AsyncExitStack]

    def headers(self, name: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.secrets[name]}"}

    async def keep(self, *calls: CallCaptured) -> None:
        """Publish calls and return when they can be read."""
        for call in calls:
            await self.bus.publish(call, key=call.bucket, subject=call.id)
        for call in calls:
            await readable(self.bus, call.id)

    async def json(self, method: str, path: str, status: int = 200, **named: Any) -> Any:
        """What it answers, with that status."""
        async with self.client.request(method, path, **named) as answer:
            text = await answer.text()
            assert answer.status == status, text
            return msgspec.json.decode(text) if text else None


@asynccontextmanager
async def installed(folder: Path, config: Config = UNLIMITED) -> AsyncIterator[Installed]:
    announced: dict[str, str] = {}
    async with AsyncExitStack() as up:
        bus = await up.enter_async_context(
            connect(f"embedded:{folder / 'bus.db'}", source="test", subscriptions=SUBSCRIPTIONS)
        )
        shared = Shared.alone(bus.clock)

        def ground(name: str) -> Ground:
            return a_ground(bus.as_source(name), folder, announce=announced.__setitem__, shared=shared)

        parts: dict[str, AsyncExitStack] = {}
        for name, build in (
            ("request_vault", vault_service.build(VaultConfig(), ground("request_vault"))),
            ("identity", identity_service.build(IdentityConfig(), ground("identity"))),
        ):
            parts[name] = await up.enter_async_context(AsyncExitStack())
            await parts[name].enter_async_context(build)
        parts["host"] = await up.enter_async_context(AsyncExitStack())
        await parts["host"].enter_async_context(bus.serve(Board(bus.clock).router()))
        secrets = await _filled(bus)
        parts["api"] = await up.enter_async_context(AsyncExitStack())
        config = msgspec.structs.replace(config, port=0)
        await parts["api"].enter_async_context(api_service.build(config, ground("api")))
        client = aiohttp.ClientSession(
            announced["url"], headers={"Authorization": f"Bearer {secrets['owner']}"}
        )
        await up.enter_async_context(client)
        made = Installed(bus, announced["url"], client, secrets, shared, parts)
        await made.keep(call_of(id=CALL, bucket=OURS), call_of(id=FOREIGN_CALL, bucket=FOREIGN))
        yield made


async def _filled(bus: Bus) -> dict[str, str]:
    await bus.ask(PutTeam("t0", "default", "Ours"))
    await bus.ask(PutTeam("t1", "them", "Theirs"))
    for number, (key, team) in enumerate(((OURS, "default"), (OTHER, "default"), (FOREIGN, "them"))):
        await bus.ask(PutBucket(f"b{number}", f"bucket {key}", key, team))
    everything = tuple(sorted(SCOPES))
    owner = tuple(sorted(ROLE_SCOPES["owner"]))
    made: dict[str, tuple[tuple[str, ...], str, tuple[str, ...]]] = {
        **{role: (tuple(sorted(scopes)), "default", ()) for role, scopes in ROLE_SCOPES.items()},
        "limited": (owner, "default", (OURS,)),
        "foreign": (owner, "them", ()),
        "operator": (everything, "default", ()),
    }
    secrets = {}
    for number, (name, (scopes, team, buckets)) in enumerate(made.items()):
        secrets[name] = secret_of("tl", hashlib.sha256(name.encode()).digest())
        digest = hashlib.sha256(secrets[name].encode()).hexdigest()
        await bus.ask(CreateToken(f"k{number}", name, scopes, digest, team, buckets))
    return secrets


async def readable(bus: Bus, id: str) -> None:
    """Return when the vault has this call."""
    for _ in range(1000):
        try:
            await bus.ask(GetCall(id))
            return
        except Refused:
            await bus.clock.sleep(0.005)
    raise TimeoutError(f"call {id} did not become readable")
