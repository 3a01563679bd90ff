"""What tests with real clients share: an API that says what it heard, programs run beside the loop."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

from deploy.stack.programs import program
from services.chassis.web import listen

DEADLINE_S = 60.0


class Api:
    """heard: method, path with its query, and headers of each request."""

    def __init__(self) -> None:
        self.port = 0
        self.heard: list[tuple[str, str, dict[str, str]]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.heard.append((request.method, request.raw_path, dict(request.headers)))
        body = await request.read()
        told: dict[str, Any] = {
            "method": request.method,
            "path": request.raw_path,
            "type": request.headers.get("Content-Type", ""),
            "sha256": hashlib.sha256(body).hexdigest(),
            "size": len(body),
        }
        response = web.json_response(told, headers={"X-Heard": "yes"})
        response.set_cookie("taste", "sweet")
        if request.path == "/packed":
            response.enable_compression()
        return response


@asynccontextmanager
async def an_api(*routes: web.AbstractRouteDef) -> AsyncIterator[Api]:
    """`routes` go before the one that tells what it heard."""
    api = Api()
    app = web.Application(client_max_size=256 * 1024 * 1024)
    app.add_routes([*routes, web.route("*", "/{path:.*}", api.answer)])
    async with listen(app, "127.0.0.1", 0, True, drain_s=0.2) as port:
        api.port = port
        yield api


async def run(
    name: str | Path, *arguments: str, cwd: Path | None = None, env: dict[str, str] | None = None
) -> bytes:
    """What a program printed; it has to end well, and in time. A name is that of a program to be found."""
    path = await asyncio.to_thread(program, name) if isinstance(name, str) else name
    process = await asyncio.create_subprocess_exec(
        str(path),
        *arguments,
        cwd=cwd,
        env=env,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(DEADLINE_S):
            printed, complained = await process.communicate()
    except BaseException:
        process.kill()
        await process.wait()
        raise
    assert process.returncode == 0, f"{path} {arguments}: {printed[-2000:]!r} {complained[-4000:]!r}"
    return printed
