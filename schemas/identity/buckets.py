"""Buckets: where calls are kept, and how they are captured and kept. Stream `identity.bucket-<key>`.

A bucket's `key` is its name for ever: in topics, in the log, in the API. Its `address` is what the gateway is
called by; it is the key at first, and rotating it gives the bucket another one without touching what is kept.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec

from bus.message import Ask, Fact
from schemas.operation import Scope, Sealed

CaptureMode = Literal["relaxed", "strict", "off"]
RedactionMode = Literal["default", "strict", "raw"]
DEFAULT_BODY_CAP_BYTES = 1024 * 1024
MAX_BODY_CAP_BYTES = 8 * 1024 * 1024
DEFAULT_OVERLAP_S = 24 * 3600
MAX_OVERLAP_S = 30 * 24 * 3600


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


class BucketSettings(msgspec.Struct, frozen=True, kw_only=True):
    """capture: `relaxed` answers first and keeps the call after, `strict` holds the end of the answer until
    the call is safe, `off` keeps nothing. body_cap_bytes: how much of each body is kept. sampling: which
    share of the calls is kept, 0 to 1. verify_tls: whether a target's certificate must be good.
    allowed_hosts: if there are any, calls go to these only; denied_hosts: to these never; each is a host
    name, or `*.` and a domain. rewrite_location: `Location` of redirects points to the gateway again."""

    capture: CaptureMode = "relaxed"
    body_cap_bytes: int = DEFAULT_BODY_CAP_BYTES
    retention: Retention = Retention()
    sampling: float = 1.0
    redaction: Redaction = Redaction()
    verify_tls: bool = True
    allowed_hosts: tuple[str, ...] = ()
    denied_hosts: tuple[str, ...] = ()
    rewrite_location: bool = False
    notes: str = ""


class BucketCreated(Fact, BucketSettings, frozen=True):
    """Subject and event key: the bucket's 12-character key (lower-case letters and digits)."""

    TYPE = "identity.bucket.created"
    ORDERED = True

    key: str
    name: str
    team: str
    by: str = ""


class BucketChanged(Fact, BucketSettings, frozen=True):
    """Name and settings after the change, whole."""

    TYPE = "identity.bucket.changed"
    ORDERED = True

    key: str
    name: str
    by: str = ""


class BucketRekeyed(Fact, frozen=True):
    """The gateway is called by `address` from now on, and by the addresses before until `overlap_ends_at`, or
    until they end by themselves."""

    TYPE = "identity.bucket.rekeyed"
    ORDERED = True

    key: str
    address: str
    overlap_ends_at: datetime
    by: str = ""


class BucketGuarded(Fact, frozen=True):
    """Clients must show the token with this SHA-256 (hex) from now on; an empty one: none any more."""

    TYPE = "identity.bucket.guarded"
    ORDERED = True

    key: str
    sha256: str
    by: str = ""


class BucketDeleted(Fact, frozen=True):
    """The vault erases the bucket's calls after this."""

    TYPE = "identity.bucket.deleted"
    ORDERED = True

    key: str
    by: str = ""


class FormerAddress(msgspec.Struct, frozen=True):
    address: str
    ends_at: datetime


class Bucket(Fact, BucketSettings, frozen=True):
    """A bucket as it is now (a reply, never published).

    address: what the gateway is called by. former_addresses: those that still work for a while. guarded:
    clients must show the bucket's auth token. version: for If-Match; grows with every change."""

    TYPE = "identity.bucket.state"

    key: str
    name: str
    team: str
    created_at: datetime
    address: str = ""
    former_addresses: tuple[FormerAddress, ...] = ()
    guarded: bool = False
    version: int = 0


class BucketList(Fact, frozen=True):
    TYPE = "identity.bucket.list"

    buckets: tuple[Bucket, ...]
    next_cursor: str | None = None


class BucketAuth(Fact, frozen=True):
    """secret: what clients send in the header `Trunkline-Bucket-Auth`; shown once."""

    TYPE = "identity.bucket.auth"

    key: str
    secret: Sealed


