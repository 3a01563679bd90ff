"""Programs that speak HTTP on the side, through the gateway: pip, npm, git, a browser."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import json
import os
import re
import sys
import tarfile
import zipfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from deploy.stack.programs import program
from tests.services.traffic_gateway.clients import Api, an_api, run
from tests.services.traffic_gateway.running import KEY, Running, gateway

ALONE = {"PATH": os.environ["PATH"], "NO_PROXY": "*", "LANG": "C.UTF-8"}


def through(at: Running, api: Api, path: str = "") -> str:
    return f"http://127.0.0.1:{at.port}/{KEY}/{api.url}{path}"


# --- pip


def a_wheel() -> bytes:
    packed = io.BytesIO()
    info = "teapot-1.0.dist-info"
    with zipfile.ZipFile(packed, "w") as wheel:
        wheel.writestr("teapot.py", "SHORT, STOUT = True, True\n")
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: teapot\nVersion: 1.0\n")
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")
    return packed.getvalue()


async def test_pip_downloads_a_package(tmp_path: Path) -> None:
    """An index by PEP 503, its links relative: they stay in the path scheme."""
    wheel = a_wheel()
    name = "teapot-1.0-py3-none-any.whl"

    async def index(request: web.Request) -> web.Response:
        link = f'<a href="../../files/{name}#sha256={hashlib.sha256(wheel).hexdigest()}">{name}</a>'
        return web.Response(text=f"<!DOCTYPE html><html><body>{link}</body></html>", content_type="text/html")

    async def file(request: web.Request) -> web.Response:
        return web.Response(body=wheel, content_type="application/octet-stream")

    async with (
        an_api(web.get("/simple/teapot/", index), web.get(f"/files/{name}", file)) as api,
        gateway() as at,
    ):
        await run(
            Path(sys.executable), "-m", "pip", "download", "--isolated", "--no-cache-dir", "--no-deps",
            "--disable-pip-version-check", "--index-url", through(at, api, "/simple/"),
            "--dest", str(tmp_path), "teapot==1.0", env=ALONE | {"HOME": str(tmp_path)},
        )  # fmt: skip
        assert [call.request.url for call in at.relay.calls] == [
            f"{api.url}/simple/teapot/",
            f"{api.url}/files/{name}",
        ]
    assert (tmp_path / name).read_bytes() == wheel


# --- npm


def a_tarball() -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, text in {
            "package.json": '{"name": "teapot", "version": "1.0.0", "main": "index.js"}',
            "index.js": "module.exports = 'short and stout'\n",
        }.items():
            entry = tarfile.TarInfo(f"package/{name}")
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
    return packed.getvalue()


async def test_npm_views_and_installs_a_package(tmp_path: Path) -> None:
    """The registry names its tarballs by the address that it is reached by, as registries behind a base URL
    do."""
    tarball = a_tarball()
    base = ""

    async def manifest(request: web.Request) -> web.Response:
        version = {
            "name": "teapot",
            "version": "1.0.0",
            "main": "index.js",
            "dist": {
                "tarball": f"{base}/teapot/-/teapot-1.0.0.tgz",
                "integrity": "sha512-" + base64.b64encode(hashlib.sha512(tarball).digest()).decode(),
            },
        }
        return web.json_response(
            {"name": "teapot", "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": version}}
        )

    async def file(request: web.Request) -> web.Response:
        return web.Response(body=tarball, content_type="application/octet-stream")

    routes = web.get("/teapot", manifest), web.get("/teapot/-/teapot-1.0.0.tgz", file)
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "package.json").write_text('{"name": "kitchen", "version": "1.0.0"}')
    async with an_api(*routes) as api, gateway() as at:
        base = through(at, api)
        options = (
            "--registry", base + "/", "--cache", str(tmp_path / "cache"),
            "--userconfig", str(tmp_path / "npmrc"),
            "--no-audit", "--no-fund", "--no-update-notifier", "--fetch-retries", "0",
        )  # fmt: skip
        env = ALONE | {"HOME": str(tmp_path)}
        seen = json.loads(
            await run("npm", "view", "teapot", "--json", *options, cwd=tmp_path / "work", env=env)
        )
        assert seen["version"] == "1.0.0"
        await run("npm", "install", "teapot", *options, cwd=tmp_path / "work", env=env)
        assert f"{api.url}/teapot/-/teapot-1.0.0.tgz" in {call.request.url for call in at.relay.calls}
    assert (
        tmp_path / "work/node_modules/teapot/index.js"
    ).read_text() == "module.exports = 'short and stout'\n"


# --- git


async def git(*arguments: str, cwd: Path) -> bytes:
    env = ALONE | {
        "HOME": str(cwd), "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0",
        "GIT_AUTHOR_NAME": "t", "GIT_AUTHOR_EMAIL": "t@example.org",
        "GIT_COMMITTER_NAME": "t", "GIT_COMMITTER_EMAIL": "t@example.org",
    }  # fmt: skip
    return await run("git", *arguments, cwd=cwd, env=env)


def backend(root: Path, path_of_git: Path) -> web.AbstractRouteDef:
    """`git http-backend` as a CGI program (RFC 3875)."""

    async def serve(request: web.Request) -> web.Response:
        body = await request.read()
        process = await asyncio.create_subprocess_exec(
            str(path_of_git), "http-backend",
            env={
                "PATH": os.environ["PATH"], "GIT_PROJECT_ROOT": str(root), "GIT_HTTP_EXPORT_ALL": "1",
                "PATH_INFO": "/" + request.match_info["path"], "QUERY_STRING": request.query_string,
                "REQUEST_METHOD": request.method, "CONTENT_TYPE": request.headers.get("Content-Type", ""),
                "CONTENT_LENGTH": str(len(body)), "REMOTE_USER": "t", "REMOTE_ADDR": "127.0.0.1",
                "HTTP_CONTENT_ENCODING": request.headers.get("Content-Encoding", ""),
                "GIT_PROTOCOL": request.headers.get("Git-Protocol", ""),
            },
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        told, _ = await process.communicate(body)
        head, _, content = told.partition(b"\r\n\r\n")
        fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        status = int(fields.pop("Status", "200").split()[0])
        return web.Response(status=status, headers=fields, body=content)

    return web.route("*", "/git/{path:.*}", serve)


async def test_git_clones_and_pushes(tmp_path: Path) -> None:
    """Smart HTTP: POSTs, gzip-coded and chunked bodies, and answers that begin before all was read."""
    source, bare, copy = tmp_path / "source", tmp_path / "served" / "tea.git", tmp_path / "copy"
    source.mkdir()
    await git("init", "-q", "-b", "main", cwd=source)
    (source / "big.bin").write_bytes(os.urandom(3_000_000))
    await git("add", ".", cwd=source)
    await git("commit", "-q", "-m", "one", cwd=source)
    await git("clone", "-q", "--bare", str(source), str(bare), cwd=source)
    await git("config", "http.receivepack", "true", cwd=bare)
    path_of_git = await asyncio.to_thread(program, "git")
    async with an_api(backend(bare.parent, path_of_git)) as api, gateway() as at:
        await git("clone", "-q", through(at, api, "/git/tea.git"), str(copy), cwd=tmp_path)
        assert (copy / "big.bin").read_bytes() == (source / "big.bin").read_bytes()
        (copy / "more.bin").write_bytes(os.urandom(2_000_000))
        await git("add", ".", cwd=copy)
        await git("commit", "-q", "-m", "two", cwd=copy)
        await git("push", "-q", "origin", "main", cwd=copy)
        assert {call.error for call in at.relay.calls} == {None}
    pushed = await git("rev-parse", "main", cwd=bare)
    assert pushed == await git("rev-parse", "main", cwd=copy)


# --- a browser


class Page:
    """A page in a headless Chromium, driven over the DevTools protocol."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, session: str) -> None:
        self._socket = socket
        self._session = session
        self._last = 0

    async def open(self, url: str) -> None:
        await self.call("Page.enable")
        await self.call("Page.navigate", url=url)
        while (await self._socket.receive_json(timeout=20)).get("method") != "Page.loadEventFired":
            pass

    async def evaluate(self, script: str) -> Any:
        """What the promise that the script returns comes to."""
        answer = await self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        self._last += 1
        await self._socket.send_json(
            {"id": self._last, "method": method, "params": params, "sessionId": self._session}
        )
        while True:
            message = await self._socket.receive_json(timeout=20)
            if message.get("id") == self._last and message.get("sessionId", "") == self._session:
                assert "error" not in message, message
                result: dict[str, Any] = message["result"]
                return result


