"""How a service lists an ask that outside clients may use: `OPERATIONS` in each schema module holds these.

The API service serves every listed operation generically: route, scope, validation, problem details and
OpenAPI come from here. Path fields in braces name fields of the ask; what is left travels as query parameters
(GET, DELETE) or as a JSON body. Four fields are never the client's to give; the edge fills them in wherever
an ask has them: `command_id` (the header Idempotency-Key, else a new id), `team` (the caller's), `actor` (the
caller's token) and `allowed_buckets` (those the caller's token is limited to; empty when it is not).
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from bus.message import Ask

Scope = Literal[
    "calls:read",
    "calls:write",
    "buckets:read",
    "buckets:write",
    "tokens:write",
    "events:read",
    "events:write",
    "status:read",
]


class Operation(msgspec.Struct, frozen=True):
    """ask: the question's type. method, path: under `/v1`. scope: what the caller's token must allow.
    summary: one line for OpenAPI. bucket: the field of the ask that names the bucket the caller must have
    access to, None when it concerns none."""

    ask: type[Ask[Any]]
    method: Literal["GET", "PUT", "POST", "PATCH", "DELETE"]
    path: str
    scope: Scope
    summary: str
    bucket: str | None = None
