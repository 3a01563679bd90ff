"""Every route of the OpenAPI document with every nasty value in every place: never a fault, never a hang, and
each refusal is a problem."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from unittest.mock import ANY
from urllib.parse import quote, urlsplit

import aiohttp
import pytest

from tests.services.api.installed import CALL, OURS, Installed, installed


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Installed]:
    async with installed(tmp_path) as made:
        yield made


NASTY = (
    "",
    " ",
    "\x00",
    "null",
    "true",
    "-1",
    "0",
    "1e309",
    "NaN",
    "9" * 400,
    "0,1",
    ",",
    "../../etc/passwd",
    "%2e%2e%2f",
    "'; drop table calls; --",
    "<script>alert(1)</script>",
    "\r\nX-Injected: 1",
    "\u202e\U0001f600",
    "{}[]$`\\",
    "9999-12-31T23:59:59.999999Z",
    "0001-01-01T00:00:00+14:00",
    "x" * 3000,
)
BODIES = (
    b"",
    b"null",
    b"[]",
    b"{}",
    b"1e999",
    b'"\\ud800"',
    b'{"name":"\\u0000"}',
    b"\xff" * 100,
    b"[" * 5000,
)
METHODS = ("GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS", "PROPFIND")


async def check(answer: aiohttp.ClientResponse, what: Any) -> None:
    assert answer.status < 500, (what, await answer.text())
    assert "X-Injected" not in answer.headers
    if answer.status >= 400 and answer.method != "HEAD":
        assert answer.content_type == "application/problem+json", what
        said = await answer.json(content_type=None)
        assert said["status"] == answer.status
        assert said["detail"], what
        assert "Traceback" not in str(said)


async def routes_of(api: Installed) -> dict[str, dict[str, Any]]:
    async with api.client.get("/v1/openapi.json") as answer:
        paths: dict[str, dict[str, Any]] = (await answer.json())["paths"]
        # What ends the bucket comes last, so that there is something to be nasty to.
        return dict(sorted(paths.items(), key=lambda item: item[0] == "/v1/buckets/{key}"))


async def test_nasty_values_in_every_parameter(api: Installed) -> None:
    async with asyncio.timeout(50):
        for path, methods in (await routes_of(api)).items():
            if path.endswith("/live"):
                continue  # a good request never ends: see the next test
            filled = path.replace("{bucket}", OURS).replace("{key}", OURS).replace("{id}", CALL)
            for method, route in methods.items():
                for parameter in route["parameters"]:
                    for value in NASTY:
                        if parameter["in"] == "path":
                            url = path.replace("{" + parameter["name"] + "}", quote(value, safe=""))
                        else:
                            url = f"{filled}?{parameter['name']}={quote(value, safe='')}"
                        async with api.client.request(method, url) as answer:
                            await check(answer, (method, url))


async def test_nasty_values_for_a_stream(api: Installed) -> None:
    async with asyncio.timeout(20):
        for value in NASTY:
            for name in ("method", "since", "after", "error", "nothing"):
                url = f"/v1/buckets/{OURS}/live?{name}={quote(value, safe='')}"
                async with api.client.get(url) as answer:
                    if answer.status != 200:
                        await check(answer, url)


async def test_nasty_bodies_and_methods_everywhere(api: Installed) -> None:
    async with asyncio.timeout(50):
        for path in await routes_of(api):
            filled = path.replace("{bucket}", OURS).replace("{key}", OURS).replace("{id}", CALL)
            for method in METHODS:
                if path.endswith("/live") and method == "GET":
                    continue
                for body in BODIES:
                    headers = {"Content-Type": "application/json"}
                    async with api.client.request(method, filled, data=body, headers=headers) as answer:
                        await check(answer, (method, filled, body))


async def raw(api: Installed, request: bytes) -> tuple[int, dict[str, Any]]:
    """What these bytes are answered with; the connection is closed then."""
    url = urlsplit(api.url)
    reader, writer = await asyncio.open_connection(url.hostname, url.port)
    try:
        writer.write(request)
        await writer.drain()
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: ([0-9]+)", head)
        body = await reader.readexactly(int(length[1])) if length is not None else b""
    finally:
        writer.close()
        await writer.wait_closed()
    said: dict[str, Any] = json.loads(body) if b"problem+json" in head else {}
    return int(head.split(b" ", 2)[1]), said


@pytest.mark.parametrize(
    ("more", "status", "slug"),
    [
        (b"GET /v1/buckets HTTP/1.1\r\nAuthorization: Bearer x\r\n", 401, "token-missing"),
        (b'GET /v1/buckets HTTP/1.1\r\nIf-None-Match: "a\r\n', 400, "parameter-invalid"),
        (b"GET /v1/buckets/%ff%fe/calls HTTP/1.1\r\n", 404, "bucket-unknown"),
        (b"GET /v1/buckets/%00/calls HTTP/1.1\r\n", 404, "bucket-unknown"),
        (b"GET /v1/calls/%ff HTTP/1.1\r\n", 404, "call-unknown"),
        (b"GET /v1/teams/%ff%00 HTTP/1.1\r\n", 404, "team-unknown"),
        (b"GET /v1/buckets?limit=%ff HTTP/1.1\r\n", 400, "parameter-invalid"),
        (b"GET /v1/buckets?%ff=1 HTTP/1.1\r\n", 400, "parameter-unknown"),
        (b"GET /v1/buckets?cursor=%00 HTTP/1.1\r\n", 400, "cursor-invalid"),
        (b"GET /v1/events?key=%00&subject=%ff HTTP/1.1\r\n", 200, ""),
        (
            b"POST /v1/tokens HTTP/1.1\r\nContent-Type: text/xml\r\nContent-Type: application/json\r\n"
            b"Content-Length: 2\r\n",
            400,
            "",
        ),
    ],
)
async def test_what_no_client_library_sends(api: Installed, more: bytes, status: int, slug: str) -> None:
    token = api.secrets["owner"].encode()
    head = more + b"Host: x\r\nAuthorization: Bearer " + token + b"\r\nConnection: close\r\n\r\n"
    head += b"{}" if more.startswith(b"POST") else b""
    answered, said = await raw(api, head)
    assert (answered, str(said.get("type", "")).rpartition(":")[2]) == (status, slug or ANY), said


@pytest.mark.parametrize(
    ("path", "cursor"),
    [("/v1/buckets", "made-up"), ("/v1/tokens", "made-up"), (f"/v1/buckets/{OURS}/calls", "made-up")],
)
async def test_a_cursor_of_another_list_is_named(api: Installed, path: str, cursor: str) -> None:
    page = await api.json("GET", "/v1/buckets?limit=1")
    for given in (cursor, page["next_cursor"]):
        async with api.client.get(f"{path}?limit=1&cursor={given}") as answer:
            if path == "/v1/buckets" and given != cursor:
                assert answer.status == 200
                continue
            said = await answer.json(content_type=None)
            assert (answer.status, said["type"]) == (400, "urn:trunkline:error:cursor-invalid"), said


@pytest.mark.parametrize(
    ("body", "slug", "field"),
    [
        (b'{"name":"x","scopes":"calls:read"}', "parameter-invalid", "scopes"),
        (b'{"name":"x","scopes":["calls:read",7]}', "parameter-invalid", "scopes[1]"),
        (b'{"name":"x","scopes":["calls:read"],"admin":true}', "parameter-unknown", "admin"),
        (b'{"name":"x","scopes":["calls:read"],"sha256":"0"}', "parameter-unknown", "sha256"),
        (b'{"name":"x","scopes":["installation"]}', "scope-forbidden", None),
        (b'{"name":"x","scopes":["calls:read"],"buckets":["foreign00001"]}', "token-invalid", None),
        (b'{"name":"x","scopes":["calls:read"],"expires_at":"soon"}', "parameter-invalid", "expires_at"),
        (b'{"name":"x","scopes":' + b"[" * 900 + b"]" * 900 + b"}", "parameter-invalid", "scopes[0]"),
        (b'{"name":', "body-broken", None),
        (b'{"name":"\xff"}', "body-broken", None),
    ],
)
async def test_what_is_wrong_with_a_body_is_named(
    api: Installed, body: bytes, slug: str, field: str | None
) -> None:
    headers = {"Content-Type": "application/json"}
    async with api.client.post("/v1/tokens", data=body, headers=headers) as answer:
        said = await answer.json(content_type=None)
        assert answer.status in (400, 403)
    assert (said["type"].rpartition(":")[2], said.get("field")) == (slug, field), said
