"""`listen`: serve an app on a port, and drain it.

The rule for ports: a *default* port that is taken moves to the next free one; a port that somebody *set* and
that is taken is an error that says so. Leaving the block stops taking connections, tells streams to end, lets
requests in flight finish within a bound, then closes what is left.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from bus.errors import BusError

MOVES = 100
BACKLOG = 1024

Protocols = Callable[[], asyncio.BaseProtocol]
Serves = web.Application | web.Server | Protocols

if TYPE_CHECKING:
    _Adapter = logging.LoggerAdapter[logging.Logger]
else:
    _Adapter = logging.LoggerAdapter


class CannotListen(BusError):
    slug = "cannot-listen"
    meaning = "A service cannot listen on the address it was given."
    remedy = (
        "Set an address of this machine and a port that this user may use (`bind` and `port` of the service)."
    )
    exit_code = 78


class PortInUse(CannotListen):
    slug = "port-in-use"
    meaning = "A port that was set is taken by another program."
    remedy = "Stop that program, set another port, or set none: a default port moves to the next free one."


def listening_url(host: str, port: int) -> str:
    """The address of something that listens there; an IPv6 address in brackets (RFC 3986 3.2.2)."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@asynccontextmanager
async def listen(
    serves: Serves,
    host: str,
    port: int,
    fixed: bool,
    *,
    drain_s: float = 10.0,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[int]:
    """Serve on `host`:`port` (0: any free port) and give the port it is. fixed: the port was set, so it does
    not move. `serves`: an app, a low-level aiohttp server, or a factory of asyncio protocols, whose
    connections their maker drains. Raises PortInUse, CannotListen."""
    claimed = await claim(host, port, fixed)
    bound: int = claimed.getsockname()[1]
    try:
        if not isinstance(serves, web.Application | web.Server):
            listener = await asyncio.get_running_loop().create_server(
                serves, sock=claimed, ssl=tls, backlog=BACKLOG
            )
            try:
                yield bound
            finally:
                listener.close()
            return
        runner = _runner(serves, drain_s)
        await runner.setup()
        try:
            await web.SockSite(runner, claimed, ssl_context=tls, backlog=BACKLOG).start()
            yield bound
        finally:
            await runner.cleanup()
    finally:
        claimed.close()


def _runner(serves: web.Application | web.Server, drain_s: float) -> web.BaseRunner:
    if isinstance(serves, web.Server):
        return web.ServerRunner(serves, shutdown_timeout=drain_s)
    log = _ProtocolLog(logging.getLogger("aiohttp.server"), {})
    return web.AppRunner(serves, access_log=None, shutdown_timeout=drain_s, logger=log)


class _ProtocolLog(_Adapter):
    """aiohttp logs a traceback for bytes that are no HTTP. They are the client's fault and its answer says
    so."""

    def exception(self, msg: object, *args: object, exc_info: Any = True, **named: Any) -> None:
        if isinstance(exc_info, HttpProcessingError):
            self.debug("not HTTP: %s", exc_info.message)
        else:
            super().exception(msg, *args, exc_info=exc_info, **named)


async def claim(host: str, port: int, fixed: bool) -> socket.socket:
    """A listening socket. Raises PortInUse, CannotListen."""
    if not 0 <= port <= 65_535:
        raise CannotListen(f"{port} is no port: 0 to 65535 are")
    family, address = await _resolved(host, port)
    last = port if fixed or port == 0 else min(port + MOVES, 65_535)
    for candidate in range(port, last + 1):
        try:
            return _listening(family, (address[0], candidate, *address[2:]))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                reason = error.strerror or str(error)
                raise CannotListen(f"cannot listen on {host} port {candidate}: {reason}") from error
    if fixed:
        raise PortInUse(f"port {port} of {host} is set for this service, but another program has it")
    raise PortInUse(f"ports {port} to {last} of {host} are all taken by other programs")


async def _resolved(host: str, port: int) -> tuple[int, tuple[Any, ...]]:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except OSError as error:
        raise CannotListen(f"cannot listen on {host!r}: {error.strerror or error}") from error
    family, _, _, _, address = found[0]
    return family, address


def _listening(family: int, address: tuple[Any, ...]) -> socket.socket:
    claimed = socket.socket(family, socket.SOCK_STREAM)
    try:
        claimed.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            claimed.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        claimed.bind(address)
        claimed.listen(BACKLOG)
        claimed.setblocking(False)
    except BaseException:
        claimed.close()
        raise
    return claimed
