"""Replies as JSON with their entity tags, and the conditions of requests held against them (RFC 9110, 13)."""

from __future__ import annotations

from typing import Any

import msgspec
from aiohttp import web

from schemas.operation import Operation
from services.api.domain.conditions import Tags, read_tags, tag_of
from services.api.edge.problems import PARAMETER_INVALID, PRECONDITION_FAILED

NEVER_KEPT = {"Cache-Control": "no-store"}
# A private cache may keep it, and asks each time whether it still holds.
ASKED_AGAIN = {"Cache-Control": "private, no-cache", "Vary": "Authorization"}


class Conditions(msgspec.Struct, frozen=True):
    if_match: Tags | None = None
    if_none_match: Tags | None = None

    def versions(self, operation: Operation) -> tuple[int | None, ...]:
        """What `if_version` is to be, one after the other until one fits; for an operation that changes
        something. Raises Problem when no version could fit."""
        takes_version = "if_version" in operation.ask.__struct_fields__
        wanted: tuple[int | None, ...] = (None,)
        if self.if_match is not None and not self.if_match.anything:
            # What has no version has no tag either, so that none that is listed can match (RFC 9110, 13.1.1).
            wanted = self.if_match.versions() if takes_version else ()
            if not wanted:
                raise PRECONDITION_FAILED.of("If-Match lists no tag that this could have.", field="If-Match")
        if self.if_none_match is not None:
            if not (takes_version and self.if_none_match.anything and self.if_match is None):
                detail = "If-None-Match: a change takes `*` only, and only where there are versions."
                raise PRECONDITION_FAILED.of(detail, field="If-None-Match")
            wanted = (0,)
        return wanted


def conditions_of(request: web.Request) -> Conditions:
    """Raises Problem for what breaks the grammar."""
    found: dict[str, Tags | None] = {}
    for name in ("If-Match", "If-None-Match"):
        try:
            found[name] = read_tags(request.headers.getall(name, []))
        except ValueError as error:
            raise PARAMETER_INVALID.of(f"{name}: {error}.", field=name) from None
    return Conditions(found["If-Match"], found["If-None-Match"])


def read_answer(request: web.Request, reply: Any) -> web.Response:
    """The answer to a GET or HEAD: the reply, or that the client has it already (304). Raises Problem."""
    body = as_bytes(reply)
    return tagged(request, tag_of(reply, body), body)


def tagged(
    request: web.Request, tag: str, body: bytes, content_type: str = "application/json"
) -> web.Response:
    conditions = conditions_of(request)
    if conditions.if_match is not None and not conditions.if_match.holds_strongly(tag):
        raise PRECONDITION_FAILED.of(f"If-Match does not list {tag}.", field="If-Match")
    headers = {**ASKED_AGAIN, "ETag": tag}
    if conditions.if_none_match is not None and conditions.if_none_match.holds_weakly(tag):
        return web.Response(status=304, headers=headers)
    return web.Response(body=body, content_type=content_type, headers=headers)


def changed_answer(request: web.Request, reply: Any) -> web.Response:
    """The answer to a change. Only after a PATCH it is tagged: after a PUT, a tag would say that what was
    sent is kept as it was sent (RFC 9110, 9.3.4); the reply's `version` says the same."""
    headers = dict(NEVER_KEPT)
    if request.method == "PATCH" and isinstance(getattr(reply, "version", None), int):
        headers["ETag"] = tag_of(reply, b"")
    return web.Response(body=as_bytes(reply), content_type="application/json", headers=headers)


def as_bytes(reply: Any) -> bytes:
    """Times are RFC 3339 in UTC, bytes are base64."""
    return msgspec.json.encode(reply)
