"""Live calls: each appears once, in order, when it is readable, and a reconnecting client misses nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from services.api.config import Config
from services.api.edge import live
from tests.services.api.installed import Installed, installed
from tests.services.api.standing import FOREIGN, OTHER, OURS, UNLIMITED, Standing, standing
from tests.services.api.test_operations import problem
from tests.services.calls.made import call_of

LIVE = f"/v1/buckets/{OURS}/live"


class Stream:
    """Reads server-sent events as the standard says."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self._answer = answer
        self.last_id = ""
        self.comments: list[str] = []

    async def block(self) -> dict[str, str] | None:
        """The next block's fields; None at the stream's end."""
        fields: dict[str, str] = {}
        while line := (await self._answer.content.readline()).decode():
            if line == "\n":
                self.last_id = fields.get("id", self.last_id)
                return fields
            name, _, value = line.rstrip("\n").partition(": ")
            if line.startswith(":"):
                self.comments.append(line[1:].strip())
            else:
                fields[name] = value
        return None

    async def call(self) -> dict[str, Any]:
        while (fields := await self.block()) is not None:
            if "data" in fields:
                assert fields["event"] == "call"
                document: dict[str, Any] = json.loads(fields["data"])
                return document
        raise EOFError


@asynccontextmanager
async def following(api: Standing, path: str = LIVE, **headers: str) -> AsyncIterator[Stream]:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    async with api.client.get(path, headers=sent) as answer:
        assert (answer.status, answer.content_type) == (200, "text/event-stream")
        stream = Stream(answer)
        await stream.block()  # its head
        yield stream


async def test_a_call_appears_once_it_is_recorded(api: Standing) -> None:
    api.vault.keep(call_of(id="before", bucket=OURS))
    async with following(api) as stream:
        await api.vault.record(call_of(id="theirs", bucket=FOREIGN))
        await api.vault.record(call_of(id="first", bucket=OURS))
        assert (await stream.call())["id"] == "first"
        await api.vault.record(call_of(id="second", bucket=OURS))
        assert (await stream.call())["id"] == "second"


async def test_a_reconnecting_client_misses_nothing_and_gets_nothing_twice(api: Standing) -> None:
    async with following(api) as stream:
        await api.vault.record(call_of(id="c0", bucket=OURS))
        await stream.call()
        last = stream.last_id
    api.vault.keep(*(call_of(id=f"c{number}", bucket=OURS) for number in range(1, 251)))
    # Well within a heartbeat: the pages follow each other without waiting for one.
    async with asyncio.timeout(5), following(api, Last_Event_ID=last) as stream:
        seen = [(await stream.call())["id"] for _ in range(250)]
    assert seen == [f"c{number}" for number in range(1, 251)]


async def test_a_client_that_saw_no_call_yet_resumes_where_it_began(api: Standing) -> None:
    api.vault.keep(call_of(id="before", bucket=OURS))
    async with following(api) as stream:
        last = stream.last_id
    api.vault.keep(call_of(id="meanwhile", bucket=OURS))
    async with following(api, Last_Event_ID=last) as stream:
        assert (await stream.call())["id"] == "meanwhile"


async def test_a_position_can_be_given_in_the_query_too(api: Standing) -> None:
    api.vault.keep(*(call_of(id=f"c{number}", bucket=OURS) for number in range(3)))
    async with following(api, f"{LIVE}?after=0,1") as stream:
        assert [(await stream.call())["id"] for _ in range(2)] == ["c1", "c2"]


async def test_filters_apply(api: Standing) -> None:
    async with following(api, f"{LIVE}?status=5xx&method=POST") as stream:
        await api.vault.record(call_of("POST", id="fine", bucket=OURS))
        await api.vault.record(call_of("GET", id="wrong method", bucket=OURS, status=500))
        await api.vault.record(call_of("POST", id="wanted", bucket=OURS, status=503))
        assert (await stream.call())["id"] == "wanted"


async def test_what_the_filters_leave_out_is_not_searched_again() -> None:
    async with standing(Config(heartbeat_s=0.02)) as api, following(api, f"{LIVE}?status=404") as stream:
        for number in range(5):
            await api.vault.record(call_of(id=str(number), bucket=OURS))
        async with asyncio.timeout(5):
            while stream.last_id != "0,5":
                await stream.block()
        assert api.vault.searches[-1].after is not None


