"""API tokens: created, renamed, rotated, revoked."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection
from datetime import datetime, timedelta

from bus.message import Fact
from schemas.identity import (
    MAX_OVERLAP_S,
    CreateToken,
    RenameToken,
    RevokeToken,
    RotateToken,
    Token,
    TokenCreated,
    TokenRenamed,
    TokenRevoked,
    TokenRotated,
)
from schemas.identity.state import State, TokenState
from schemas.operation import SCOPES
from services.identity.domain.refusing import No, check_allowed, check_name, check_team

MAX_TOKEN_BUCKETS = 100
MAX_FORMER = 50

_SHA256 = re.compile(r"[0-9a-f]{64}")


def decide_create_token(
    state: State | None,
    command: CreateToken,
    id: str,
    *,
    buckets: Collection[str],
    now: datetime,
    twin: TokenState | None = None,
) -> tuple[Fact, ...]:
    """command: with the `sha256` of the secret. buckets: the keys of the team's buckets. twin: another token
    that has, or had, this secret: whoever ends one means to end the secret."""
    if state is not None and state.token is not None:
        return _made_before(state.token, command)
    if twin is not None and twin.revoked:
        raise No("token-invalid", "sha256: the token with this secret was revoked; choose another secret")
    if twin is not None:
        raise No("token-conflict", "sha256: another token has this secret; choose another secret")
    check_name("token-invalid", command.name)
    check_team("token-invalid", command.team)
    if not _SHA256.fullmatch(command.sha256):
        raise No("token-invalid", "sha256 must be the secret's SHA-256 as 64 lower-case hex digits")
    there_are = ", ".join(sorted(SCOPES))
    if not command.scopes:
        raise No("token-invalid", f"scopes: a token needs at least one of: {there_are}")
    unknown = sorted(set(command.scopes) - SCOPES)
    if unknown:
        raise No("token-invalid", f"scopes: there is no {unknown[0][:40]!r}; there are: {there_are}")
    _check_once("scopes", command.scopes)
    check_allowed(command.scopes, command.actor_scopes, "to make such a token")
    if len(command.buckets) > MAX_TOKEN_BUCKETS:
        raise No("token-invalid", f"buckets: at most {MAX_TOKEN_BUCKETS}; none means all of the team's")
    _check_once("buckets", command.buckets)
    missing = sorted(set(command.buckets) - set(buckets))
    if missing:
        raise No("token-invalid", f"buckets: team {command.team!r} has no bucket {missing[0][:40]!r}")
    check_buckets(command.buckets, command.allowed_buckets)
    if command.expires_at is not None and command.expires_at.tzinfo is None:
        raise No("token-invalid", "expires_at must name its time zone, as in 2030-01-01T00:00:00Z")
    if command.expires_at is not None and command.expires_at <= now:
        raise No("token-invalid", f"expires_at {command.expires_at.isoformat()} is in the past")
    return (
        TokenCreated(
            id,
            command.name,
            command.team,
            command.sha256,
            command.scopes,
            command.buckets,
            command.expires_at,
            command.actor,
        ),
    )


def _check_once(field: str, values: Collection[str]) -> None:
    for value, times in Counter(values).items():
        if times > 1:
            raise No("token-invalid", f"{field}: {value!r} is named twice")


def _made_before(token: TokenState, command: CreateToken) -> tuple[Fact, ...]:
    wanted = (command.name, command.team, command.scopes, command.buckets, command.expires_at)
    if (token.name, token.team, token.scopes, token.buckets, token.expires_at) != wanted:
        detail = "this command id made another token before; use a new command id"
        raise No("token-invalid", detail, final=True)
    if token.revoked:
        detail = f"token {token.id} was made by this command before and is revoked by now"
        raise No("token-invalid", detail, final=True)
    if token.sha256 != command.sha256:
        detail = f"token {token.id} was made by this command before and has another secret by now"
        raise No("token-invalid", detail, final=True)
    return ()


def check_buckets(wanted: Collection[str], allowed: Collection[str]) -> None:
    """A token that is limited to buckets handles none that reaches further."""
    if allowed and (not wanted or not set(wanted) <= set(allowed)):
        raise No(
            "scope-forbidden", "the caller is limited to certain buckets, and this token reaches further"
        )


def decide_rename_token(state: State | None, command: RenameToken) -> tuple[Fact, ...]:
    token = living(state, command.id, command.team)
    check_buckets(token.buckets, command.allowed_buckets)
    check_name("token-invalid", command.name)
    return () if token.name == command.name else (TokenRenamed(command.id, command.name, command.actor),)


def decide_rotate_token(
    state: State | None, command: RotateToken, *, sha256: str, now: datetime
) -> tuple[Fact, ...]:
    token = living(state, command.id, command.team)
    if not 0 <= command.overlap_s <= MAX_OVERLAP_S:
        raise No("token-invalid", f"overlap_s {command.overlap_s} is not from 0 to {MAX_OVERLAP_S}")
    check_allowed(token.scopes, command.actor_scopes, "to get this token's new secret")
    check_buckets(token.buckets, command.allowed_buckets)
    if token.sha256 == sha256:
        return ()
    if len(token.digests(now)) > MAX_FORMER and command.overlap_s:
        raise No("token-invalid", f"overlap_s: {MAX_FORMER} former secrets still work; 0 ends them")
    ends_at = now + timedelta(seconds=command.overlap_s)
    return (TokenRotated(command.id, sha256, ends_at, command.actor),)


def decide_revoke_token(state: State | None, command: RevokeToken) -> tuple[Fact, ...]:
    token = known(state, command.id, command.team)
    check_buckets(token.buckets, command.allowed_buckets)
    return () if token.revoked else (TokenRevoked(command.id, command.actor),)


def known(state: State | None, id: str, team: str) -> TokenState:
    """Also a revoked one. team: whose it must be; empty: anybody's."""
    token = state.token if state is not None else None
    foreign = token is not None and team not in ("", token.team)
    if token is None or foreign:
        raise No("token-unknown", f"there is no token {id[:60]!r}", final=foreign)
    return token


def living(state: State | None, id: str, team: str) -> TokenState:
    token = known(state, id, team)
    if token.revoked:
        raise No("token-unknown", f"token {id[:60]!r} is revoked")
    return token


def token_of(state: TokenState, now: datetime, last_used_at: datetime | None = None) -> Token:
    """As it is answered: without hashes and secret."""
    ends = [each.ends_at for each in state.former if each.ends_at > now]
    return Token(
        state.id,
        state.name,
        state.scopes,
        state.buckets,
        state.created_at,
        state.expires_at,
        last_used_at=last_used_at,
        overlap_ends_at=max(ends, default=None),
        created_by=state.created_by,
    )
