"""What a route may answer, for the OpenAPI document: each status with its meaning, and the headers. Pure."""

from __future__ import annotations

from typing import Any

from services.api.domain.refusals import status_by_word

PROBLEM_REF = "#/components/schemas/Problem"
PROBLEM: dict[str, Any] = {
    "type": "object",
    "description": "Problem details (RFC 9457). Further members depend on the type.",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "format": "uri", "description": "urn:trunkline:error:<slug>"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "remedy": {"type": "string", "description": "What to do about it."},
        "request_id": {"type": "string"},
        "field": {"type": "string", "description": "What is at fault in the request."},
        "position": {"type": "integer", "description": "The character of `field` at fault, from 1."},
        "in": {"type": "string", "enum": ["path", "query", "body"]},
        "service": {"type": "string", "description": "Which service does not answer."},
    },
}
HEADERS: dict[str, Any] = {
    "ETag": "What this is now; for If-None-Match and If-Match (RFC 9110, 8.8.3).",
    "RateLimit": "How many requests are left, and when all are back "
    "(draft-ietf-httpapi-ratelimit-headers-10).",
    "RateLimit-Policy": "How many requests are taken in how many seconds.",
    "Retry-After": "After how many seconds to try again.",
    "WWW-Authenticate": "How to show who you are (RFC 6750).",
}
_MEANINGS = {
    304: "It is what If-None-Match says the client has.",
    400: "Something in the request is not valid; `field` names it.",
    401: "The token, or what is given to sign in, is missing or not accepted.",
    403: "The token does not allow this.",
    404: "It does not exist, or not for this token.",
    409: "It does not go with how things are, or the first request with this Idempotency-Key still runs.",
    410: "It was there, and is no longer.",
    412: "What If-Match or If-None-Match says is not so. Nothing was done.",
    413: "The body is too large.",
    415: "The body is not JSON.",
    422: "It was understood and is not carried out: `type` says why.",
    429: "Too many requests; Retry-After says when the next is taken.",
    500: "A fault in a service; the log has it under `request_id`.",
    503: "A service that is needed does not answer; `service` names it, Retry-After says when to try again.",
}
_COMMON = frozenset((400, 404, 429, 500, 503))
_SIGNED = frozenset((401, 403))
_READS = frozenset((412,))
_CHANGES = frozenset((409, 412, 422))
_BODIES = frozenset((413, 415))


def responses(
    content: dict[str, Any],
    *,
    public: bool,
    method: str,
    tagged: bool,
    body: bool,
    path: bool,
    refused: tuple[str, ...],
) -> dict[str, Any]:
    """content: of a 200. tagged: it has an ETag. body: the request has one. path: it has parameters."""
    statuses = _COMMON | {status_by_word(slug) for slug in refused}
    if not public:
        statuses |= _SIGNED
    if method != "GET":
        statuses |= _CHANGES
    if tagged and method == "GET":
        statuses |= _READS | {304}
    if body:
        statuses |= _BODIES
    if path:
        statuses |= {410}
    told = ("RateLimit", "RateLimit-Policy")
    done = {
        "description": "Done.",
        "headers": _headers(*told, *(["ETag"] if tagged else [])),
        "content": content,
    }
    answer: dict[str, Any] = {"200": done}
    for status in sorted(statuses):
        answer[str(status)] = _other(status)
    return answer


def _other(status: int) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": _MEANINGS[status]}
    if status == 304:
        return answer | {"headers": _headers("ETag")}
    if status in (429, 503):
        answer["headers"] = _headers("Retry-After")
    if status == 401:
        answer["headers"] = _headers("WWW-Authenticate")
    return answer | {"content": {"application/problem+json": {"schema": {"$ref": PROBLEM_REF}}}}


def headers() -> dict[str, Any]:
    """For the document's components."""
    return {name: {"description": said, "schema": {"type": "string"}} for name, said in HEADERS.items()}


def _headers(*names: str) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def conditions(method: str, *, tagged: bool, versioned: bool) -> list[dict[str, Any]]:
    """The headers that a route takes as parameters. versioned: its ask takes a version."""
    text = {"type": "string"}
    taken: list[tuple[str, str]] = []
    if method != "GET":
        taken.append(
            ("Idempotency-Key", "1 to 255 characters; a repeat with the same one does nothing twice.")
        )
    if versioned:
        taken.append(("If-Match", 'Only if it still has this tag, such as `"v3"`.'))
        taken.append(("If-None-Match", "`*`: only if it does not exist yet."))
    elif tagged and method == "GET":
        taken.append(("If-None-Match", "Only if it is something else than this tag; else 304."))
    return [
        {"name": name, "in": "header", "required": False, "schema": text, "description": said}
        for name, said in taken
    ]