async def test_a_lost_signal_costs_no_more_than_a_heartbeat() -> None:
    async with standing(Config(heartbeat_s=0.02)) as api, following(api) as stream:
        api.vault.keep(call_of(id="untold", bucket=OURS))
        assert (await stream.call())["id"] == "untold"
        await stream.block()
        assert "still here" in stream.comments


async def test_a_vault_that_goes_away_does_not_end_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "AWAY_S", 0.01)
    async with standing(Config(heartbeat_s=0.02)) as api, following(api) as stream:
        api.vault.down = True
        async with asyncio.timeout(5):
            while "request_vault does not answer" not in stream.comments:
                await stream.block()
        api.vault.down = False
        api.vault.keep(call_of(id="later", bucket=OURS))
        assert (await stream.call())["id"] == "later"


async def test_a_revoked_token_gets_nothing_more(api: Standing) -> None:
    async with following(api) as stream:
        del api.doors.grants["tl_all"]
        await api.vault.record(call_of(id="secret", bucket=OURS))
        assert await stream.block() is None


async def test_streams_end_when_the_service_stops(api: Standing) -> None:
    async with following(api) as stream, asyncio.timeout(5):
        await api.stop.aclose()
        assert await stream.block() is None


async def test_a_client_that_has_gone_leaves_nothing_behind() -> None:
    async with standing(Config(heartbeat_s=0.02)) as api:
        async with following(api) as stream:
            await stream.block()
        assert api.wakes.watched == 1
        async with asyncio.timeout(5):
            while api.wakes.watched:  # noqa: ASYNC110 # turn by turn: nothing tells of it
                await asyncio.sleep(0)


@pytest.mark.parametrize("id", ["x", "1", "1,", "-1,2", "0,1,2", "0," + "9" * 40, "0,²"])
async def test_a_foreign_last_event_id_is_a_problem(api: Standing, id: str) -> None:
    async with api.client.get(LIVE, headers={"Last-Event-ID": id}) as answer:
        assert (await problem(answer, 400, "parameter-invalid"))["field"] == "Last-Event-ID"


async def test_limits_and_cursors_are_not_for_streams(api: Standing) -> None:
    for name in ("limit", "cursor"):
        async with api.client.get(f"{LIVE}?{name}=1") as answer:
            assert (await problem(answer, 400, "parameter-unknown"))["field"] == name


async def test_two_streams_of_two_buckets(api: Standing) -> None:
    async with following(api) as ours, following(api, f"/v1/buckets/{OTHER}/live") as other:
        await api.vault.record(call_of(id="a", bucket=OTHER))
        await api.vault.record(call_of(id="b", bucket=OURS))
        assert ((await ours.call())["id"], (await other.call())["id"]) == ("b", "a")


@pytest.fixture
async def whole(tmp_path: Path) -> AsyncIterator[Installed]:
    async with installed(tmp_path, msgspec.structs.replace(UNLIMITED, heartbeat_s=60.0)) as made:
        yield made


@pytest.mark.parametrize("how", ["expires", "is revoked"])
async def test_a_stream_ends_soon_after_its_token(whole: Installed, how: str) -> None:
    body: dict[str, Any] = {"name": "short", "scopes": ["calls:read"]}
    if how == "expires":
        body["expires_at"] = (whole.bus.clock.now() + timedelta(seconds=1)).isoformat()
    made = await whole.json("POST", "/v1/tokens", json=body)
    headers = {"Authorization": f"Bearer {made['secret']}"}
    async with whole.client.get(LIVE, headers=headers) as live:
        assert live.status == 200
        await live.content.readuntil(b"\n\n")
        if how == "is revoked":
            await whole.json("DELETE", f"/v1/tokens/{made['id']}")
        async with asyncio.timeout(3):  # two seconds, and a busy machine
            await live.content.read()
    async with whole.client.get(LIVE, headers=headers) as live:
        await problem(live, 401, "token-refused")


async def test_a_stream_ends_soon_after_its_bucket(whole: Installed) -> None:
    async with whole.client.get(LIVE) as live:
        await live.content.readuntil(b"\n\n")
        await whole.json("DELETE", f"/v1/buckets/{OURS}")
        async with asyncio.timeout(3):
            await live.content.read()
