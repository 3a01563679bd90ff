"""What identity decides: pure functions from what is known and what is wanted to facts.

`decide_*` answer the facts to append to one stream (none: nothing is left to do) or raise No, whose slug is
the contract's. `evolve` folds those facts. The same command twice decides the same thing or nothing: see
`handlers` for what was decided in between.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection
from datetime import datetime
from typing import get_args

import msgspec

from bus.message import Fact
from schemas.identity import (
    CATEGORY,
    MAX_BODY_CAP_BYTES,
    Bucket,
    BucketChanged,
    BucketCreated,
    BucketDeleted,
    CreateToken,
    DeleteBucket,
    PutBucket,
    RevokeToken,
    Token,
    TokenCreated,
    TokenRevoked,
)
from schemas.operation import Scope

FOLD_VERSION = 2
FACTS = (BucketCreated, BucketChanged, BucketDeleted, TokenCreated, TokenRevoked)
FACTS_BY_TYPE = {fact.TYPE: fact for fact in FACTS}
SCOPES = frozenset(get_args(Scope))
KEY_CHARS = 12
MAX_NAME_CHARS = 100
MAX_TOKEN_BUCKETS = 100

_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"
_KEY = re.compile(rf"[a-z0-9]{{{KEY_CHARS}}}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_TEAM = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


class No(Exception):
    """The command is understood and not carried out. slug: as in the contract; detail: for people. final: so
    it is whatever this command did before."""

    def __init__(self, slug: str, detail: str, *, final: bool = False) -> None:
        super().__init__(detail)
        self.slug = slug
        self.detail = detail
        self.final = final


class TokenState(msgspec.Struct, frozen=True):
    id: str
    name: str
    team: str
    sha256: str
    scopes: tuple[str, ...]
    buckets: tuple[str, ...]
    created_at: datetime
    expires_at: datetime | None
    revoked: bool = False


class State(msgspec.Struct, frozen=True):
    """One stream: a bucket or a token. A deleted bucket stays known, so that its key is not given again."""

    bucket: Bucket | None = None
    deleted: bool = False
    token: TokenState | None = None

    @property
    def living_bucket(self) -> Bucket | None:
        return None if self.deleted else self.bucket


def bucket_stream(key: str) -> str:
    return f"{CATEGORY}.bucket-{key}"


def token_stream(id: str) -> str:
    return f"{CATEGORY}.token-{id}"


def is_key(text: str) -> bool:
    return _KEY.fullmatch(text) is not None


def key_from(command_id: str) -> str:
    """A bucket's key, always the same for the same command: 62 bits of its SHA-256."""
    number = int.from_bytes(hashlib.sha256(f"bucket {command_id}".encode()).digest(), "big")
    key = ""
    for _ in range(KEY_CHARS):
        number, at = divmod(number, len(_ALPHABET))
        key += _ALPHABET[at]
    return key


def decide_put_bucket(state: State | None, command: PutBucket, key: str) -> tuple[Fact, ...]:
    """Create the bucket, or change what differs. The team of a bucket that exists is not changed by this."""
    _check_bucket(command, key)
    if state is None or state.bucket is None:
        return (
            BucketCreated(
                key, command.name, command.team, command.capture, command.body_cap_bytes, command.retention
            ),
        )
    if state.deleted:
        raise No(
            "bucket-invalid", f"bucket {key} was deleted, and its key is not given again; choose another"
        )
    bucket = state.bucket
    if bucket.team != command.team:
        raise No("bucket-invalid", f"bucket {key} belongs to team {bucket.team!r}, not to {command.team!r}")
    if settings_of(bucket) == settings_of(command):
        return ()
    return (BucketChanged(key, command.name, command.capture, command.body_cap_bytes, command.retention),)


def settings_of(of: Bucket | PutBucket) -> tuple[object, ...]:
    """What PutBucket sets, to compare."""
    return of.name, of.capture, of.body_cap_bytes, of.retention


def decide_delete_bucket(state: State | None, command: DeleteBucket) -> tuple[Fact, ...]:
    if state is None or state.living_bucket is None:
        raise No("bucket-unknown", f"there is no bucket {command.key[:40]!r}")
    return (BucketDeleted(command.key),)


