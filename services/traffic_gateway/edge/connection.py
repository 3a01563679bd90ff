"""A client's connection: aiohttp's, with bounds on what a client may do to it. Made by `serving`.

aiohttp bounds a line, a header, their number and the pipelined requests that wait. Bounded here: how long a
head may take and how much it may be, how long a body may be silent, how much chunked coding may add to it,
how long a client may not read, and how many connections there are. Whatever is refused is answered once,
then the connection is closed in an order that lets the client read why.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import structlog
from aiohttp import StreamReader, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import HttpVersion11
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong
from aiohttp.streams import EMPTY_PAYLOAD
from aiohttp.web_protocol import _ErrInfo

from bus.clock import Clock
from services.chassis.outgoing import Inflow
from services.chassis.web import Problem
from services.traffic_gateway.config import Config
from services.traffic_gateway.edge import problems
from services.traffic_gateway.edge.admitting import Admission, Rejected, client_of

if TYPE_CHECKING:
    from services.traffic_gateway.edge.serving import GatewayServer

READ_BUFFER_BYTES = 64 * 1024  # twice as much of a request may wait for the target; then the client waits
LINGER_BODY_S = 5.0  # how long the rest of a body may come that was answered already
LINGER_S = 1.0  # how long a client that was refused may take to read why
CODING_BYTES = 512 * 1024  # what chunk sizes and extensions of a body may come to,
CODING_SHARE = 8  # besides so many bytes for each of the body's

_log = structlog.get_logger("traffic_gateway")


class BodySilent(web.RequestPayloadError, TimeoutError):
    """The client stopped sending its body."""


class LastWord(web.Response):
    """An answer that ends its connection. A close with unread input becomes a reset, which takes the answer
    away from under the client (RFC 9112 9.6): so the gateway stops writing first, then reads on a little."""

    def __init__(self, problem: Problem) -> None:
        answer = problem.response()
        super().__init__(status=answer.status, body=answer.body, headers=answer.headers)
        self.force_close()
        self._transport: asyncio.Transport | None = None

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        self._transport = request.transport
        request._cache["version"] = HttpVersion11  # the gateway's own (RFC 9110 2.5), not the one refused
        return await super().prepare(request)

    async def write_eof(self, data: bytes = b"") -> None:
        await super().write_eof(data)
        transport = self._transport
        if transport is None or transport.is_closing() or not transport.can_write_eof():
            return
        transport.write_eof()
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER_S):  # the client's own close cancels this task
                await asyncio.get_running_loop().create_future()


class Refused(HttpProcessingError):
    """A problem on its way to `handle_error`."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(code=problem.status, message=problem.detail)
        self.problem = problem


