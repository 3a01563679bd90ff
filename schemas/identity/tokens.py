"""API tokens. Stream `identity.token-<id>`. A secret is shown once, to who made it; the log holds only its
SHA-256, which is enough for 256 random bits."""

from __future__ import annotations

from datetime import datetime

from bus.message import Ask, Fact
from schemas.identity.buckets import DEFAULT_OVERLAP_S
from schemas.operation import Scope, Sealed


class TokenCreated(Fact, frozen=True):
    """Subject: the token's id. buckets: the keys it may be used for; empty means every bucket of the team."""

    TYPE = "identity.token.created"
    ORDERED = True

    id: str
    name: str
    team: str
    sha256: str
    scopes: tuple[str, ...]
    buckets: tuple[str, ...] = ()
    expires_at: datetime | None = None
    by: str = ""


class TokenRenamed(Fact, frozen=True):
    TYPE = "identity.token.renamed"
    ORDERED = True

    id: str
    name: str
    by: str = ""


class TokenRotated(Fact, frozen=True):
    """The secret with `sha256` works from now on, and the ones before until `overlap_ends_at`, or until they
    end by themselves."""

    TYPE = "identity.token.rotated"
    ORDERED = True

    id: str
    sha256: str
    overlap_ends_at: datetime
    by: str = ""


class TokenRevoked(Fact, frozen=True):
    TYPE = "identity.token.revoked"
    ORDERED = True

    id: str
    by: str = ""


class Token(Fact, frozen=True):
    """last_used_at: to within five minutes, None when it never was. overlap_ends_at: until when the secret
    before still works. secret: only in the answer to its creation and rotation."""

    TYPE = "identity.token.state"

    id: str
    name: str
    scopes: tuple[str, ...]
    buckets: tuple[str, ...]
    created_at: datetime
    expires_at: datetime | None = None
    secret: Sealed | None = None
    last_used_at: datetime | None = None
    overlap_ends_at: datetime | None = None
    created_by: str = ""


class TokenList(Fact, frozen=True):
    TYPE = "identity.token.list"

    tokens: tuple[Token, ...]
    next_cursor: str | None = None


class CreateToken(Ask[Token], frozen=True):
    """Make a token. Its secret is in this answer, and in none after it.

    name: for people. scopes: what it allows, at most what the caller itself may do. buckets: the keys it is
    limited to; none means every bucket of the team. expires_at: when it ends; left out: never. sha256: of a
    secret that the caller has chosen (256 random bits); empty: identity makes one. Refused: token-invalid,
    scope-forbidden.
    """

    TYPE = "identity.token.create"

    command_id: str
    name: str
    scopes: tuple[str, ...]
    sha256: str = ""
    team: str = "default"
    buckets: tuple[str, ...] = ()
    expires_at: datetime | None = None
    actor: str = ""
    actor_scopes: tuple[Scope, ...] | None = None
    allowed_buckets: tuple[str, ...] = ()


class ListTokens(Ask[TokenList], frozen=True):
    """The team's tokens that are not revoked, oldest first, without their secrets.

    limit: 1 to 500. cursor: the `next_cursor` of the page before. Refused: cursor-invalid, list-invalid.
    """

    TYPE = "identity.tokens.list"

    team: str = "default"
    limit: int = 100
    cursor: str = ""


class GetToken(Ask[Token], frozen=True):
    """One token, without its secret. Refused: token-unknown."""

    TYPE = "identity.token.get"

    id: str
    team: str = "default"


class RenameToken(Ask[Token], frozen=True):
    """Refused: token-unknown, token-invalid, scope-forbidden (it reaches further than the buckets that the
    caller is limited to)."""

    TYPE = "identity.token.rename"

    command_id: str
    id: str
    name: str
    team: str = "default"
    actor: str = ""
    allowed_buckets: tuple[str, ...] = ()


class RotateToken(Ask[Token], frozen=True):
    """Give a token a new secret; the present one works on for a while.

    overlap_s: for how long: 0 to 2592000 seconds, a day unless given. Refused: token-unknown,
    token-invalid, scope-forbidden (it allows more than the caller may do).
    """

    TYPE = "identity.token.rotate"

    command_id: str
    id: str
    overlap_s: int = DEFAULT_OVERLAP_S
    team: str = "default"
    actor: str = ""
    actor_scopes: tuple[Scope, ...] | None = None
    allowed_buckets: tuple[str, ...] = ()


class RevokeToken(Ask[Token], frozen=True):
    """End a token at once. team: whose it must be; empty: anybody's. Refused: token-unknown, scope-forbidden
    (it reaches further than the buckets that the caller is limited to)."""

    TYPE = "identity.token.revoke"

    command_id: str
    id: str
    team: str = ""
    actor: str = ""
    allowed_buckets: tuple[str, ...] = ()
