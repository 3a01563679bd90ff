"""Which web pages may call the API (https://fetch.spec.whatwg.org/#http-cors-protocol): those of the origins
that the setting `cors_origins` names, none by default.

No credentials are allowed, not for named origins either: the API knows no cookies, and a script sets
`Authorization` by itself.
"""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

ANY = "*"
MAX_AGE_S = 600
METHODS = "GET, HEAD, PUT, POST, PATCH, DELETE"
ACCEPTED = (
    "Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, Last-Event-ID, X-Request-Id"
)
EXPOSED = (
    "ETag, Retry-After, RateLimit, RateLimit-Policy, WWW-Authenticate, X-Request-Id, Content-Disposition, "
    "Trunkline-Content-Encoding"
)
_ALLOWED = "Access-Control-Allow-Origin"


class Cors:
    def __init__(self, origins: Sequence[str]) -> None:
        self._any = ANY in origins
        self._origins = frozenset(origins)

    def install(self, app: web.Application) -> None:
        if self._origins:
            app.middlewares.append(self._preflight())
            app.on_response_prepare.append(self.mark)

    async def mark(self, request: web.Request, response: web.StreamResponse) -> None:
        """What every answer tells a browser, problems included: a page could not read them otherwise."""
        headers = response.headers
        if not self._any:
            headers.add("Vary", "Origin")
        origin = request.headers.get("Origin")
        if origin is None or not (self._any or origin in self._origins):
            return
        headers[_ALLOWED] = ANY if self._any else origin
        headers["Access-Control-Expose-Headers"] = EXPOSED

    def _preflight(self) -> Middleware:
        @web.middleware
        async def preflight(request: web.Request, handler: Handler) -> web.StreamResponse:
            asked = "Origin" in request.headers and "Access-Control-Request-Method" in request.headers
            if request.method != "OPTIONS" or not asked:
                return await handler(request)
            answer = web.Response(status=204, headers={"Cache-Control": "no-store"})
            if self._any or request.headers["Origin"] in self._origins:
                answer.headers["Access-Control-Allow-Methods"] = METHODS
                answer.headers["Access-Control-Allow-Headers"] = ACCEPTED
                answer.headers["Access-Control-Max-Age"] = str(MAX_AGE_S)
            return answer

        return preflight