@asynccontextmanager
async def a_browser(folder: Path) -> AsyncIterator[Page]:
    path = await asyncio.to_thread(program, "chromium")
    process = await asyncio.create_subprocess_exec(
        str(path), "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
        "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--no-proxy-server",
        "--remote-debugging-port=0", f"--user-data-dir={folder / 'profile'}", "about:blank",
        env=ALONE | {"HOME": str(folder)},
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stderr is not None
    try:
        async with asyncio.timeout(30):
            while (found := re.search(rb"ws://\S+", await process.stderr.readline())) is None:
                assert not process.stderr.at_eof(), "the browser did not start"
        async with aiohttp.ClientSession() as http, http.ws_connect(found.group().decode()) as socket:
            browser = Page(socket, "")
            made = await browser.call("Target.createTarget", url="about:blank")
            attached = await browser.call("Target.attachToTarget", targetId=made["targetId"], flatten=True)
            yield Page(socket, attached["sessionId"])
            await socket.send_json({"id": 0, "method": "Browser.close"})
            async with asyncio.timeout(20):
                await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def test_a_browser_fetches(tmp_path: Path) -> None:
    """A page of another origin calls the API through the gateway: plainly, with a preflight (relayed like any
    other call, answered by the API), with a body, and as a stream."""
    allow = {"Access-Control-Allow-Origin": "*", "Access-Control-Allow-Headers": "x-tea"} | {
        "Access-Control-Allow-Methods": "PUT",
        "Access-Control-Expose-Headers": "Trunkline-Call-Id",
    }
    seen: list[str] = []

    async def tea(request: web.Request) -> web.Response:
        seen.append(request.method)
        if request.method == "OPTIONS":
            return web.Response(status=204, headers=allow)
        return web.json_response({"method": request.method, "body": await request.text()}, headers=allow)

    async def events(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers=allow | {"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for i in range(3):
            await response.write(b"data: %d\n\n" % i)
        return response

    async def page(request: web.Request) -> web.Response:
        return web.Response(text="<!DOCTYPE html><title>tea</title>", content_type="text/html")

    routes = web.get("/page", page), web.get("/events", events), web.route("*", "/tea", tea)
    async with an_api(*routes) as api, gateway() as at, a_browser(tmp_path) as browser:
        await browser.open(f"{api.url}/page")
        url = json.dumps(through(at, api, "/tea"))
        assert await browser.evaluate(f"fetch({url}).then(r => r.json())") == {"method": "GET", "body": ""}
        put = f"fetch({url}, {{method: 'PUT', headers: {{'X-Tea': 'green'}}, body: 'leaves'}})"
        told = await browser.evaluate(
            put + ".then(async r => [r.status, r.headers.get('Trunkline-Call-Id'), await r.json()])"
        )
        assert (told[0], told[2]) == (200, {"method": "PUT", "body": "leaves"})
        assert seen == ["GET", "OPTIONS", "PUT"]
        assert told[1] in {call.id for call in at.relay.calls}
        stream = json.dumps(through(at, api, "/events"))
        heard = await browser.evaluate(
            "new Promise(done => { const got = []; const source = new EventSource(" + stream + ");"
            "source.onmessage = e => { got.push(e.data); "
            "if (got.length == 3) { source.close(); done(got); } } })"
        )
        assert heard == ["0", "1", "2"]
