"""A WebSocket whose opening handshake the target accepted (101): its bytes go both ways unaltered, and are
watched (`domain.messages`). Called by `relaying`; an upgrade that the target declines is an answer like any.

The call is captured when the WebSocket has ended, whoever ended it. Its error is that of the connection that
broke before a Close frame went by, or `upstream-timeout` when both sides were silent for too long.
"""

from __future__ import annotations

import asyncio

from aiohttp import web

from bus.clock import Clock
from services.chassis.outgoing import Response, UpstreamDisconnected
from services.traffic_gateway.domain.capture import Capture
from services.traffic_gateway.domain.headers import RawHeader
from services.traffic_gateway.domain.messages import taps
from services.traffic_gateway.edge.answering import Answer
from services.traffic_gateway.edge.pumping import ClientSide, pump
from services.traffic_gateway.edge.recording import Recorder

SWITCHING = 101
_DROPPED = frozenset((b"keep-alive", b"te", b"trailer", b"content-length", b"transfer-encoding"))


class WebSockets:
    """idle_timeout_s: how long both sides may be silent."""

    def __init__(self, recorder: Recorder, clock: Clock, idle_timeout_s: float) -> None:
        self._recorder = recorder
        self._clock = clock
        self._idle_timeout_s = idle_timeout_s

    async def relay(
        self, request: web.BaseRequest, response: Response, reason: bytes, call: Capture, answer: Answer
    ) -> None:
        """response: the 101. Returns when it has ended. Raises OutgoingError or ConnectionError when it
        broke."""
        target = response.pipe()
        extensions = [
            value.decode("latin-1")
            for name, value in response.headers
            if name.lower() == b"sec-websocket-extensions"
        ]
        sent, received = taps(
            call.response_body, lambda: call.elapsed_ms(self._clock.monotonic()), extensions
        )
        call.drop()  # a body of the handshake's: it is no message
        call.request_body, call.response_body = sent, received
        await answer.write(answer.switching(SWITCHING, reason, _passing(response)))
        client = ClientSide(request, answer)
        try:
            await pump(
                client,
                target,
                sent=sent.add,
                received=received.add,
                idle_timeout_s=self._idle_timeout_s,
            )
        except (UpstreamDisconnected, ConnectionError):
            if not (sent.closing or received.closing):
                raise
        except asyncio.CancelledError:
            if answer.client_gone and (sent.closing or received.closing):
                self._recorder.now(call)
            raise
        await self._recorder.before_the_end(call)


def _passing(response: Response) -> list[RawHeader]:
    """What passes of the 101's headers: `Connection` and `Upgrade` too, for the client has to see them."""
    return [
        (name, value)
        for name, value in response.headers
        if name.lower() not in _DROPPED and not name.lower().startswith(b"proxy-")
    ]
