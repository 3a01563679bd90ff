"""Every route of the OpenAPI document with every nasty value in every place: never a fault, never a hang, and
each refusal is a problem."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import quote

import aiohttp

from tests.services.api.standing import OURS, Standing
from tests.services.calls.made import call_of

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
    assert answer.status < 500, what
    assert "X-Injected" not in answer.headers
    if answer.status >= 400 and answer.method != "HEAD":
        assert answer.content_type == "application/problem+json", what
        said = await answer.json(content_type=None)
        assert said["status"] == answer.status
        assert said["detail"], what
        assert "Traceback" not in str(said)


async def routes_of(api: Standing) -> dict[str, dict[str, Any]]:
    async with api.client.get("/v1/openapi.json") as answer:
        paths: dict[str, dict[str, Any]] = (await answer.json())["paths"]
        return {path: methods for path, methods in paths.items() if "/services" not in path}


async def test_nasty_values_in_every_parameter(api: Standing) -> None:
    api.vault.keep(call_of(id="c", bucket=OURS))
    async with asyncio.timeout(50):
        for path, methods in (await routes_of(api)).items():
            if path.endswith("/live"):
                continue  # a good request never ends: see the next test
            filled = path.replace("{bucket}", OURS).replace("{key}", OURS).replace("{id}", "c")
            for method, route in methods.items():
                for parameter in route["parameters"]:
                    for value in NASTY:
                        if parameter["in"] == "path":
                            url = path.replace("{" + parameter["name"] + "}", quote(value, safe=""))
                        else:
                            url = f"{filled}?{parameter['name']}={quote(value, safe='')}"
                        async with api.client.request(method, url) as answer:
                            await check(answer, (method, url))


async def test_nasty_values_for_a_stream(api: Standing) -> None:
    async with asyncio.timeout(20):
        for value in NASTY:
            for name in ("method", "since", "after", "error", "nothing"):
                url = f"/v1/buckets/{OURS}/live?{name}={quote(value, safe='')}"
                async with api.client.get(url) as answer:
                    if answer.status != 200:
                        await check(answer, url)


async def test_nasty_bodies_and_methods_everywhere(api: Standing) -> None:
    async with asyncio.timeout(50):
        for path in await routes_of(api):
            filled = path.replace("{bucket}", OURS).replace("{key}", OURS).replace("{id}", "c")
            for method in METHODS:
                if path.endswith("/live") and method == "GET":
                    continue
                for body in BODIES:
                    headers = {"Content-Type": "application/json"}
                    async with api.client.request(method, filled, data=body, headers=headers) as answer:
                        await check(answer, (method, filled, body))
