"""One call: for reading, as captured bytes, as a snippet."""

from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path

import pytest

from bus.clock import SystemClock
from bus.errors import Unavailable
from schemas.request_vault import BODY_PART_BYTES, BodyChunk
from schemas.traffic_gateway import CallCaptured, CallError
from services.api.config import Config
from services.request_vault.store.bodies import DirectoryBodies
from tests.services.api.standing import FOREIGN, OTHER, OURS, Standing, standing
from tests.services.api.test_operations import problem
from tests.services.calls import har12
from tests.services.calls.made import call_of

LONG = bytes(range(256)) * 3000  # over three parts


def in_ours(**more: object) -> CallCaptured:
    return call_of(id="c", bucket=OURS, **more)  # type: ignore[arg-type]


async def test_a_call_is_shown_whole_with_its_bodies_decoded(api: Standing) -> None:
    coded = gzip.compress(b'{"b":1,"a":2}')
    headers = (("Content-Type", "application/json"), ("Content-Encoding", "gzip"))
    call = in_ours(
        method="POST",
        request_headers=(("Content-Type", "text/plain"), ("X-R", "1"), ("X-R", "2")),
        request_body=b"hello",
        response_headers=headers,
        response_body=coded,
    )
    api.vault.keep(call)
    async with api.client.get("/v1/calls/c") as answer:
        shown = await answer.json()
    assert shown["request"]["headers"][1:] == [["X-R", "1"], ["X-R", "2"]]
    assert shown["request"]["body"]["content"]["text"] == "hello"
    body = shown["response"]["body"]
    assert (body["size_bytes"], body["sha256"]) == (len(coded), hashlib.sha256(coded).hexdigest())
    assert (body["content"]["kind"], body["content"]["text"]) == ("json", '{\n  "b": 1,\n  "a": 2\n}')
    assert body["content"]["codings"] == ["gzip"]
    assert (shown["position"], shown["recorded_at"]) == ([0, 1], "2026-01-01T00:00:00Z")


async def test_a_call_that_failed_is_shown_with_its_error(api: Standing) -> None:
    api.vault.keep(in_ours(status=None, error=CallError("connect-refused", "nobody listens")))
    async with api.client.get("/v1/calls/c") as answer:
        shown = await answer.json()
    assert (shown["response"], shown["error"]["slug"]) == (None, "connect-refused")


async def test_a_long_body_is_read_in_parts_and_cut_for_reading_only() -> None:
    async with standing(Config(read_limit_bytes=1000)) as api:
        api.vault.keep(in_ours(response_body=LONG, response_headers=()), bodies=(LONG,))
        async with api.client.get("/v1/calls/c") as answer:
            content = (await answer.json())["response"]["body"]["content"]
        assert (content["kind"], content["size_bytes"], content["complete"]) == ("binary", 1000, False)
        async with api.client.get("/v1/calls/c?raw=response") as answer:
            assert await answer.read() == LONG
            assert answer.content_length == len(LONG)
        async with api.client.head("/v1/calls/c?raw=response") as answer:
            assert (answer.status, answer.content_length) == (200, len(LONG))


async def test_a_raw_body_is_what_was_captured_and_no_browser_runs_it(api: Standing) -> None:
    coded = gzip.compress(b"<script>alert(1)</script>")
    headers = (("Content-Type", "text/html"), ("Content-Encoding", "gzip"))
    api.vault.keep(in_ours(response_headers=headers, response_body=coded))
    async with api.client.get("/v1/calls/c?raw=response") as answer:
        assert await answer.read() == coded
        assert answer.headers["Content-Type"] == "text/html"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Content-Disposition"] == 'attachment; filename="c-response"'
        assert answer.headers["Content-Security-Policy"].startswith("sandbox;")
        assert answer.headers["Trunkline-Content-Encoding"] == "gzip"
        assert "Content-Encoding" not in answer.headers


@pytest.mark.parametrize("hostile", ["text/html\r\nX-Injected: 1", "t\xe9xt/html", "", "x" * 300])
async def test_a_hostile_content_type_becomes_plain_bytes(api: Standing, hostile: str) -> None:
    api.vault.keep(in_ours(response_headers=(("Content-Type", hostile),)))
    async with api.client.get("/v1/calls/c?raw=response") as answer:
        assert answer.headers["Content-Type"] == "application/octet-stream"
        assert "X-Injected" not in answer.headers


