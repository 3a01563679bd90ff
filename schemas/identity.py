"""Identity's contract: buckets and tokens, decided by appending to the vault's log.

Streams: `identity.bucket-<key>` and `identity.token-<id>`; category `identity` for both (a follower reads the
category). A token is shown once, when it is made; the log holds only its SHA-256, which is enough for 256-bit
random secrets.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec

from bus.message import Ask, Fact, Subscription
from schemas.operation import Operation

CATEGORY = "identity"
CaptureMode = Literal["relaxed", "strict", "off"]
RedactionMode = Literal["default", "strict", "raw"]
DEFAULT_BODY_CAP_BYTES = 1024 * 1024
MAX_BODY_CAP_BYTES = 8 * 1024 * 1024


class Retention(msgspec.Struct, frozen=True):
    """How long the vault keeps a bucket's calls; whatever is passed first takes the oldest. None: no limit of
    the bucket's own. max_age_s: seconds since a call was recorded. max_bytes: of the calls in the log,
    without bodies that are kept apart. Starred and shared calls stay."""

    max_age_s: int | None = None
    max_calls: int | None = None
    max_bytes: int | None = None


class Redaction(msgspec.Struct, frozen=True):
    """What is masked in a bucket's calls before they are published.

    mode: `default` masks what is known to be secret, and what the rules below name; `strict` drops every
    value of headers, queries, JSON and forms, and other bodies whole; `raw` masks nothing. headers: names,
    in any case. paths: JSON paths (RFC 9535) into JSON bodies, without filters. patterns: regular expressions
    in RE2's syntax, searched for in each value and in each line of plain text.
    """

    mode: RedactionMode = "default"
    headers: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()


class BucketCreated(Fact, frozen=True):
    """Subject and event key: the bucket's 12-character key (lower-case letters and digits)."""

    TYPE = "identity.bucket.created"
    ORDERED = True

    key: str
    name: str
    team: str
    capture: CaptureMode = "relaxed"
    body_cap_bytes: int = DEFAULT_BODY_CAP_BYTES
    retention: Retention = Retention()


class BucketChanged(Fact, frozen=True):
    """The settings after the change, whole."""

    TYPE = "identity.bucket.changed"
    ORDERED = True

    key: str
    name: str
    capture: CaptureMode
    body_cap_bytes: int
    retention: Retention = Retention()


class BucketDeleted(Fact, frozen=True):
    TYPE = "identity.bucket.deleted"
    ORDERED = True

    key: str


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


class TokenRevoked(Fact, frozen=True):
    TYPE = "identity.token.revoked"
    ORDERED = True

    id: str


class Bucket(Fact, frozen=True):
    """A bucket as it is now (a reply, never published)."""

    TYPE = "identity.bucket.state"

    key: str
    name: str
    team: str
    capture: CaptureMode
    body_cap_bytes: int
    created_at: datetime
    retention: Retention = Retention()


class BucketList(Fact, frozen=True):
    TYPE = "identity.bucket.list"

    buckets: tuple[Bucket, ...]
    next_cursor: str | None = None


class Token(Fact, frozen=True):
    """secret: only in the answer to the creation, and only the first time."""

    TYPE = "identity.token.state"

    id: str
    name: str
    scopes: tuple[str, ...]
    buckets: tuple[str, ...]
    created_at: datetime
    expires_at: datetime | None = None
    secret: str | None = None


class PutBucket(Ask[Bucket], frozen=True):
    """Create a bucket, or change its settings: one that is not given goes to its default.

    key: 12 characters, a-z and 0-9. name: for people. capture: `relaxed` answers first and keeps the call
    after, `strict` holds the end of the answer until the call is safe, `off` keeps nothing. body_cap_bytes:
    how much of each body is kept, at most 8388608. retention: how long the vault keeps the calls, by
    max_age_s, max_calls and max_bytes; left out, the installation's limits alone hold. Refused:
    bucket-invalid.
    """

    TYPE = "identity.bucket.put"

    command_id: str
    name: str
    key: str = ""  # empty: identity chooses one from `command_id`, so that a repeat gives the same bucket
    team: str = "default"
    capture: CaptureMode = "relaxed"
    body_cap_bytes: int = DEFAULT_BODY_CAP_BYTES
    retention: Retention = Retention()


class GetBucket(Ask[Bucket], frozen=True):
    """A bucket as it is, or as it was.

    at: as of this moment, by the time at which the vault recorded what was decided. team: whose it must be;
    empty: anybody's. allowed_buckets: only these keys; empty means any. Refused: bucket-unknown (also before
    its creation), bucket-gone (deleted, at the moment that was asked for).
    """

    TYPE = "identity.bucket.get"

    key: str
    at: datetime | None = None
    team: str = ""
    allowed_buckets: tuple[str, ...] = ()


class ListBuckets(Ask[BucketList], frozen=True):
    """The buckets of a team. allowed_buckets: only these keys; empty means all of the team's."""

    TYPE = "identity.buckets.list"

    team: str = "default"
    allowed_buckets: tuple[str, ...] = ()


class DeleteBucket(Ask[Bucket], frozen=True):
    """The bucket as it was. Refused: bucket-unknown."""

    TYPE = "identity.bucket.delete"

    command_id: str
    key: str


class CreateToken(Ask[Token], frozen=True):
    """The secret is the caller's (256 random bits, base62, `tl_` in front, chosen by the client side of the
    bus), handed over as its SHA-256 so that no plain secret crosses the bus. Refused: token-invalid."""

    TYPE = "identity.token.create"

    command_id: str
    name: str
    sha256: str
    scopes: tuple[str, ...]
    team: str = "default"
    buckets: tuple[str, ...] = ()
    expires_at: datetime | None = None


class RevokeToken(Ask[Token], frozen=True):
    """Refused: token-unknown."""

    TYPE = "identity.token.revoke"

    command_id: str
    id: str


FACTS = (BucketCreated, BucketChanged, BucketDeleted, TokenCreated, TokenRevoked)
OPERATIONS = (
    Operation(ListBuckets, "GET", "/buckets", "buckets:read", "List the buckets"),
    # Identity itself says whose it is: the past of a bucket outlives it, and the edge knows living ones only.
    Operation(GetBucket, "GET", "/buckets/{key}", "buckets:read", "One bucket, as it is or was"),
    Operation(
        PutBucket,
        "PUT",
        "/buckets/{key}",
        "buckets:write",
        "Create a bucket or change its settings",
        bucket="key",
    ),
    Operation(DeleteBucket, "DELETE", "/buckets/{key}", "buckets:write", "Delete a bucket", bucket="key"),
)
SUBSCRIPTIONS: tuple[Subscription, ...] = ()
