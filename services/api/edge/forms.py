"""The forms in which a call can be had: which one a request wants, and how each is made."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Literal, TypeVar

import msgspec
from aiohttp import web

from schemas.traffic_gateway import CallCaptured, CapturedRequest, CapturedResponse, Headers
from services.api.edge.bodies import Sides
from services.api.edge.problems import BODY_UNKNOWN, PARAMETER_INVALID, PARAMETER_UNKNOWN
from services.calls import har, snippet
from services.calls.body import header

AT_ONCE_BYTES = 4 * 1024

T = TypeVar("T")

Side = Literal["request", "response"]
Form = Literal["curl", "python", "har"]

_HEADER_VALUE = re.compile(r"[\x20-\x7e]{1,255}")
_FORMS: tuple[Form, ...] = ("curl", "python", "har")
_SIDES: tuple[Side, ...] = ("request", "response")


def wanted(request: web.Request) -> tuple[Side | None, Form | None]:
    """What `raw` or `as` of the query names. Raises Problem."""
    known = ["raw", "as"]
    for name in request.query:
        if name not in known:
            detail = f"query {name[:80]!r}: there is no parameter of this name; there are raw, as."
            raise PARAMETER_UNKNOWN.of(detail, field=name, known=known)
    given = request.query.getall("raw", []) + request.query.getall("as", [])
    if len(given) > 1:
        raise PARAMETER_INVALID.of("raw and as are given once, and not together.", field="raw")
    raw, form = request.query.get("raw"), request.query.get("as")
    if raw is not None and raw not in _SIDES:
        raise PARAMETER_INVALID.of("query 'raw': it is request or response.", field="raw")
    if form is not None and form not in _FORMS:
        raise PARAMETER_INVALID.of(f"query 'as': it is one of {', '.join(_FORMS)}.", field="as")
    return next((each for each in _SIDES if each == raw), None), next((f for f in _FORMS if f == form), None)


def message_of(call: CallCaptured, side: Side) -> CapturedRequest | CapturedResponse:
    """Raises Problem when there is none."""
    message = call.request if side == "request" else call.response
    if message is None:
        raise BODY_UNKNOWN.of("The call has no response.")
    return message


async def entry(call: CallCaptured, sides: Sides) -> bytes:
    """A HAR entry, encoded."""
    return await off_loop(lambda: msgspec.json.encode(har.entry(call, *sides)), sides)


async def formed(call: CallCaptured, sides: Sides, form: Form, version: str) -> web.Response:
    """version: Trunkline's."""
    if form == "har":
        document = har.opening(version) + await entry(call, sides) + har.CLOSING
        return web.Response(body=document, content_type="application/json")
    show = snippet.curl if form == "curl" else snippet.python
    return web.Response(text=await off_loop(lambda: show(call, sides[0]), sides))


async def off_loop(work: Callable[[], T], sides: Sides) -> T:
    """What `work` gives. Decoding large bodies takes long enough to hold up everybody else: a thread does
    it."""
    if sum(len(side) for side in sides if side is not None) <= AT_ONCE_BYTES:
        return work()
    return await asyncio.to_thread(work)


def raw_headers(captured: Headers, id: str, side: Side) -> dict[str, str]:
    """For captured bytes, so that no browser runs them."""
    content_type = (header(captured, "content-type") or "").strip()
    coding = (header(captured, "content-encoding") or "").strip()
    headers = {
        "Content-Type": content_type if _HEADER_VALUE.fullmatch(content_type) else "application/octet-stream",
        "Content-Disposition": f'attachment; filename="{re.sub(r"[^A-Za-z0-9-]", "_", id)}-{side}"',
        "Content-Security-Policy": "sandbox; default-src 'none'",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-store",
    }
    if _HEADER_VALUE.fullmatch(coding):
        # Not as Content-Encoding: clients would undo it, or fail on a body that is cut.
        headers["Trunkline-Content-Encoding"] = coding
    return headers
