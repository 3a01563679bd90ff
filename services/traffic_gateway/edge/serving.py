"""The HTTP server in front of `relaying`: aiohttp's low-level one, its limits, and what it says to bytes that
are no HTTP. Called by `service`.

aiohttp parses requests strictly (llhttp), keeps connections, and takes pipelined requests one after another.
A client that goes away cancels its handler, and with it the call to the target.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import structlog
from aiohttp import web
from aiohttp.http import RawRequestMessage

from services.traffic_gateway.config import Config
from services.traffic_gateway.edge.problems import INTERNAL_ERROR, REQUEST_INVALID
from services.traffic_gateway.edge.relaying import Gateway

READ_BUFFER_BYTES = (
    64 * 1024
)  # twice as much of a request may wait for the target; then the client is held back

_log = structlog.get_logger("traffic_gateway")


class Connection(web.RequestHandler):
    """A client's connection."""

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        # aiohttp queues the error of a malformed body behind the request it belongs to, whose handler would
        # wait for the rest of that body for ever.
        if self._messages and not isinstance(self._messages[-1][0], RawRequestMessage):
            request = self._current_request
            if request is not None and not request.content.is_eof():
                request.content.set_exception(web.RequestPayloadError("it is malformed"))

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """What a malformed request, or a fault in the gateway, is answered. Closes the connection."""
        if status < 500:
            detail = " ".join((message or "it cannot be parsed").split())[:300]
            response = REQUEST_INVALID.of(f"this is no valid HTTP/1.1 request: {detail}").response()
        else:
            _log.error(
                "a call failed in the gateway", exc_info=exc, path=request.raw_path.partition("?")[0][:200]
            )
            if request.writer.output_size > 0:
                raise ConnectionError("the answer has begun; there is no room for another")
            response = INTERNAL_ERROR.of("the gateway failed; its log tells more").response()
        response.force_close()
        return response


class GatewayServer(web.Server):
    """Makes `Connection`s."""

    def __init__(self, gateway: Gateway, config: Config) -> None:
        super().__init__(gateway, handler_cancellation=True)
        self._settings: dict[str, Any] = {
            "keepalive_timeout": config.keep_alive_s,
            "max_line_size": config.max_line_bytes,
            "max_field_size": config.max_field_bytes,
            "max_headers": config.max_headers,
            "read_bufsize": READ_BUFFER_BYTES,
            "auto_decompress": False,
            "access_log": None,
            "logger": logging.getLogger("aiohttp.server"),
        }

    def __call__(self) -> web.RequestHandler:
        return Connection(self, loop=asyncio.get_running_loop(), **self._settings)