class Connection(web.RequestHandler):
    """See the module. `watched` is called now and then."""

    def __init__(self, server: GatewayServer, config: Config, admission: Admission, clock: Clock) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=config.keep_alive_s,
            max_line_size=config.max_line_bytes,
            max_field_size=config.max_field_bytes,
            max_headers=config.max_headers,
            read_bufsize=READ_BUFFER_BYTES,
            lingering_time=min(LINGER_BODY_S, config.idle_timeout_s),
            auto_decompress=False,
            access_log=None,  # type: ignore[arg-type]  # None: no access log
            logger=logging.getLogger("aiohttp.server"),
        )
        self._config = config
        self._admission = admission
        self._clock = clock
        self._client: str | None = None
        self._refused = False
        self._head_bytes = 0
        self._head_since = 0.0
        self._body: StreamReader | None = None  # the one that is arriving
        self._coding_bytes = 0
        self._progress: tuple[int, ...] = ()
        self._progress_at = 0.0

    # --- coming and going

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        client = client_of(transport.get_extra_info("peername"))
        try:
            refusal = self._admission.enter(client)
        except Rejected:
            self._refused = True
            super().connection_made(transport)
            if self.transport is not None:
                self.transport.abort()
            return
        self._client = client
        super().connection_made(transport)
        if refusal is not None:
            self._refuse(refusal)

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._client is not None:
            self._admission.leave(self._client)
            self._client = None
        super().connection_lost(exc)

    # --- what comes

    def eof_received(self) -> bool:  # type: ignore[override]  # asyncio takes a bool: stay open for writing
        """A client whose connection carries another protocol may end its side and go on listening."""
        parser = self._payload_parser
        if not isinstance(parser, Inflow) or self.transport is None:
            return False
        parser.feed_eof()
        return self.transport.can_write_eof()

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        if self._upgraded or self._payload_parser is not None:
            super().data_received(data)
            return
        body, requests = self._body, self._request_count
        before = 0 if body is None else body.total_bytes
        super().data_received(data)
        if self._request_count != requests:
            self._head_bytes = 0
            self._follow()
        elif body is not None:
            self._coding_bytes += len(data) - (body.total_bytes - before)
            if body.is_eof():
                self._body = None
            elif self._coding_bytes > CODING_BYTES + CODING_SHARE * body.total_bytes:
                self._refuse(problems.REQUEST_INVALID.of("the chunked coding is larger than the body"))
                self._broken()
        elif data:
            self._head(len(data))

    def _follow(self) -> None:
        """The last request that came is the one whose body arrives now."""
        message, payload = self._messages[-1]
        if isinstance(message, _ErrInfo):
            self._broken()
            return
        self._coding_bytes = 0
        self._body = None if payload.is_eof() else payload

    def _head(self, size: int) -> None:
        """So much more of a head came, and it is not whole yet."""
        if not self._head_bytes:
            self._head_since = self._clock.monotonic()
        self._head_bytes += size
        limit = self._config.max_line_bytes + self._config.max_head_bytes
        if self._head_bytes > limit:
            self._refuse(problems.HEAD_TOO_LARGE.of(f"the head has no end within {limit} bytes"))

    def _broken(self) -> None:
        """aiohttp queues the error of a malformed body behind the request it belongs to, whose handler would
        wait for the rest of that body for ever."""
        self._refused = True
        body, self._body = self._body, None
        if body is not None and not body.is_eof():
            body.set_exception(web.RequestPayloadError("it is malformed"))

    def _refuse(self, problem: Problem) -> None:
        """Answer this, after the requests that came before, and read no more."""
        self._refused = True
        self._messages.append((_ErrInfo(problem.status, Refused(problem), problem.detail), EMPTY_PAYLOAD))
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    # --- what does not come

    def watched(self, now: float) -> None:
        """End what takes too long. now: the clock's."""
        config, transport = self._config, self.transport
        if transport is None or self._payload_parser is not None:
            return
        if self._head_bytes and now - self._head_since > config.head_timeout_s and not self._refused:
            self._refuse(
                problems.CLIENT_TOO_SLOW.of(f"the head is not whole after {config.head_timeout_s:g} s")
            )
        request = self._current_request
        if request is None:
            return
        unread = transport.get_write_buffer_size() if self._paused else 0
        body = self._body if self._body is request.content and not self._reading_paused else None
        if body is None and not unread:
            self._progress = ()
            return
        progress = (unread, 0 if body is None else body.total_bytes, request.writer.output_size)
        if progress != self._progress:
            self._progress, self._progress_at = progress, now
        elif now - self._progress_at <= config.idle_timeout_s:
            return
        elif unread:
            transport.abort()
        elif body is not None and not request.writer.output_size:
            self._refused = True
            body.set_exception(BodySilent(f"nothing came of it for {config.idle_timeout_s:g} s"))

    # --- what is said about it

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        declined = self._upgraded and self._payload_parser is None
        result = await super().finish_response(request, resp, start_time)
        if declined and self._messages and not self._refused:  # what had come behind an upgrade
            self._follow()
        return result

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """What a malformed request, or a fault in the gateway, is answered. Closes the connection."""
        if isinstance(exc, Refused):
            return LastWord(exc.problem)
        if status < 500:
            self._refused = True
            return LastWord(_of_parser(exc, message))
        # Nothing of the path: user information stands in it, and tokens do.
        _log.error("a call failed in the gateway", exc_info=exc, method=request.method)
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun; there is no room for another")
        response = problems.INTERNAL_ERROR.of("the gateway failed; its log tells more").response()
        response.force_close()
        return response

    def log_exception(self, *args: Any, **named: Any) -> None:
        """A body that cannot be read to its end is the client's fault, and told to the client."""
        if not isinstance(named.get("exc_info"), web.RequestPayloadError):
            super().log_exception(*args, **named)


def _of_parser(error: BaseException | None, message: str | None) -> Problem:
    """What llhttp found wrong with a request."""
    if isinstance(error, LineTooLong):
        line, limit = error.args[:2]
        if isinstance(line, bytearray):  # the parser collects the request line in one, headers in bytes
            return problems.ADDRESS_TOO_LONG.of(f"it is longer than {limit} bytes")
        return problems.HEAD_TOO_LARGE.of(f"a header is longer than {limit} bytes")
    if message == "Too many headers received":
        return problems.HEAD_TOO_LARGE.of("it holds more headers than the gateway takes")
    detail = " ".join((message or "it cannot be parsed").split())[:300]
    return problems.REQUEST_INVALID.of(f"this is no valid HTTP/1.1 request: {detail}")
