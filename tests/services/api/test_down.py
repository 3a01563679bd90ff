"""A service that is down is named, and everything that does not need it goes on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import msgspec
import pytest

from tests.services.api.installed import CALL, OURS, Installed, installed
from tests.services.api.standing import UNLIMITED
from tests.services.api.test_operations import problem

NEEDS = {
    "request_vault": (
        ("GET", f"/v1/buckets/{OURS}/calls"),
        ("GET", f"/v1/buckets/{OURS}/calls/facets"),
        ("GET", f"/v1/buckets/{OURS}/calls.har"),
        ("GET", f"/v1/buckets/{OURS}/live"),
        ("GET", f"/v1/calls/{CALL}"),
        ("GET", "/v1/shared/some-share"),
        ("GET", "/v1/events"),
        ("PUT", f"/v1/buckets/{OURS}/calls/{CALL}/star"),
    ),
    "identity": (
        ("GET", "/v1/buckets"),
        ("GET", f"/v1/buckets/{OURS}"),
        ("GET", "/v1/teams"),
        ("GET", "/v1/tokens"),
        ("GET", "/v1/caller"),
        ("POST", "/v1/sessions"),
    ),
    "mission_control": (("GET", "/v1/services"),),
}
PART = {"mission_control": "host"}  # which answers for it until it is there
ALWAYS = (("GET", "/v1/openapi.json"), ("GET", "/v1/docs"), ("GET", "/healthz"))
BODIES = {"/v1/sessions": {"email": "a@example.com", "password": "a long enough one"}}


@pytest.fixture
async def whole(tmp_path: Path) -> AsyncIterator[Installed]:
    async with installed(tmp_path, msgspec.structs.replace(UNLIMITED, ask_timeout_s=2.0)) as api:
        yield api


@pytest.mark.parametrize("down", NEEDS)
async def test_only_what_needs_it_stops(whole: Installed, down: str) -> None:
    await whole.parts[PART.get(down, down)].aclose()
    for method, path in NEEDS[down]:
        async with whole.client.request(method, path, json=BODIES.get(path)) as answer:
            said = await problem(answer, 503, "service-unavailable")
            assert said["service"] == down, path
            assert int(answer.headers["Retry-After"]) >= 1
    others = [each for service, routes in NEEDS.items() if service != down for each in routes]
    for method, path in (*others, *ALWAYS):
        if path.endswith("/live") and down != "request_vault":
            continue  # goes on, and would not end
        if down == "request_vault" and method == "POST":
            continue  # signing in is recorded there
        async with whole.client.request(method, path, json=BODIES.get(path)) as answer:
            assert answer.status < 500, (path, await answer.text())


async def test_what_identity_cannot_record_names_who_is_away(whole: Installed) -> None:
    await whole.parts["request_vault"].aclose()
    async with whole.client.patch(f"/v1/buckets/{OURS}", json={"name": "x"}) as answer:
        said = await problem(answer, 503, "service-unavailable")
        assert "request_vault" in said["detail"] or "vault" in said["detail"]


async def test_a_stream_says_that_the_vault_is_away(whole: Installed) -> None:
    timeout = aiohttp.ClientTimeout(total=15)
    async with whole.client.get(f"/v1/buckets/{OURS}/live", timeout=timeout) as live:
        await live.content.readuntil(b"\n\n")
        await whole.parts["identity"].aclose()
        async with whole.client.get(f"/v1/buckets/{OURS}/calls") as answer:
            assert answer.status == 200
        assert not live.content.at_eof()
