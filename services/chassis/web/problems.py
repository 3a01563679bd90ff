"""Problem details (RFC 9457): how every edge says that something is wrong.

`type` is `urn:trunkline:error:<slug>`; slugs are explained in `docs/errors.md`, which is made from tables of
`ProblemKind` such as KINDS. A handler raises a `Problem`; the app renders it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from aiohttp import web

CONTENT_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:trunkline:error:"


class Problem(Exception):
    """An answer that says what is wrong. detail: about this very request, for people. extra: further members,
    such as `field`. headers: of the answer, such as Retry-After."""

    def __init__(
        self,
        status: int,
        slug: str,
        title: str,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        **extra: Any,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.slug = slug
        self.title = title
        self.detail = detail
        self.headers = dict(headers or {})
        self.extra = extra

    def document(self) -> dict[str, Any]:
        return {
            "type": TYPE_PREFIX + self.slug,
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            **self.extra,
        }

    def response(self) -> web.Response:
        body = msgspec.json.encode(self.document())
        return web.Response(status=self.status, body=body, content_type=CONTENT_TYPE, headers=self.headers)


class ProblemKind(msgspec.Struct, frozen=True):
    """A line of the table: one slug, one status, one title; `meaning` and `remedy` are for
    `docs/errors.md`."""

    slug: str
    status: int
    title: str
    meaning: str
    remedy: str

    def of(self, detail: str, *, headers: Mapping[str, str] | None = None, **extra: Any) -> Problem:
        return Problem(
            self.status, self.slug, self.title, detail, headers=headers, **extra, remedy=self.remedy
        )


def problem(status: int, slug: str, title: str, detail: str, **extra: Any) -> web.Response:
    """The answer itself, for edges that do not raise."""
    return Problem(status, slug, title, detail, **extra).response()


NOT_FOUND = ProblemKind(
    "not-found",
    404,
    "There is nothing here",
    "No resource has this path.",
    "Check the path; the API lists its own at /v1/docs.",
)
METHOD_NOT_ALLOWED = ProblemKind(
    "method-not-allowed",
    405,
    "This method does not apply here",
    "The resource exists but does not know the method.",
    "Use one of the methods in the Allow header.",
)
BODY_TOO_LARGE = ProblemKind(
    "body-too-large",
    413,
    "The body is too large",
    "A request's body is larger than the server takes.",
    "Send less, or in several requests; the limit is in `limit_bytes`.",
)
BODY_BROKEN = ProblemKind(
    "body-broken",
    400,
    "The body cannot be read",
    "A request's body is not what its Content-Type or Content-Encoding says, or ended early.",
    "Send the body whole, as the JSON that the operation describes.",
)
REQUEST_INVALID = ProblemKind(
    "request-invalid",
    400,
    "The request is not valid",
    "Something about the request as HTTP is wrong; the detail says what.",
    "Correct the request.",
)
INTERNAL_ERROR = ProblemKind(
    "internal-error",
    500,
    "Something went wrong here",
    "A fault in Trunkline itself. The log has the cause under the answer's request id.",
    "Try again; if it stays, report it with the request id.",
)

KINDS = (NOT_FOUND, METHOD_NOT_ALLOWED, BODY_TOO_LARGE, BODY_BROKEN, REQUEST_INVALID, INTERNAL_ERROR)
