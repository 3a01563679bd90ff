"""Stars, notes, tags, deletions and erasures, over HTTP to the real vault."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.services.api.installed import CALL, OURS, Installed, installed
from tests.services.api.test_operations import problem
from tests.services.calls.made import call_of

CALLS = f"/v1/buckets/{OURS}/calls"
ONE = f"{CALLS}/{CALL}"


@pytest.fixture
async def whole(tmp_path: Path) -> AsyncIterator[Installed]:
    async with installed(tmp_path) as api:
        yield api


async def listed(api: Installed, query: str = "") -> list[str]:
    return [call["id"] for call in (await api.json("GET", CALLS + query))["calls"]]


async def test_marks_are_made_seen_and_taken_back(whole: Installed) -> None:
    assert (await whole.json("PUT", f"{ONE}/star", json={}))["starred"]
    assert (await whole.json("PUT", f"{ONE}/star"))["starred"]
    marks = await whole.json("PATCH", ONE, json={"note": "look here", "add_tags": ["slow", "tea"]})
    assert (marks["note"], marks["tags"]) == ("look here", ["slow", "tea"])
    shown = await whole.json("GET", f"/v1/calls/{CALL}")
    assert (shown["marks"]["starred"], shown["marks"]["note"]) == (True, "look here")
    assert not (await whole.json("DELETE", f"{ONE}/star"))["starred"]
    async with whole.client.patch(ONE, json={"add_tags": ["two words"]}) as answer:
        await problem(answer, 400, "mark-invalid")
    async with whole.client.put(f"{CALLS}/nothing/star") as answer:
        await problem(answer, 404, "call-unknown")


async def test_a_mark_changes_what_the_client_has(whole: Installed) -> None:
    async with whole.client.get(f"/v1/calls/{CALL}") as answer:
        had = {"If-None-Match": answer.headers["ETag"]}
    async with whole.client.get(f"/v1/calls/{CALL}", headers=had) as answer:
        assert answer.status == 304
    await whole.json("PATCH", ONE, json={"note": "new"})
    async with whole.client.get(f"/v1/calls/{CALL}", headers=had) as answer:
        assert answer.status == 200


async def test_a_call_is_deleted_and_brought_back(whole: Installed) -> None:
    assert (await whole.json("DELETE", ONE))["deleted"]
    assert await listed(whole) == []
    async with whole.client.get(f"/v1/calls/{CALL}") as answer:
        await problem(answer, 404, "call-unknown")
    assert not (await whole.json("POST", f"{ONE}/restoration", json={}))["deleted"]
    assert await listed(whole) == [CALL]


async def test_what_names_somebody_is_erased(whole: Installed) -> None:
    await whole.keep(
        call_of("POST", request_body=b'{"email":"ann@example.com"}', id="ann", bucket=OURS),
        call_of("POST", request_body=b'{"email":"bob@example.com"}', id="bob", bucket=OURS),
    )
    erasures = f"/v1/buckets/{OURS}/erasures"
    repeated = {"Idempotency-Key": "forget-ann"}
    body = {"value": "ann@example.com", "path": "$.email", "why": "asked for"}
    ordered = await whole.json("POST", erasures, json=body, headers=repeated)
    again = await whole.json("POST", erasures, json=body, headers=repeated)
    assert again["id"] == ordered["id"]
    async with asyncio.timeout(10):
        while "ann" in await listed(whole):
            await whole.bus.clock.sleep(0.01)
    assert set(await listed(whole)) == {CALL, "bob"}
    assert (await whole.json("GET", f"{erasures}/{ordered['id']}"))["id"] == ordered["id"]
    async with whole.client.get(f"{erasures}/nothing") as answer:
        await problem(answer, 404, "erasure-unknown")
    await whole.json("POST", f"{CALLS}/bob/erasure", json={"why": "asked for"})
    async with asyncio.timeout(10):
        while "bob" in await listed(whole):
            await whole.bus.clock.sleep(0.01)


async def test_another_bucket_of_the_team_has_not_this_call(whole: Installed) -> None:
    other = f"/v1/buckets/ours00000002/calls/{CALL}"
    routes = (("PUT", "/star"), ("PATCH", ""), ("DELETE", ""), ("PUT", "/share"), ("POST", "/erasure"))
    for method, path in routes:
        body: dict[str, str] | None = None if method == "DELETE" else {}
        async with whole.client.request(method, other + path, json=body) as answer:
            assert answer.status == 404, (method, path)
