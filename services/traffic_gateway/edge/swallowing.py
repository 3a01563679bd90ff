"""A request's body, read to its end because the gateway itself answers. Called by `bin` and `playback`."""

from __future__ import annotations

from aiohttp import web

from services.chassis.outgoing import BodyFailed
from services.traffic_gateway.domain.capture import Capture
from services.traffic_gateway.edge.answering import Answer


async def swallow(request: web.BaseRequest, call: Capture, answer: Answer) -> None:
    """Captures it. Raises BodyFailed when it is malformed."""
    content = request.content
    if not content.is_eof() and request.headers.get("Expect", "").lower() == "100-continue":
        answer.inform(100, b"Continue", ())
    try:
        while piece := await content.readany():
            call.request_body.add(piece)
    except web.RequestPayloadError as error:
        raise BodyFailed(f"the request's body broke off: {error}") from error
