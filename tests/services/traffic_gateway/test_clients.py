"""HTTP clients that people use, through the gateway: curl with many of its options, requests, httpx and
aiohttp."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import pytest
import requests

from tests.services.traffic_gateway.clients import Api, an_api, run
from tests.services.traffic_gateway.running import KEY, Running, gateway

BIG = bytes(range(256)) * 8192  # 2 MiB


def through(at: Running, api: Api, path: str) -> str:
    return f"http://127.0.0.1:{at.port}/{KEY}/{api.url}{path}"


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


async def curl(*options: str, path: str = "/x?y=1") -> dict[str, Any]:
    async with an_api() as api, gateway() as at:
        told = await run("curl", "-sS", "--fail", *options, through(at, api, path))
        call = await at.relay.call()
        assert call.request.url == api.url + path
        assert call.error is None
        result: dict[str, Any] = json.loads(told) if told else {}
        return result


@pytest.mark.parametrize(
    ("options", "method"),
    [
        (["--http1.1"], "GET"),
        (["--http1.0"], "GET"),
        (["--compressed"], "GET"),
        (["-G", "-d", "z=2"], "GET"),
        (["--path-as-is"], "GET"),
        (["-H", "Connection: close"], "GET"),
        (["-H", "Accept;", "-A", "", "-e", "http://x/"], "GET"),
        (["-u", "user:pass", "-b", "a=b; c=d"], "GET"),
        (["-r", "0-10"], "GET"),
        (["--raw"], "GET"),
        (["-X", "PROPFIND"], "PROPFIND"),
        (["-X", "DELETE"], "DELETE"),
        (["-d", "a=b"], "POST"),
        (["-d", "", "--http1.0"], "POST"),
        (["--json", "{}"], "POST"),
        (["-H", "Transfer-Encoding: chunked", "-d", "a=b"], "POST"),
    ],
    ids=" ".join,
)
async def test_curl_s_options(options: list[str], method: str) -> None:
    path = "/a/../b/%2e%2E/c" if "--path-as-is" in options else "/x?y=1"
    if "-G" in options:
        async with an_api() as api, gateway() as at:
            told = json.loads(await run("curl", "-sS", *options, through(at, api, path)))
        assert told["path"] == "/x?y=1&z=2"
        return
    told = await curl(*options, path=path)
    assert (told["method"], told["path"]) == (method, path)


async def test_curl_asks_for_the_head() -> None:
    async with an_api() as api, gateway() as at:
        head = await run("curl", "-sSI", through(at, api, "/"))
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"\r\nX-Heard: yes\r\n" in head


@pytest.mark.parametrize("expect", ["Expect: 100-continue", "Expect:"])
@pytest.mark.parametrize("framing", ["Content-Length", "chunked"])
async def test_curl_uploads_a_file(tmp_path: Path, expect: str, framing: str) -> None:
    (tmp_path / "file").write_bytes(BIG)
    options = ["-T", str(tmp_path / "file"), "-H", expect]
    if framing == "chunked":
        options += ["-H", "Transfer-Encoding: chunked"]
    told = await curl(*options)
    assert (told["method"], told["size"], told["sha256"]) == ("PUT", len(BIG), digest(BIG))


async def test_curl_sends_a_form(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(BIG)
    told = await curl("-F", "name=value", "-F", f"file=@{tmp_path / 'file'};type=image/png")
    assert told["type"].startswith("multipart/form-data; boundary=")
    assert told["size"] > len(BIG)


async def test_curl_unpacks_what_the_target_packed() -> None:
    told = await curl("--compressed", path="/packed")
    assert told["path"] == "/packed"


async def test_curl_by_host_name_and_over_one_connection() -> None:
    async with an_api() as api, gateway() as at:
        host = f"127-0-0-1-{KEY}.localhost:{at.port}"
        told = await run(
            "curl", "-sS", "--resolve", f"{host}:127.0.0.1", "-H", f"Trunkline-Request-Port: {api.port}",
            f"http://{host}/a", f"http://{host}/b", "-w", "%{num_connects}",
        )  # fmt: skip
        assert told.endswith(b"0"), "the second came over the connection of the first"
        assert [path for _, path, _ in api.heard] == ["/a", "/b"]


def with_requests(url: str) -> None:
    with requests.Session() as session:
        session.trust_env = False
        answer = session.post(url, data=BIG, headers={"X-A": "1"}, timeout=20)
        assert answer.json()["sha256"] == digest(BIG)
        assert session.cookies["taste"] == "sweet"
        assert session.get(url, params={"q": "ä b"}, timeout=20).json()["path"].endswith("?q=%C3%A4+b")
        assert session.get(url + "packed", timeout=20).json()["path"] == "/packed"
        chunked = session.put(url, data=iter([b"one", b"two"]), timeout=20).json()
        assert chunked["sha256"] == digest(b"onetwo")
        assert session.head(url, timeout=20).headers["X-Heard"] == "yes"
        with session.get(url, stream=True, timeout=20) as streamed:
            assert b"".join(streamed.iter_content(7)).startswith(b"{")
        files = session.post(url, files={"f": ("n.bin", BIG)}, timeout=20).json()
        assert files["size"] > len(BIG)


async def test_requests() -> None:
    async with an_api() as api, gateway() as at:
        await asyncio.to_thread(with_requests, through(at, api, "/"))
        assert len(api.heard) == 7
        async with asyncio.timeout(5):
            while len(at.relay.calls) < 7:
                at.relay.asked.clear()
                await at.relay.asked.wait()


async def test_httpx() -> None:
    async with an_api() as api, gateway() as at, httpx.AsyncClient(trust_env=False) as client:
        url = through(at, api, "/")
        assert (await client.post(url, content=BIG)).json()["sha256"] == digest(BIG)
        assert (await client.get(url + "packed")).json()["path"] == "/packed"

        async def pieces() -> Any:
            for piece in (b"one", b"two"):
                yield piece

        assert (await client.put(url, content=pieces())).json()["sha256"] == digest(b"onetwo")
        answers = await asyncio.gather(*(client.get(f"{url}{i}") for i in range(20)))
        assert [answer.json()["path"] for answer in answers] == [f"/{i}" for i in range(20)]
        assert client.cookies["taste"] == "sweet"


async def test_aiohttp() -> None:
    async with an_api() as api, gateway() as at, aiohttp.ClientSession() as client:
        url = through(at, api, "/")
        async with client.post(url, data=io.BytesIO(BIG), expect100=True) as answer:
            assert (await answer.json())["sha256"] == digest(BIG)
        async with client.get(url + "packed") as answer:
            assert (await answer.json())["path"] == "/packed"
        form = aiohttp.FormData()
        form.add_field("file", io.BytesIO(BIG), filename="n.bin")
        async with client.post(url, data=form) as answer:
            assert (await answer.json())["size"] > len(BIG)
        answers = await asyncio.gather(*(client.get(f"{url}{i}") for i in range(20)))
        assert [(await answer.json())["path"] for answer in answers] == [f"/{i}" for i in range(20)]
