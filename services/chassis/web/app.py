"""The aiohttp app that edges build on: request ids, an access log, problem details for everything that goes
wrong, /healthz, and a flag for streams that tells them to end.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
import structlog
from aiohttp import web
from aiohttp.typedefs import Handler

from bus.clock import Clock
from bus.ids import Ids
from services.chassis.web.problems import (
    BODY_BROKEN,
    BODY_TOO_LARGE,
    INTERNAL_ERROR,
    METHOD_NOT_ALLOWED,
    NOT_FOUND,
    REQUEST_INVALID,
    Problem,
)

CLOSING = web.AppKey("closing", asyncio.Event)
"""Set when the server begins to drain: an endless answer ends itself then."""

REQUEST_ID = web.RequestKey("request_id", str)

LOGGED_PATH = web.RequestKey("logged_path", str)
"""What the log says instead of the path, when the path is a secret."""

Translate = Callable[[Exception], Problem | None]
Health = Callable[[], Awaitable[Mapping[str, Any]]]

_HEADER = "X-Request-Id"
_ACCEPTED_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")
_BEGUN = web.RequestKey("begun", web.StreamResponse)


def make_app(
    name: str,
    *,
    clock: Clock,
    ids: Ids,
    max_body_bytes: int = 1024 * 1024,
    translate: Translate | None = None,
    health: Health | None = None,
) -> web.Application:
    """An app without routes of its own but /healthz.

    name: the service's, in logs and in /healthz. translate: a room's own errors as problems; None from it
    means that the error is unknown and answered 500, with the traceback in the log only. health: further
    members of /healthz; it raises a Problem when the service cannot serve.
    """
    app = web.Application(
        client_max_size=max_body_bytes, middlewares=[_frame(name, clock, ids, max_body_bytes, translate)]
    )
    app[CLOSING] = asyncio.Event()

    async def close(app: web.Application) -> None:
        app[CLOSING].set()

    async def healthz(request: web.Request) -> web.Response:
        more = {} if health is None else await health()
        document = {"status": "ok", "service": name, **more}
        return web.Response(body=msgspec.json.encode(document), content_type="application/json")

    app.on_shutdown.append(close)
    app.on_response_prepare.append(_mark)
    app.router.add_get("/healthz", healthz)
    return app


async def _mark(request: web.Request, response: web.StreamResponse) -> None:
    request[_BEGUN] = response
    if (request_id := request.get(REQUEST_ID)) is not None:
        response.headers[_HEADER] = request_id
    response.headers.setdefault("X-Content-Type-Options", "nosniff")


def _frame(name: str, clock: Clock, ids: Ids, max_body_bytes: int, translate: Translate | None) -> Any:
    log = structlog.get_logger(name)

    @web.middleware
    async def frame(request: web.Request, handler: Handler) -> web.StreamResponse:
        given = request.headers.get(_HEADER, "")
        request_id = given if _ACCEPTED_ID.fullmatch(given) else ids.new()
        request[REQUEST_ID] = request_id
        started_s = clock.monotonic()
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                response = await handler(request)
            except Exception as error:
                begun = request.get(_BEGUN)
                if begun is not None:
                    response = _broken_off(request, begun, error, log)
                else:
                    response = _answered(error, max_body_bytes, translate, request_id, log)
            write = log.debug if request.path == "/healthz" else log.info
            write(
                "request",
                method=request.method,
                path=request.get(LOGGED_PATH, request.path),
                status=response.status,
                duration_ms=round((clock.monotonic() - started_s) * 1000, 2),
                client=request.remote,
            )
        return response

    return frame


def _answered(
    error: Exception, max_body_bytes: int, translate: Translate | None, request_id: str, log: Any
) -> web.Response:
    problem = _problem(error, max_body_bytes, translate)
    if problem is None:
        log.error("request failed", exc_info=error)
        problem = INTERNAL_ERROR.of("The request could not be answered because of a fault here.")
    problem.extra.setdefault("request_id", request_id)
    return problem.response()


def _broken_off(
    request: web.Request, begun: web.StreamResponse, error: Exception, log: Any
) -> web.StreamResponse:
    """The answer has begun: cutting the connection is the only way left to say that it is not whole."""
    if not isinstance(error, ConnectionError):  # which means that the client has gone
        log.warning("answer broke off", path=request.path, exc_info=error)
    if request.transport is not None:
        request.transport.abort()
    return begun


def _problem(error: Exception, max_body_bytes: int, translate: Translate | None) -> Problem | None:
    """None: nobody knows this error."""
    match error:
        case Problem():
            return error
        case web.HTTPRequestEntityTooLarge():
            detail = f"The body is larger than {max_body_bytes} bytes."
            return BODY_TOO_LARGE.of(detail, limit_bytes=max_body_bytes)
        case web.HTTPMethodNotAllowed():
            allowed = ", ".join(sorted(error.allowed_methods))
            detail = f"{error.method} does not apply here; {allowed} do."
            return METHOD_NOT_ALLOWED.of(detail, headers={"Allow": allowed})
        case web.HTTPNotFound():
            return NOT_FOUND.of("No resource has this path.")
        case web.RequestPayloadError():
            return BODY_BROKEN.of("The body ended early, or is not in the coding that it claims.")
        case web.HTTPException() if error.status >= 400:
            kind = REQUEST_INVALID
            return Problem(
                error.status, kind.slug, error.reason, error.text or error.reason, remedy=kind.remedy
            )
        case _:
            return translate(error) if translate is not None else None
