"""A small but real API to look at: a tea shop, with every kind of answer that one meets.

`trunkline up --sample` runs it beside everything else, and `trunkline demo` sends its calls to it. It keeps
its orders in memory, answers in JSON, takes forms and uploads, compresses, streams, redirects, is slow and
fails when asked to.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

from aiohttp import web

from bus.clock import Clock

TEAS = {
    "assam": {"name": "Assam", "cents": 620, "stock": 40},
    "darjeeling": {"name": "Darjeeling First Flush", "cents": 1290, "stock": 12},
    "genmaicha": {"name": "Genmaicha", "cents": 840, "stock": 25},
    "lapsang": {"name": "Lapsang Souchong", "cents": 980, "stock": 0},
    "sencha": {"name": "Sencha", "cents": 1100, "stock": 31},
}
MAX_UPLOAD_BYTES = 20 * 1024 * 1024


class TeaShop:
    """The shop's state and its handlers."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._orders: dict[str, dict[str, Any]] = {}
        self._stock = {id: int(str(tea["stock"])) for id, tea in TEAS.items()}

    def app(self) -> web.Application:
        app = web.Application(client_max_size=MAX_UPLOAD_BYTES)
        app.router.add_get("/teas", self.list_teas)
        app.router.add_get("/teas/{id}", self.get_tea)
        app.router.add_get("/tea/{id}", self.moved)
        app.router.add_post("/orders", self.place_order)
        app.router.add_get("/orders/{id}", self.get_order)
        app.router.add_delete("/orders/{id}", self.cancel_order)
        app.router.add_post("/login", self.login)
        app.router.add_post("/photos", self.upload)
        app.router.add_get("/catalogue", self.catalogue)
        app.router.add_get("/prices", self.prices)
        app.router.add_get("/brewing", self.brewing)
        app.router.add_get("/broken", self.broken)
        app.router.add_get("/teapot", self.teapot)
        return app

    async def list_teas(self, request: web.Request) -> web.Response:
        most = request.query.get("max_cents", "")
        if most and not most.isdigit():
            return _refused(400, f"max_cents is no number: {most}")
        teas = [self._tea(id) for id, tea in TEAS.items() if not most or int(str(tea["cents"])) <= int(most)]
        return web.json_response({"teas": teas}, headers={"Cache-Control": "max-age=60"})

    async def get_tea(self, request: web.Request) -> web.Response:
        id = request.match_info["id"]
        if id not in TEAS:
            return _refused(404, f"no tea is called {id}")
        tag = f'"{hashlib.sha256(json.dumps(self._tea(id)).encode()).hexdigest()[:16]}"'
        if request.headers.get("If-None-Match") == tag:
            return web.Response(status=304, headers={"ETag": tag})
        return web.json_response(self._tea(id), headers={"ETag": tag})

    async def moved(self, request: web.Request) -> web.Response:
        return web.Response(status=301, headers={"Location": f"/teas/{request.match_info['id']}"})

    async def place_order(self, request: web.Request) -> web.Response:
        try:
            order = await request.json()
            tea, quantity = str(order["tea"]), int(order["quantity"])
        except (ValueError, KeyError, TypeError):
            return _refused(400, 'an order is JSON such as {"tea": "sencha", "quantity": 2}')
        if tea not in TEAS:
            return _refused(422, f"no tea is called {tea}")
        if self._stock[tea] < quantity:
            return _refused(409, f"{TEAS[tea]['name']}: out of stock")
        self._stock[tea] -= quantity
        id = f"o-{len(self._orders) + 1:04d}"
        placed: datetime = self._clock.now()
        self._orders[id] = {"id": id, "tea": tea, "quantity": quantity, "placed_at": placed.isoformat()}
        return web.json_response(self._orders[id], status=201, headers={"Location": f"/orders/{id}"})

    async def get_order(self, request: web.Request) -> web.Response:
        order = self._orders.get(request.match_info["id"])
        return web.json_response(order) if order else _refused(404, "no such order")

    async def cancel_order(self, request: web.Request) -> web.Response:
        order = self._orders.pop(request.match_info["id"], None)
        if order is None:
            return _refused(404, "no such order")
        self._stock[order["tea"]] += order["quantity"]
        return web.Response(status=204)

    async def login(self, request: web.Request) -> web.Response:
        form = await request.post()
        if form.get("password") != "oolong":
            return _refused(401, "wrong name or password", {"WWW-Authenticate": 'Bearer realm="tea"'})
        response = web.json_response({"welcome": str(form.get("name"))})
        response.headers.add("Set-Cookie", "session=c3VnYXI; HttpOnly; Path=/")
        response.headers.add("Set-Cookie", "theme=green; Path=/")
        return response

    async def upload(self, request: web.Request) -> web.Response:
        form = await request.post()
        photo = form.get("photo")
        if not isinstance(photo, web.FileField):
            return _refused(400, "a photo is a multipart form with a file named photo")
        data = photo.file.read()
        answer = {"file": photo.filename, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        return web.json_response(answer, status=201)

    async def catalogue(self, request: web.Request) -> web.Response:
        pages = [
            {**self._tea(id), "leaf": f"No. {n}", "text": "Steep, wait, pour. " * 20}
            for id in TEAS
            for n in range(40)
        ]
        body = gzip.compress(json.dumps({"pages": pages}).encode(), mtime=0)
        return web.Response(body=body, content_type="application/json", headers={"Content-Encoding": "gzip"})

    async def prices(self, request: web.Request) -> web.StreamResponse:
        """Newline-delimited JSON, chunked: a line a tea, as they come."""
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        for id in TEAS:
            await response.write(json.dumps({"id": id, "cents": TEAS[id]["cents"]}).encode() + b"\n")
            await self._clock.sleep(0.005)
        await response.write_eof()
        return response

    async def brewing(self, request: web.Request) -> web.Response:
        seconds = min(float(request.query.get("seconds", "0.4")), 30.0)
        await self._clock.sleep(seconds)
        return web.json_response({"brewed_for_s": seconds})

    async def broken(self, request: web.Request) -> web.Response:
        return web.json_response(
            {"error": "the kettle is on fire"}, status=503, headers={"Retry-After": "30"}
        )

    async def teapot(self, request: web.Request) -> web.Response:
        return _refused(418, "short and stout")

    def _tea(self, id: str) -> dict[str, Any]:
        return {"id": id, **TEAS[id], "stock": self._stock[id]}


def _refused(status: int, detail: str, headers: dict[str, str] | None = None) -> web.Response:
    return web.json_response({"error": detail}, status=status, headers=headers)


@asynccontextmanager
async def serve_sample(clock: Clock, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[str]:
    """Serve the shop; gives its URL. Port 0: a free one."""
    runner = web.AppRunner(TeaShop(clock).app(), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        await site.start()
        bound = runner.addresses[0][1]
        yield f"http://{host}:{bound}"
    finally:
        await asyncio.shield(runner.cleanup())
