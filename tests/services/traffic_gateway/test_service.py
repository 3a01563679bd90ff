"""The gateway as it is run, beside the real vault and the real identity, over one bus."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from bus import Bus, SystemClock, connect
from schemas import identity as identity_contract
from schemas import request_vault as vault_contract
from schemas.identity import PutBucket
from schemas.request_vault import CallPage, CallSummary, GetCall, ReadBody, SearchCalls
from services.calls.redaction.marks import Marker
from services.chassis.host import Shared
from services.chassis.limits.memory import MemoryLimits
from services.chassis.secrets import KEY_BYTES, Secrets
from services.identity import service as identity_service
from services.identity.config import Config as IdentityConfig
from services.request_vault import service as vault_service
from services.request_vault.config import Config as VaultConfig
from services.traffic_gateway import service as gateway_service
from services.traffic_gateway.config import Config
from tests.services.grounds import a_ground
from tests.services.loopback import dial, target
from tests.services.traffic_gateway.running import KEY

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
GATEWAY = Config(port=0, targets_allow=("loopback",))
SUBSCRIPTIONS = (*vault_contract.SUBSCRIPTIONS, *identity_contract.SUBSCRIPTIONS)


@asynccontextmanager
async def installation(
    folder: Path, config: Config = GATEWAY, shared: Shared | None = None
) -> AsyncIterator[tuple[Bus, int]]:
    """Vault, identity and gateway; the bus, and the gateway's port."""
    clock = SystemClock()
    announced: dict[str, str] = {}
    async with AsyncExitStack() as up:
        bus = await up.enter_async_context(
            connect(f"embedded:{folder / 'bus.db'}", source="test", subscriptions=SUBSCRIPTIONS)
        )
        ground = a_ground(bus, folder, clock=clock, announce=announced.__setitem__, shared=shared)
        await up.enter_async_context(vault_service.build(VaultConfig(), ground))
        await up.enter_async_context(identity_service.build(IdentityConfig(), ground))
        await up.enter_async_context(gateway_service.build(config, ground))
        port = urlsplit(announced["url"]).port
        assert port is not None
        yield bus, port


async def call(port: int, authority: str, body: bytes = b"") -> bytes:
    """POST a body through the gateway; the answer's head."""
    request = f"POST /{KEY}/http://{authority}/x HTTP/1.1\r\nHost: gw\r\nContent-Length: {len(body)}\r\n\r\n"
    async with dial(port) as client:
        await client.say(request.encode() + body)
        head, _ = await client.response()
        return head


async def kept(bus: Bus, count: int) -> tuple[CallSummary, ...]:
    """The bucket's calls, once there are so many."""
    async with asyncio.timeout(10):
        while True:
            page: CallPage = await bus.ask(SearchCalls(KEY))
            if len(page.calls) >= count:
                return page.calls


async def test_secrets_are_marked_under_the_installations_key(tmp_path: Path) -> None:
    secrets = Secrets([bytes(range(KEY_BYTES))])
    shared = Shared(secrets, MemoryLimits(SystemClock()))
    async with target(OK) as api, installation(tmp_path, shared=shared) as (bus, port):
        await bus.ask(PutBucket("c1", "first", KEY))
        await call(port, api.authority, b'{"password":"hunter2"}')
        (found,) = await kept(bus, 1)
        record = await bus.ask(GetCall(found.id))
    mark = Marker(secrets.derived("redaction", KEY)).mark("key", b"hunter2")
    assert record.call.request.body.inline == b'{"password":"%b"}' % mark
    files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert not [data for data in files if b"hunter2" in data]


@pytest.mark.parametrize("mode", ["relaxed", "strict"])
async def test_a_call_reaches_the_vault_with_its_body(tmp_path: Path, mode: str) -> None:
    body = os.urandom(300_000)
    async with target(OK) as api, installation(tmp_path) as (bus, port):
        await bus.ask(PutBucket("c1", "first", KEY, capture=mode))  # type: ignore[arg-type]
        head = await call(port, api.authority, body)
        (summary,) = await kept(bus, 1)
        assert f"Trunkline-Call-Id: {summary.id}\r\n".encode() in head
        async with asyncio.timeout(10):
            while (record := await bus.ask(GetCall(summary.id, KEY))).body_missing:
                pass  # bodies travel on their own
        assert record.call.strict == (mode == "strict")
        sha256 = record.call.request.body.sha256
        assert sha256 is not None
        part = await bus.ask(ReadBody(KEY, sha256))
        assert body.startswith(part.data)
        assert part.size_bytes == len(body)


async def test_a_bucket_s_settings_apply_as_soon_as_they_are_known(tmp_path: Path) -> None:
    async with target(OK) as api, installation(tmp_path) as (bus, port):
        assert (await call(port, api.authority)).startswith(b"HTTP/1.1 404 ")
        await bus.ask(PutBucket("c1", "first", KEY))
        async with asyncio.timeout(10):
            while not (await call(port, api.authority)).startswith(b"HTTP/1.1 200 "):
                pass
        await bus.ask(PutBucket("c2", "first", KEY, capture="off"))
        async with asyncio.timeout(10):
            while b"Trunkline-Call-Id" in await call(port, api.authority):
                pass


async def test_what_was_answered_when_the_gateway_stopped_is_kept(tmp_path: Path) -> None:
    async with target(OK) as api:
        async with installation(tmp_path) as (bus, port):
            await bus.ask(PutBucket("c1", "first", KEY))
            await call(port, api.authority)
            for _ in range(19):
                await call(port, api.authority)
        async with installation(tmp_path) as (bus, port):
            assert len(await kept(bus, 20)) == 20


async def test_it_starts_and_stops_again_and_again(tmp_path: Path) -> None:
    async with target(OK) as api:
        for turn in range(5):
            async with installation(tmp_path) as (bus, port):
                await bus.ask(PutBucket(f"c{turn}", "first", KEY))
                assert (await call(port, api.authority)).startswith(b"HTTP/1.1 200 ")


async def test_by_itself_it_calls_the_public_internet_only(tmp_path: Path) -> None:
    async with target(OK) as api, installation(tmp_path, Config(port=0)) as (bus, port):
        await bus.ask(PutBucket("c1", "first", KEY))
        assert (await call(port, api.authority)).startswith(b"HTTP/1.1 403 ")
        assert api.connections == 0