async def test_a_body_that_is_gone_is_said_to_be_missing(api: Standing) -> None:
    api.vault.keep(in_ours(method="PUT", request_body=LONG))
    async with api.client.get("/v1/calls/c") as answer:
        body = (await answer.json())["request"]["body"]
    assert (body["missing"], body["content"], body["size_bytes"]) == (True, None, len(LONG))
    async with api.client.get("/v1/calls/c?raw=request") as answer:
        await problem(answer, 404, "body-unknown")
    async with api.client.get("/v1/calls/c?as=curl") as answer:
        assert "is not at hand" in await answer.text()


async def test_a_damaged_body_is_said_to_be_so_and_is_back_when_it_is_captured_again(
    api: Standing, tmp_path: Path
) -> None:
    api.vault.stored = stored = DirectoryBodies(tmp_path, SystemClock(), mend=True)
    sha256 = hashlib.sha256(LONG).hexdigest()
    part = BODY_PART_BYTES
    count = -(-len(LONG) // part)
    chunks = [
        BodyChunk(OURS, sha256, n, count, len(LONG), LONG[n * part : (n + 1) * part]) for n in range(count)
    ]
    await stored.put(chunks)
    api.vault.keep(in_ours(method="PUT", request_body=LONG, response_body=b"all well"))
    (file,) = tmp_path.rglob(f"{sha256}*")
    content = bytearray(file.read_bytes())
    content[-100] ^= 1  # far behind the first part
    file.write_bytes(content)

    for _ in range(2):  # also when it was set aside already
        async with api.client.get("/v1/calls/c?raw=request") as answer:
            said = await problem(answer, 410, "body-damaged")
        assert sha256 in said["detail"]
    async with api.client.get("/v1/calls/c") as answer:
        shown = await answer.json()
    assert (shown["request"]["body"]["missing"], shown["request"]["body"]["content"]) == (True, None)
    assert shown["response"]["body"]["content"]["text"] == "all well"

    assert set(await stored.put(chunks)) == {None}
    async with api.client.get("/v1/calls/c?raw=request") as answer:
        assert await answer.read() == LONG


async def test_no_answer_has_no_raw_body_and_an_empty_one_is_empty(api: Standing) -> None:
    api.vault.keep(in_ours(status=None))
    async with api.client.get("/v1/calls/c?raw=response") as answer:
        await problem(answer, 404, "body-unknown")
    async with api.client.get("/v1/calls/c?raw=request") as answer:
        assert (answer.status, await answer.read()) == (200, b"")


async def test_a_call_as_a_snippet_or_an_archive(api: Standing) -> None:
    api.vault.keep(in_ours(method="POST", request_body=b"a=1"))
    async with api.client.get("/v1/calls/c?as=curl") as answer:
        assert (await answer.text()).startswith("curl 'http://api.example.com/things?a=1'")
    async with api.client.get("/v1/calls/c?as=python") as answer:
        assert "requests.request(" in await answer.text()
    async with api.client.get("/v1/calls/c?as=har") as answer:
        archive = har12.check(await answer.read())
    assert [entry.request.method for entry in archive.log.entries] == ["POST"]


@pytest.mark.parametrize(
    ("query", "slug", "field"),
    [
        ("raw=both", "parameter-invalid", "raw"),
        ("as=pdf", "parameter-invalid", "as"),
        ("raw=request&as=curl", "parameter-invalid", "raw"),
        ("raw=request&raw=response", "parameter-invalid", "raw"),
        ("colour=red", "parameter-unknown", "colour"),
    ],
)
async def test_a_bad_parameter_is_named(api: Standing, query: str, slug: str, field: str) -> None:
    api.vault.keep(in_ours())
    async with api.client.get(f"/v1/calls/c?{query}") as answer:
        assert (await problem(answer, 400, slug))["field"] == field


async def test_a_foreign_call_and_none_at_all_look_the_same(api: Standing) -> None:
    api.vault.keep(call_of(id="theirs", bucket=FOREIGN), call_of(id="other", bucket=OTHER))
    answers = []
    for id, token in (
        ("theirs", "tl_all"),
        ("nowhere", "tl_all"),
        ("other", "tl_limited"),
        ("x" * 4000, "tl_all"),
    ):
        headers = {"Authorization": f"Bearer {token}", "X-Request-Id": "same"}
        async with api.client.get(f"/v1/calls/{id}?raw=request", headers=headers) as answer:
            said = await problem(answer, 404, "call-unknown")
            answers.append(json.dumps(said).replace(id[:80], "ID"))
    assert len(set(answers)) == 1, answers


async def test_stale_access_is_no_unknown_call(api: Standing) -> None:
    async def bucket(key: str) -> None:
        raise Unavailable("too old")

    api.vault.keep(in_ours())
    api.doors.bucket = bucket  # type: ignore[method-assign]
    async with api.client.get("/v1/calls/c") as answer:
        await problem(answer, 503, "service-unavailable")
