"""The HTTP server in front of `relaying`: aiohttp's low-level one. Called by `service`.

aiohttp parses requests strictly (llhttp), keeps connections, and takes pipelined requests one after another.
A client that goes away cancels its handler, and with it the call to the target. `Connection` bounds what
clients may do; a head that can be read in two ways is refused here, before anything looks at it.

    async with GatewayServer(gateway, config, clock) as server, listen(server, ...):
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Self

from aiohttp import web

from bus.clock import Clock
from services.traffic_gateway.config import Config
from services.traffic_gateway.domain.heads import refusal
from services.traffic_gateway.edge import problems
from services.traffic_gateway.edge.admitting import Admission
from services.traffic_gateway.edge.connection import Connection, LastWord

LOOKS_S = 1.0  # how often connections are looked at, at the least

_KINDS = {
    "invalid": problems.REQUEST_INVALID,
    "coding": problems.CODING_UNKNOWN,
    "version": problems.VERSION_UNKNOWN,
}


class GatewayServer(web.Server):
    """Makes `Connection`s, and ends those that take too long while it is entered. connections: who is
    there."""

    def __init__(
        self,
        gateway: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        config: Config,
        clock: Clock,
    ) -> None:
        super().__init__(self._answer, handler_cancellation=True)
        self._gateway = gateway
        self._config = config
        self._clock = clock
        self._tasks = asyncio.TaskGroup()
        self.admission = Admission(config.max_connections, config.max_connections_per_client)

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        self._watch = self._tasks.create_task(self._watching())
        return self

    async def __aexit__(self, *error: object) -> None:
        self._watch.cancel()
        await self._tasks.__aexit__(None, None, None)

    def __call__(self) -> web.RequestHandler:
        return Connection(self, self._config, self.admission, self._clock)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        refused = refusal(request.method, request.version, request.raw_headers)
        if refused is not None:
            return LastWord(_KINDS[refused.kind].of(refused.detail))
        return await self._gateway(request)

    async def _watching(self) -> None:
        pause_s = min(LOOKS_S, self._config.head_timeout_s / 4, self._config.idle_timeout_s / 4)
        while True:
            await self._clock.sleep(pause_s)
            now = self._clock.monotonic()
            for connection in self.connections:
                if isinstance(connection, Connection):
                    connection.watched(now)
