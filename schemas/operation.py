"""How a service lists an ask that outside clients may use: `OPERATIONS` in each schema module holds these.

The API service serves every listed operation generically: route, scope, validation, problem details and
OpenAPI come from here. Path fields in braces name fields of the ask; what is left travels as query parameters
(GET, DELETE) or as a JSON body. Some fields are never the client's to give; the edge fills them in wherever
an ask has them:

- `command_id`: from the header Idempotency-Key, else a new id
- `team`: the caller's
- `actor`: who asks: a token's id, or the id of the person who is signed in; empty when no token is needed
- `session`: the session's id when the caller is signed in, else empty
- `actor_scopes`: what the caller may do
- `allowed_buckets`: the keys that the caller is limited to; empty when it is not
- `visible_keys`: the event keys that the caller may see; None means all of the installation's
- `if_version`: the version in the header If-Match; None without one
- `client_address`: the IP address that the request came from
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

import msgspec

from bus.message import Ask

Scope = Literal[
    "public",
    "signed-in",
    "calls:read",
    "calls:write",
    "buckets:read",
    "buckets:write",
    "members:read",
    "members:write",
    "tokens:read",
    "tokens:write",
    "audit:read",
    "events:read",
    "events:write",
    "status:read",
    "data:delete",
    "installation",
]
"""What an operation needs. `public`: no token at all. `signed-in`: any token or session. `data:delete`: what
takes data away: deletion, erasure, retention. `installation`: everything that concerns more than one team;
no role has it. The others allow what they are named after, in the caller's team."""

Role = Literal["viewer", "editor", "owner"]

NEEDS_NO_GRANT: frozenset[Scope] = frozenset(("public", "signed-in"))
SCOPES: frozenset[Scope] = frozenset(get_args(Scope)) - NEEDS_NO_GRANT
"""What can be granted."""

_READS: frozenset[Scope] = frozenset(
    ("calls:read", "buckets:read", "members:read", "events:read", "status:read")
)
_WRITES: frozenset[Scope] = frozenset(("calls:write", "buckets:write", "events:write"))
ROLE_SCOPES: dict[Role, frozenset[Scope]] = {
    "viewer": _READS,
    "editor": _READS | _WRITES,
    "owner": SCOPES - {"installation"},
}

Sealed = Annotated[str, msgspec.Meta(extra={"sealed": True})]
"""A secret in an ask or a reply: plain for the client, and on the bus sealed under the installation's key
(`chassis.secrets`) with the context that `sealed_in` says. The edge seals what came and opens what goes."""


def sealed_in(message: type[Any]) -> dict[str, str]:
    """The fields of an ask or a reply that are Sealed, and the context that each is sealed with."""
    found: dict[str, str] = {}
    for field in msgspec.structs.fields(message):
        kinds = (field.type, *get_args(field.type))
        if any(_is_sealed(kind) for kind in kinds):
            found[field.name] = f"{message.TYPE}.{field.name}"
    return found


def _is_sealed(kind: Any) -> bool:
    return any(
        isinstance(meta, msgspec.Meta) and bool(meta.extra and meta.extra.get("sealed"))
        for meta in getattr(kind, "__metadata__", ())
    )


class Operation(msgspec.Struct, frozen=True):
    """ask: the question's type. method, path: under `/v1`. scope: what the caller's token must allow.
    summary: one line for OpenAPI. bucket: the field of the ask that names the bucket the caller must have
    access to, None when it concerns none. hidden: fields of the ask that are for callers on the bus only."""

    ask: type[Ask[Any]]
    method: Literal["GET", "PUT", "POST", "PATCH", "DELETE"]
    path: str
    scope: Scope
    summary: str
    bucket: str | None = None
    hidden: tuple[str, ...] = ()
