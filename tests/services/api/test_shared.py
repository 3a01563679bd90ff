"""Calls that are shared by a link: anybody may read them, and nobody learns a secret or an address."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
import structlog

from schemas.identity import Redaction
from schemas.traffic_gateway import CallCaptured, CallError
from services.api.domain.sharing import masked, redactor_of
from tests.services.api.installed import OURS, Installed, installed
from tests.services.api.test_operations import problem
from tests.services.calls import har12
from tests.services.calls.made import call_of

# Put together here, so that nobody takes them for secrets that leaked.
BEARER = "Bearer " + "sk_" + "live_" + "4eC39HqLyjWDarjtT1zdp7dc"
ADDRESSES = ("10.1.2.3", "10.9.8.7", "192.0.2.33")
SECRETS = (BEARER[7:], "hunter2hunter2", "querysecret1", "cookievalue99", *ADDRESSES)


def telling(id: str = "told", **named: Any) -> CallCaptured:
    """A call full of what nobody else should see, as a bucket whose mode is `raw` keeps it."""
    call = call_of(
        "POST",
        "https://user:hunter2hunter2@api.example.com/things?api_key=querysecret1&page=2",
        (
            ("Host", "api.example.com"),
            ("Authorization", BEARER),
            ("Cookie", "session=cookievalue99"),
            ("X-Forwarded-For", "10.1.2.3"),
            ("Forwarded", "for=10.1.2.3"),
            ("Content-Type", "application/json"),
        ),
        b'{"password": "hunter2hunter2", "tea": "sencha"}',
        id=id,
        bucket=OURS,
        response_headers=(
            ("Content-Type", "application/json"),
            ("Content-Encoding", "gzip"),
            ("Set-Cookie", "session=cookievalue99"),
            ("Via", "1.1 10.9.8.7"),
        ),
        response_body=gzip.compress(b'{"access_token": "hunter2hunter2", "tea": "gyokuro"}'),
        error=CallError("upstream-disconnected", "10.9.8.7:443 closed the connection"),
        **named,
    )
    return msgspec.structs.replace(call, client_address="192.0.2.33:5000", server_address="10.9.8.7:443")


@pytest.fixture
async def whole(tmp_path: Path) -> AsyncIterator[Installed]:
    async with installed(tmp_path) as api:
        await api.json("PATCH", f"/v1/buckets/{OURS}", json={"redaction": {"mode": "raw"}})
        await api.keep(telling())
        said = {"note": "my private note", "tags": ["private-tag"]}
        await api.json("PATCH", f"/v1/buckets/{OURS}/calls/told", json=said)
        yield api


async def shared_by(api: Installed, id: str = "told", **body: Any) -> str:
    return str((await api.json("PUT", f"/v1/buckets/{OURS}/calls/{id}/share", json=body))["share"])


async def test_a_link_shows_the_call_to_anybody_without_its_secrets(whole: Installed) -> None:
    share = await shared_by(whole)
    async with aiohttp.ClientSession(whole.url) as nobody:
        for query in ("", "?as=har", "?as=curl", "?as=python", "?raw=request", "?raw=response"):
            async with nobody.get(f"/v1/shared/{share}{query}") as answer:
                text = await answer.text()
                assert answer.status == 200, text
                assert answer.headers["Cache-Control"] == "no-store"
                assert answer.headers["Referrer-Policy"] == "no-referrer"
                assert answer.headers["X-Robots-Tag"] == "noindex"
                assert "ETag" not in answer.headers
                told = text + str(answer.headers)
            for secret in (*SECRETS, OURS, "my private note", "private-tag"):
                assert secret not in told, (query, secret)
            assert "sencha" in text or "gyokuro" in text, query
        async with nobody.get(f"/v1/shared/{share}") as answer:
            shown = await answer.json()
        assert shown["error"] == "upstream-disconnected"
        assert "redacted" in shown["request"]["url"]
        assert "page=2" in shown["request"]["url"]
        assert [name for name, _ in shown["request"]["headers"]] == [
            "Host",
            "Authorization",
            "Cookie",
            "Content-Type",
        ]
        assert json.loads(shown["response"]["body"]["content"]["text"])["tea"] == "gyokuro"
        async with nobody.get(f"/v1/shared/{share}?as=har") as answer:
            assert len(har12.check(await answer.read()).log.entries) == 1
    assert (await whole.json("GET", "/v1/calls/told"))["request"]["headers"][1][1] == BEARER


async def test_a_link_stays_out_of_the_log(whole: Installed) -> None:
    share = await shared_by(whole)
    with structlog.testing.capture_logs() as logs:
        async with whole.client.get(f"/v1/shared/{share}") as answer:
            assert answer.status == 200
        async with whole.client.get(f"/v1/shared/{share}x") as answer:
            assert answer.status == 404
    assert len([log for log in logs if log.get("path") == "/v1/shared/..."]) == 2
    assert share not in repr(logs)


async def test_a_link_that_has_ended_is_not_there(whole: Installed) -> None:
    share = await shared_by(whole)
    async with aiohttp.ClientSession(whole.url) as nobody:
        for wrong in ("nothing", share[:-1], share + "0", "x" * 500, "%00", "..%2f", "%ff"):
            async with nobody.get(f"/v1/shared/{wrong}") as answer:
                unknown = await problem(answer, 404, "share-unknown")
                assert answer.headers["X-Robots-Tag"] == "noindex"
        async with nobody.get(f"/v1/shared/{share}?raw=both") as answer:
            await problem(answer, 400, "parameter-invalid")
        async with nobody.head(f"/v1/shared/{share}") as answer:
            assert (answer.status, await answer.read()) == (200, b"")
        await whole.json("DELETE", f"/v1/buckets/{OURS}/calls/told/share")
        async with nobody.get(f"/v1/shared/{share}") as answer:
            assert (await problem(answer, 404, "share-unknown"))["detail"] == unknown["detail"]


async def test_a_link_ends_with_its_time_its_call_and_its_bucket(whole: Installed) -> None:
    soon = (whole.bus.clock.now() + timedelta(seconds=0.3)).isoformat()
    share = await shared_by(whole, expires_at=soon)
    await whole.keep(telling("deleted"), telling("orphan"))
    deleted, orphan = await shared_by(whole, "deleted"), await shared_by(whole, "orphan")
    await whole.json("DELETE", f"/v1/buckets/{OURS}/calls/deleted")
    await whole.bus.clock.sleep(0.35)
    async with aiohttp.ClientSession(whole.url) as nobody:
        for ended in (share, deleted):
            async with nobody.get(f"/v1/shared/{ended}") as answer:
                await problem(answer, 404, "share-unknown")
        async with nobody.get(f"/v1/shared/{orphan}") as answer:
            assert answer.status == 200
        await whole.json("DELETE", f"/v1/buckets/{OURS}")
        for _ in range(200):
            async with nobody.get(f"/v1/shared/{orphan}") as answer:
                if answer.status == 404:
                    return
            await whole.bus.clock.sleep(0.01)
        raise AssertionError("the link outlived its bucket")


def test_the_buckets_own_rules_hold_too_and_bad_ones_do_no_harm() -> None:
    call = telling()
    data = (call.request.body.inline, call.response.body.inline if call.response else b"")
    rules = Redaction("raw", headers=("Host",), patterns=("sencha",))
    shown, sides = masked(call, data, redactor_of(rules, bytes(32)))
    assert dict(shown.request.headers)["Host"].startswith("[redacted:bucket-header:")
    assert sides[0] is not None
    assert b"sencha" not in sides[0]
    assert shown.request.body.sha256 == hashlib.sha256(sides[0]).hexdigest()
    bad = Redaction("raw", patterns=("(",))
    assert redactor_of(bad, bytes(32)).mode == "default"


def test_what_is_missing_tells_nothing_of_its_bytes() -> None:
    shown, sides = masked(telling(), (None, None), redactor_of(Redaction(), bytes(32)))
    assert sides == (None, None)
    assert shown.request.body.sha256 is None
