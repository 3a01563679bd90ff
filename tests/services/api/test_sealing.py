"""Secrets travel sealed, and signing in works without a token."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
import structlog

from bus import Ask, Delivery, Router
from schemas.operation import Operation, Sealed, sealed_in
from services.chassis.host import Shared
from services.chassis.secrets import SealUnreadable
from tests.services.api.installed import Installed, installed
from tests.services.api.standing import Standing, standing
from tests.services.api.test_operations import problem

PASSWORD = "a long enough pass phrase"


class Locked(msgspec.Struct, frozen=True):
    TYPE = "vaults.locked"

    hint: str
    code: Sealed | None = None


class Lock(Ask[Locked], frozen=True):
    """code: a secret."""

    TYPE = "vaults.lock"

    code: Sealed
    spare: Sealed | None = None
    hint: str = ""


LOCK = Operation(Lock, "POST", "/locks", "calls:write", "Lock something")


class Locksmith:
    def __init__(self) -> None:
        self.asked: list[Lock] = []
        self.reply = Locked("none")
        self.router = Router("vaults")
        self.router.answers(Lock, self.answer_lock)

    async def answer_lock(self, ask: Lock, delivery: Delivery) -> Locked:
        self.asked.append(ask)
        return self.reply


@pytest.fixture
async def locks() -> AsyncIterator[tuple[Standing, Locksmith, Shared]]:
    from bus import SystemClock

    smith, shared = Locksmith(), Shared.alone(SystemClock())
    async with standing(operations={"vaults": (LOCK,)}, routers=(smith.router,), shared=shared) as api:
        yield api, smith, shared


async def test_a_secret_is_sealed_on_the_bus_and_plain_for_the_client(
    locks: tuple[Standing, Locksmith, Shared],
) -> None:
    api, smith, shared = locks
    context = sealed_in(Locked)["code"]
    smith.reply = Locked("birthday", shared.secrets.seal(b"1234", context))
    with structlog.testing.capture_logs() as logs:
        async with api.client.post("/v1/locks", json={"code": "s3cr3t", "hint": "h"}) as answer:
            assert await answer.json() == {"hint": "birthday", "code": "1234"}
            assert answer.headers["Cache-Control"] == "no-store"
    (asked,) = smith.asked
    assert (asked.hint, asked.spare) == ("h", None)
    assert shared.secrets.open(asked.code, sealed_in(Lock)["code"]) == b"s3cr3t"
    with pytest.raises(SealUnreadable):
        shared.secrets.open(asked.code, context)
    assert "s3cr3t" not in repr(asked)
    assert "s3cr3t" not in repr(logs)
    assert "1234" not in repr(logs)


async def test_a_secret_of_the_wrong_type_is_not_repeated(locks: tuple[Standing, Locksmith, Shared]) -> None:
    api, _, _ = locks
    for body in ({"code": 12345678}, {"code": ["12345678"]}, {"code": "x", "12345678": 1}):
        async with api.client.post("/v1/locks", json=body) as answer:
            said = await answer.text()
        assert answer.status == 400
        assert "12345678" not in said or "12345678" in body
    async with api.client.post("/v1/locks", json={"code": "\ud800"}) as answer:
        assert answer.status == 400


async def test_a_secret_that_cannot_be_opened_is_a_fault_that_is_told(
    locks: tuple[Standing, Locksmith, Shared],
) -> None:
    api, smith, _ = locks
    smith.reply = Locked("x", "s1.00000000.AAAA")
    async with api.client.post("/v1/locks", json={"code": "x"}) as answer:
        assert (await problem(answer, 500, "service-failed"))["service"] == "vaults"


async def test_secrets_are_marked_in_the_document(locks: tuple[Standing, Locksmith, Shared]) -> None:
    api, _, _ = locks
    async with api.client.get("/v1/openapi.json") as answer:
        document = await answer.json()
    body = document["paths"]["/v1/locks"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert body["properties"]["code"]["writeOnly"]
    assert "writeOnly" not in body["properties"]["hint"]
    assert document["components"]["schemas"]["Locked"]["properties"]["code"]["readOnly"]
    assert document["components"]["schemas"]["Token"]["properties"]["secret"]["readOnly"]


@pytest.fixture
async def whole(tmp_path: Path) -> AsyncIterator[Installed]:
    async with installed(tmp_path) as api:
        yield api


async def told(answer: aiohttp.ClientResponse, status: int = 200) -> Any:
    text = await answer.text()
    assert answer.status == status, text
    return msgspec.json.decode(text)


async def test_somebody_is_invited_signs_in_changes_the_password_and_signs_out(whole: Installed) -> None:
    member = "/v1/teams/default/members/ann@example.com"
    await whole.json("PUT", member, json={"role": "editor"})
    code = (await whole.json("POST", member + "/invitation"))["code"]
    async with aiohttp.ClientSession(whole.url) as nobody:
        accept = {"code": code, "password": PASSWORD}
        async with nobody.post("/v1/invitations/accept", json=accept) as answer:
            assert answer.headers["Cache-Control"] == "no-store"
            session = {"Authorization": f"Bearer {(await told(answer))['secret']}"}
        async with nobody.post("/v1/invitations/accept", json=accept) as answer:
            await problem(answer, 404, "invitation-unknown")
        async with nobody.get("/v1/caller", headers=session) as answer:
            caller = await told(answer)
            assert (caller["kind"], caller["email"], caller["role"]) == (
                "session",
                "ann@example.com",
                "editor",
            )
        async with nobody.get("/v1/buckets", headers=session) as answer:
            assert len((await told(answer))["buckets"]) == 2
        async with nobody.get("/v1/tokens", headers=session) as answer:
            await problem(answer, 403, "scope-missing")
        changed = {"current": "wrong wrong wrong", "password": PASSWORD + "!"}
        async with nobody.put("/v1/password", json=changed, headers=session) as answer:
            await problem(answer, 401, "password-unauthorized")
            assert answer.headers["WWW-Authenticate"].startswith("Bearer ")
        async with nobody.post(
            "/v1/sessions", json={"email": "ann@example.com", "password": "wrong wrong wrong"}
        ) as answer:
            await problem(answer, 401, "session-unauthorized")
            assert answer.headers["WWW-Authenticate"].startswith("Bearer ")
        async with nobody.post(
            "/v1/sessions", json={"email": "ann@example.com", "password": PASSWORD}
        ) as answer:
            again = {"Authorization": f"Bearer {(await told(answer))['secret']}"}
        async with nobody.delete("/v1/sessions/current", headers=again) as answer:
            await told(answer)
        async with asyncio.timeout(2):
            status = 200
            while status != 401:
                async with nobody.get("/v1/caller", headers=again) as answer:
                    status = answer.status


async def test_a_tokens_secret_is_shown_once_and_again_only_to_a_repeat(whole: Installed) -> None:
    body = {"name": "ci", "scopes": ["calls:read"]}
    repeated = {"Idempotency-Key": "make-ci"}
    first = await whole.json("POST", "/v1/tokens", json=body, headers=repeated)
    assert first["secret"].startswith("tl_")
    assert await whole.json("POST", "/v1/tokens", json=body, headers=repeated) == first
    listed = await whole.json("GET", "/v1/tokens")
    assert first["secret"] not in repr(listed)
    bearer = {"Authorization": f"Bearer {first['secret']}"}
    async with whole.client.get("/v1/caller", headers=bearer) as answer:
        assert (await told(answer))["scopes"] == ["calls:read"]
