"""The request bin: what a bucket answers where its address names no target. 200, and the request back as
JSON.

For webhooks and for trying things out. The body is read to its end; the echo shows as much of it as rides in
an event.
"""

from __future__ import annotations

from aiohttp import web

from services.traffic_gateway.domain.capture import Capture
from services.traffic_gateway.domain.echo import echo_of
from services.traffic_gateway.domain.framing import Framing
from services.traffic_gateway.domain.headers import BUCKET_AUTH, RawHeader, ResponseHeaders
from services.traffic_gateway.edge.answering import Answer
from services.traffic_gateway.edge.recording import Recorder
from services.traffic_gateway.edge.swallowing import swallow


async def echo(request: web.BaseRequest, call: Capture, answer: Answer, recorder: Recorder) -> None:
    """Raises BodyFailed when the request's body is malformed."""
    await swallow(request, call, answer)
    call.echoed = tuple(
        (name.decode("latin-1"), value.decode("latin-1"))
        for name, value in request.raw_headers
        if name.lower() not in BUCKET_AUTH
    )
    body = echo_of(call.id, request.method, call.url, call.echoed, call.request_body.body()[0])
    headers: tuple[RawHeader, ...] = (
        (b"Content-Type", b"application/json"),
        (b"Content-Length", b"%d" % len(body)),
    )
    call.answered(200, b"OK", "1.1", headers)
    call.response_body.add(body)
    bodiless = request.method == "HEAD"
    framing = Framing(ResponseHeaders(headers), bodiless=bodiless, http11=answer.http11, hold=False)
    head = answer.head(framing, 200, b"OK")
    await recorder.before_the_end(call)
    await answer.write(head if bodiless else head + body)
