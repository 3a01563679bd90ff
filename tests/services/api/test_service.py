"""The API as it is run, beside the real vault and the real identity, over one bus."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path

import aiohttp
import msgspec

from bus import Bus, SystemClock, connect
from schemas import identity as identity_contract
from schemas import request_vault as vault_contract
from schemas.identity import CreateToken, PutBucket
from services.api import service as api_service
from services.api.config import Config
from services.identity import service as identity_service
from services.identity.config import Config as IdentityConfig
from services.request_vault import service as vault_service
from services.request_vault.config import Config as VaultConfig
from tests.services.calls import har12
from tests.services.calls.made import AT, call_of
from tests.services.grounds import a_ground

SECRET = "tl_" + "s" * 43
KEY = "bucket000001"
SUBSCRIPTIONS = (*vault_contract.SUBSCRIPTIONS, *identity_contract.SUBSCRIPTIONS)


@asynccontextmanager
async def installation(folder: Path) -> AsyncIterator[tuple[Bus, aiohttp.ClientSession]]:
    clock = SystemClock()
    announced: dict[str, str] = {}
    async with AsyncExitStack() as up:
        bus = await up.enter_async_context(
            connect(f"embedded:{folder / 'bus.db'}", source="test", subscriptions=SUBSCRIPTIONS)
        )
        ground = a_ground(bus, folder, clock=clock, announce=announced.__setitem__)
        await up.enter_async_context(vault_service.build(VaultConfig(), ground))
        await up.enter_async_context(identity_service.build(IdentityConfig(), ground))
        await bus.ask(PutBucket("c1", "first", KEY))
        digest = hashlib.sha256(SECRET.encode()).hexdigest()
        await bus.ask(CreateToken("c2", "all", ("calls:read", "buckets:read", "buckets:write"), digest))
        await up.enter_async_context(api_service.build(Config(port=0), ground))
        client = aiohttp.ClientSession(announced["url"], headers={"Authorization": f"Bearer {SECRET}"})
        yield bus, await up.enter_async_context(client)


async def test_calls_are_listed_followed_shown_and_exported(tmp_path: Path) -> None:
    async with installation(tmp_path) as (bus, client):
        async with client.get(f"/v1/buckets/{KEY}/live") as live:
            assert live.status == 200
            await live.content.readuntil(b"\n\n")
            for number in range(60):
                call = call_of(
                    "POST" if number % 2 else "GET",
                    f"http://api.example.com/things/{number}",
                    id=f"call-{number:02}",
                    bucket=KEY,
                    status=500 if number % 10 == 0 else 200,
                    started_at=AT + timedelta(seconds=number),
                )
                await bus.publish(call, key=KEY, subject=call.id)
            async with asyncio.timeout(10):
                seen: list[str] = []
                while len(seen) < 60:
                    block = (await live.content.readuntil(b"\n\n")).decode()
                    seen += [json.loads(line[6:])["id"] for line in block.split("\n") if line[:6] == "data: "]
        assert seen == [f"call-{number:02}" for number in range(60)]
        async with client.get(f"/v1/buckets/{KEY}/calls?status=5xx&path=/things") as answer:
            failed = [call["id"] for call in (await answer.json())["calls"]]
        assert failed == [f"call-{number}0" for number in (5, 4, 3, 2, 1, 0)]
        async with client.get("/v1/calls/call-07") as answer:
            shown = await answer.json()
        assert shown["request"]["url"] == "http://api.example.com/things/7"
        assert shown["response"]["body"]["content"]["kind"] == "json"
        async with client.get(f"/v1/buckets/{KEY}/calls.har?method=POST") as answer:
            assert len(har12.check(await answer.read()).log.entries) == 30
        async with client.get(f"/v1/buckets/{KEY}/live", headers={"Last-Event-ID": "7,7"}) as answer:
            assert answer.status == 400
        async with client.get(f"/v1/buckets/{KEY}/calls?cursor=made-up") as answer:
            assert (answer.status, (await answer.json(content_type=None))["type"]) == (
                400,
                "urn:trunkline:error:cursor-invalid",
            )


async def test_buckets_are_made_and_listed_over_http(tmp_path: Path) -> None:
    async with installation(tmp_path) as (_, client):
        async with client.put("/v1/buckets/bucket000002", json={"name": "second"}) as answer:
            assert (answer.status, (await answer.json())["key"]) == (200, "bucket000002")
        async with client.get("/v1/buckets/bucket000002/calls") as answer:
            assert (await answer.json()) == {"calls": [], "next_cursor": None, "text_behind": 0}
        async with client.get("/v1/buckets") as answer:
            assert {bucket["key"] for bucket in (await answer.json())["buckets"]} == {KEY, "bucket000002"}


def test_every_contract_is_served() -> None:
    asks = {operation.ask for operations in api_service.contracts().values() for operation in operations}
    assert {vault_contract.SearchCalls, identity_contract.ListBuckets} <= asks
    assert all(issubclass(ask, msgspec.Struct) for ask in asks)