class PutBucket(Ask[Bucket], BucketSettings, frozen=True):
    """Create a bucket, or change its settings: one that is not given goes to its default.

    key: 12 characters, a-z and 0-9. name: for people. capture: `relaxed` answers first and keeps the call
    after, `strict` holds the end of the answer until the call is safe, `off` keeps nothing. body_cap_bytes:
    how much of each body is kept, at most 8388608. retention: how long the vault keeps the calls, by
    max_age_s, max_calls and max_bytes; left out, the installation's limits alone hold; to change it needs
    the scope data:delete. sampling: which share of the calls is kept, 0 to 1. redaction: what is masked
    before a call is kept: mode (default, strict, raw), and the bucket's own headers, JSON paths and patterns.
    verify_tls: false takes any certificate of a target. allowed_hosts: calls go to these hosts only, if there
    are any; denied_hosts: to these never; `*.example.org` means every host below. rewrite_location: redirects
    point to the gateway again. notes: for people, at most 4000 characters. Refused: bucket-invalid,
    bucket-conflict (If-Match names another version), scope-forbidden.
    """

    TYPE = "identity.bucket.put"

    command_id: str
    name: str
    key: str = ""  # empty: identity chooses one from `command_id`, so that a repeat gives the same bucket
    team: str = "default"
    actor: str = ""
    actor_scopes: tuple[Scope, ...] | None = None  # None: a caller on the bus, who may do everything
    if_version: int | None = None


class PatchBucket(Ask[Bucket], frozen=True):
    """Change what is given of a bucket's name and settings, and leave the rest.

    The fields are those of PUT. Refused: bucket-unknown, bucket-invalid, bucket-conflict (If-Match names
    another version), scope-forbidden.
    """

    TYPE = "identity.bucket.patch"

    command_id: str
    key: str
    team: str = "default"
    name: str | None = None
    capture: CaptureMode | None = None
    body_cap_bytes: int | None = None
    retention: Retention | None = None
    sampling: float | None = None
    redaction: Redaction | None = None
    verify_tls: bool | None = None
    allowed_hosts: tuple[str, ...] | None = None
    denied_hosts: tuple[str, ...] | None = None
    rewrite_location: bool | None = None
    notes: str | None = None
    actor: str = ""
    actor_scopes: tuple[Scope, ...] | None = None
    if_version: int | None = None


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
    """The buckets of a team, oldest first.

    allowed_buckets: only these keys; empty means all of the team's. limit: 1 to 500. cursor: the
    `next_cursor` of the page before. Refused: cursor-invalid, list-invalid.
    """

    TYPE = "identity.buckets.list"

    team: str = "default"
    allowed_buckets: tuple[str, ...] = ()
    limit: int = 100
    cursor: str = ""


class RotateBucketKey(Ask[Bucket], frozen=True):
    """Give the bucket another gateway address; the present one works on for a while.

    overlap_s: for how long the present addresses still work: 0 to 2592000 seconds, a day unless given.
    Refused: bucket-unknown, bucket-invalid.
    """

    TYPE = "identity.bucket.rotate"

    command_id: str
    key: str
    overlap_s: int = DEFAULT_OVERLAP_S
    team: str = "default"
    actor: str = ""


class SetBucketAuth(Ask[BucketAuth], frozen=True):
    """Let only clients through that send the token that this answers with; it replaces the one before.

    Refused: bucket-unknown.
    """

    TYPE = "identity.bucket.guard"

    command_id: str
    key: str
    team: str = "default"
    actor: str = ""


class RemoveBucketAuth(Ask[Bucket], frozen=True):
    """Let everybody through who knows the bucket's address. Refused: bucket-unknown."""

    TYPE = "identity.bucket.unguard"

    command_id: str
    key: str
    team: str = "default"
    actor: str = ""


class DeleteBucket(Ask[Bucket], frozen=True):
    """The bucket as it was. It takes no more calls, and those that it has are erased.

    team: whose it must be; empty: anybody's. Refused: bucket-unknown, bucket-conflict (If-Match names another
    version)."""

    TYPE = "identity.bucket.delete"

    command_id: str
    key: str
    team: str = ""
    actor: str = ""
    if_version: int | None = None
