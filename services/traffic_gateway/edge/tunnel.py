"""CONNECT (RFC 9110 9.3.6): a tunnel to a target, for what the gateway cannot look into, such as https
through a forward proxy. Called by `relaying`.

The target goes through the same guard as any other. What is captured is that it happened: to where, how long,
and how many bytes each way, when it has ended; nothing of what was said. However a tunnel ends after it stood
is no error of the call's, unless it was cut for its silence.
"""

from __future__ import annotations

import asyncio

from aiohttp import web

from bus.clock import Clock
from services.calls.address import Authority
from services.chassis.outgoing import Outgoing, UpstreamDisconnected
from services.traffic_gateway.domain.capture import Capture, Headed
from services.traffic_gateway.edge.answering import Answer
from services.traffic_gateway.edge.pumping import ClientSide, pump
from services.traffic_gateway.edge.recording import Recorder

REASON = b"Connection established"


class Tunnels:
    """idle_timeout_s: how long both sides may be silent."""

    def __init__(self, outgoing: Outgoing, recorder: Recorder, clock: Clock, idle_timeout_s: float) -> None:
        self._outgoing = outgoing
        self._recorder = recorder
        self._clock = clock
        self._idle_timeout_s = idle_timeout_s

    async def relay(
        self, request: web.BaseRequest, authority: Authority, call: Capture, answer: Answer
    ) -> None:
        """Returns when the tunnel has ended. Raises OutgoingError when it could not be made, or was cut."""
        async with self._outgoing.pipe(authority.host, authority.port) as target:
            phases = target.connecting
            now = self._clock.monotonic()
            call.headed = Headed(now, phases.dns_s, phases.connect_s, None, None, None)
            call.server_address = target.address
            call.answered(200, REASON, "1.1", ())
            await answer.write(answer.switching(200, REASON, ()))
            client = ClientSide(request, answer)
            try:
                await pump(
                    client,
                    target,
                    sent=call.request_body.add,
                    received=call.response_body.add,
                    idle_timeout_s=self._idle_timeout_s,
                )
            except (UpstreamDisconnected, ConnectionError):
                self._recorder.now(call)
                answer.break_off()  # as it was broken off here
                raise ConnectionResetError("the tunnel broke") from None
            except asyncio.CancelledError:
                if answer.client_gone:
                    self._recorder.now(call)
                raise
            await self._recorder.before_the_end(call)