def decide_create_token(
    state: State | None, command: CreateToken, id: str, *, buckets: Collection[str], now: datetime
) -> tuple[Fact, ...]:
    """buckets: the keys of the team's buckets."""
    if state is not None and state.token is not None:
        token = state.token
        wanted = (
            command.name,
            command.team,
            command.sha256,
            command.scopes,
            command.buckets,
            command.expires_at,
        )
        if (token.name, token.team, token.sha256, token.scopes, token.buckets, token.expires_at) != wanted:
            detail = "this command id made another token before; use a new command id"
            raise No("token-invalid", detail, final=True)
        if token.revoked:
            detail = f"token {token.id} was made by this command before and is revoked by now"
            raise No("token-invalid", detail, final=True)
        return ()
    _check_name("token-invalid", command.name)
    _check_team("token-invalid", command.team)
    if not _SHA256.fullmatch(command.sha256):
        raise No("token-invalid", "sha256 must be the secret's SHA-256 as 64 lower-case hex digits")
    if not command.scopes:
        raise No("token-invalid", f"a token needs at least one scope of: {', '.join(sorted(SCOPES))}")
    unknown = sorted(set(command.scopes) - SCOPES)
    if unknown:
        raise No(
            "token-invalid", f"no such scope: {unknown[0][:40]!r}; there are: {', '.join(sorted(SCOPES))}"
        )
    if len(command.buckets) > MAX_TOKEN_BUCKETS:
        raise No(
            "token-invalid",
            f"a token names at most {MAX_TOKEN_BUCKETS} buckets; none means all of the team's",
        )
    missing = sorted(set(command.buckets) - set(buckets))
    if missing:
        raise No("token-invalid", f"team {command.team!r} has no bucket {missing[0][:40]!r}")
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
        ),
    )


def decide_revoke_token(state: State | None, command: RevokeToken) -> tuple[Fact, ...]:
    if state is None or state.token is None:
        raise No("token-unknown", f"there is no token {command.id[:60]!r}")
    return () if state.token.revoked else (TokenRevoked(command.id),)


def evolve(state: State | None, fact: Fact, at: datetime) -> State | None:
    """The stream's state after a fact that happened `at`."""
    state = state or State()
    match fact:
        case BucketCreated():
            bucket = Bucket(
                fact.key, fact.name, fact.team, fact.capture, fact.body_cap_bytes, at, fact.retention
            )
            return State(bucket=bucket)
        case BucketChanged() if state.bucket is not None:
            bucket = msgspec.structs.replace(
                state.bucket,
                name=fact.name,
                capture=fact.capture,
                body_cap_bytes=fact.body_cap_bytes,
                retention=fact.retention,
            )
            return msgspec.structs.replace(state, bucket=bucket)
        case BucketDeleted():
            return msgspec.structs.replace(state, deleted=True)
        case TokenCreated():
            token = TokenState(
                fact.id, fact.name, fact.team, fact.sha256, fact.scopes, fact.buckets, at, fact.expires_at
            )
            return State(token=token)
        case TokenRevoked() if state.token is not None:
            return State(token=msgspec.structs.replace(state.token, revoked=True))
    return state


def token_of(state: TokenState) -> Token:
    """As it is answered: without the hash, and without the secret, which nobody here ever had."""
    return Token(state.id, state.name, state.scopes, state.buckets, state.created_at, state.expires_at)


def _check_bucket(command: PutBucket, key: str) -> None:
    if not is_key(key):
        raise No("bucket-invalid", f"key {key[:40]!r} is not {KEY_CHARS} characters of a-z and 0-9")
    _check_name("bucket-invalid", command.name)
    _check_team("bucket-invalid", command.team)
    if not 0 <= command.body_cap_bytes <= MAX_BODY_CAP_BYTES:
        raise No(
            "bucket-invalid", f"body_cap_bytes {command.body_cap_bytes} is not from 0 to {MAX_BODY_CAP_BYTES}"
        )
    for name, least in (("max_age_s", 60), ("max_calls", 1), ("max_bytes", 1)):
        limit: int | None = getattr(command.retention, name)
        if limit is not None and not least <= limit < 2**53:
            raise No("bucket-invalid", f"retention.{name} {limit} is not {least} or more")


def _check_name(slug: str, name: str) -> None:
    if not name.strip() or len(name) > MAX_NAME_CHARS or not name.isprintable():
        raise No(slug, f"name {name[:40]!r} is not 1 to {MAX_NAME_CHARS} printable characters")


def _check_team(slug: str, team: str) -> None:
    if not _TEAM.fullmatch(team):
        raise No(slug, f"team {team[:40]!r} is not 1 to 63 characters of a-z, 0-9, '_' and '-'")
