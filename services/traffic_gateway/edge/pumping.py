"""Bytes both ways between a client and a target, once they no longer speak HTTP: tunnels and WebSockets.
Called by `tunnel` and `websocket`.

Each side's pace holds the other back, so memory stays flat. An end is passed on as an end, and the other
direction goes on; the pump is done when both have ended, or when neither side has said anything for too long.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol, cast

from aiohttp import web

from services.chassis.outgoing import Inflow, OutgoingError, Pipe, UpstreamTimeout, half_close
from services.traffic_gateway.edge.answering import Answer

Seen = Callable[[bytes], None]


class Side(Protocol):
    """A connection. `read` gives at least one byte, or none at the end; `end`: nothing more is written."""

    async def read(self) -> bytes: ...

    async def write(self, data: bytes) -> None: ...

    def end(self) -> None: ...


class ClientSide:
    """The client's connection after the answer that switched it. Raises ConnectionError when it is broken."""

    __slots__ = ("_answer", "_inflow", "_request")

    def __init__(self, request: web.BaseRequest, answer: Answer) -> None:
        self._request = request
        self._answer = answer
        self._inflow = Inflow(request.transport)
        # What came behind the request is handed over with this, and all that comes from now on.
        request.protocol.set_parser(cast(Any, self._inflow))

    async def read(self) -> bytes:
        return await self._inflow.read()

    async def write(self, data: bytes) -> None:
        await self._answer.write(data)

    def end(self) -> None:
        half_close(self._request.transport)


async def pump(
    client: ClientSide, target: Pipe, *, sent: Seen, received: Seen, idle_timeout_s: float
) -> None:
    """Until both have ended. sent, received: see each piece that the client, that the target says, before it
    goes on. Raises UpstreamDisconnected or ConnectionError when a side broke, UpstreamTimeout after
    `idle_timeout_s` of silence (or of a side that takes nothing)."""
    try:
        async with asyncio.timeout(idle_timeout_s) as silence, asyncio.TaskGroup() as ways:
            deadline = _Deadline(silence, idle_timeout_s)
            ways.create_task(_one_way(client, target, sent, deadline))
            ways.create_task(_one_way(target, client, received, deadline))
    except TimeoutError as error:
        raise UpstreamTimeout(f"neither side said anything for {idle_timeout_s:g} s") from error
    except ExceptionGroup as broken:
        raise broken.exceptions[0] from None


class _Deadline:
    __slots__ = ("_idle_s", "_loop", "_timeout")

    def __init__(self, timeout: asyncio.Timeout, idle_s: float) -> None:
        self._timeout = timeout
        self._idle_s = idle_s
        self._loop = asyncio.get_running_loop()

    def put_off(self) -> None:
        if not self._timeout.expired():  # too late: whoever waits is being told already
            self._timeout.reschedule(self._loop.time() + self._idle_s)


async def _one_way(source: Side, sink: Side, seen: Seen, deadline: _Deadline) -> None:
    """Raises what broke the source. A sink that takes no more is told by whoever reads from it: what it said
    before it went away is still for the other side."""
    while piece := await source.read():
        deadline.put_off()
        seen(piece)
        try:
            await sink.write(piece)
        except (ConnectionError, OutgoingError):
            return
        deadline.put_off()
    sink.end()
