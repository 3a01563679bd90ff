"""Buckets: created, changed, rekeyed, guarded, deleted."""

from __future__ import annotations

import hashlib
import re
from datetime import datetime, timedelta
from typing import Any

import msgspec

from bus.message import Fact
from schemas.identity import (
    MAX_BODY_CAP_BYTES,
    MAX_OVERLAP_S,
    Bucket,
    BucketChanged,
    BucketCreated,
    BucketDeleted,
    BucketGuarded,
    BucketRekeyed,
    BucketSettings,
    DeleteBucket,
    PatchBucket,
    PutBucket,
    RotateBucketKey,
)
from schemas.identity.state import SETTINGS, State
from services.calls.redaction.errors import InvalidRule
from services.calls.redaction.redactor import Redactor
from services.identity.domain.refusing import No, check_allowed, check_name, check_team, check_version

KEY_CHARS = 12
MAX_HOSTS = 100
MAX_FORMER = 50
MAX_NOTES_CHARS = 4000

_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"
_KEY = re.compile(rf"[a-z0-9]{{{KEY_CHARS}}}")
_UNWRITABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?"
_HOST = re.compile(rf"(?:\*\.)?{_LABEL}(?:\.{_LABEL})*|[0-9a-f:.]+")


def is_key(text: str) -> bool:
    return _KEY.fullmatch(text) is not None


def key_from(command_id: str, purpose: str = "bucket") -> str:
    """A bucket's key or address, always the same for the same command: 62 bits of its SHA-256."""
    number = int.from_bytes(hashlib.sha256(f"{purpose} {command_id}".encode()).digest(), "big")
    key = ""
    for _ in range(KEY_CHARS):
        number, at = divmod(number, len(_ALPHABET))
        key += _ALPHABET[at]
    return key


def decide_put_bucket(
    state: State | None, command: PutBucket, key: str, *, taken: bool = False
) -> tuple[Fact, ...]:
    """Create the bucket, or change what differs. The team of a bucket that exists is not changed by this.
    taken: another bucket has, or had, this key for an address."""
    if not is_key(key):
        raise No("bucket-invalid", f"key {key[:40]!r} is not {KEY_CHARS} characters of a-z and 0-9")
    check_team("bucket-invalid", command.team)
    settings = {name: getattr(command, name) for name in SETTINGS}
    _check(command.name, command)
    if state is None or state.bucket is None:
        check_version("bucket-conflict", f"bucket {key}", command.if_version, 0)
        if taken:
            raise No("bucket-invalid", f"key {key} is not free; choose another")
        if command.retention != BucketSettings().retention:
            check_allowed(("data:delete",), command.actor_scopes, "to set a retention")
        return (BucketCreated(key, command.name, command.team, command.actor, **settings),)
    if state.bucket.bucket.team != command.team:
        raise No("bucket-invalid", f"key {key} is not free; choose another", final=True)
    bucket = state.living_bucket
    if bucket is None:
        raise No(
            "bucket-invalid", f"bucket {key} was deleted, and its key is not given again; choose another"
        )
    return _changed(bucket, command.name, command, command)


def decide_patch_bucket(state: State | None, command: PatchBucket) -> tuple[Fact, ...]:
    bucket = _living(state, command.key, command.team)
    changes = given(command)
    name = changes.pop("name", bucket.name)
    settings = BucketSettings(**({name: getattr(bucket, name) for name in SETTINGS} | changes))
    _check(name, settings)
    return _changed(bucket, name, settings, command)


def given(command: PatchBucket) -> dict[str, Any]:
    """What is to change: fields of the bucket and their values."""
    return {name: value for name in ("name", *SETTINGS) if (value := getattr(command, name)) is not None}


def decide_rotate_key(
    state: State | None, command: RotateBucketKey, *, address: str, now: datetime, taken: bool = False
) -> tuple[Fact, ...]:
    """taken: another bucket has, or had, this address."""
    bucket = _living(state, command.key, command.team)
    if taken:
        raise No("bucket-invalid", f"address {address} is not free; use another command_id")
    if len(shown(bucket, now).former_addresses) >= MAX_FORMER and command.overlap_s:
        raise No("bucket-invalid", f"overlap_s: {MAX_FORMER} former addresses still work; 0 ends them")
    if not 0 <= command.overlap_s <= MAX_OVERLAP_S:
        raise No("bucket-invalid", f"overlap_s {command.overlap_s} is not from 0 to {MAX_OVERLAP_S}")
    ends_at = now + timedelta(seconds=command.overlap_s)
    return (BucketRekeyed(command.key, address, ends_at, command.actor),)


def decide_guard(state: State | None, key: str, team: str, sha256: str, actor: str) -> tuple[Fact, ...]:
    """sha256: of the token that clients must show; empty: none any more."""
    _living(state, key, team)
    assert state is not None
    assert state.bucket is not None
    if state.bucket.guard_sha256 == sha256:
        return ()
    return (BucketGuarded(key, sha256, actor),)


def decide_delete_bucket(state: State | None, command: DeleteBucket) -> tuple[Fact, ...]:
    bucket = _living(state, command.key, command.team)
    check_version("bucket-conflict", f"bucket {command.key}", command.if_version, bucket.version)
    return (BucketDeleted(command.key, command.actor),)


def settings_of(of: BucketSettings) -> BucketSettings:
    """The settings alone, to compare."""
    return BucketSettings(**{name: getattr(of, name) for name in SETTINGS})


def _living(state: State | None, key: str, team: str) -> Bucket:
    known = state.bucket if state is not None else None
    foreign = known is not None and team not in ("", known.bucket.team)
    if known is None or known.deleted or foreign:
        raise No("bucket-unknown", f"there is no bucket {key[:40]!r}", final=foreign)
    return known.bucket


def _changed(
    bucket: Bucket, name: str, settings: BucketSettings, command: PutBucket | PatchBucket
) -> tuple[Fact, ...]:
    check_version("bucket-conflict", f"bucket {bucket.key}", command.if_version, bucket.version)
    if name == bucket.name and settings_of(settings) == settings_of(bucket):
        return ()
    if settings.retention != bucket.retention:
        check_allowed(("data:delete",), command.actor_scopes, "to change the retention")
    chosen = {each: getattr(settings, each) for each in SETTINGS}
    return (BucketChanged(bucket.key, name, command.actor, **chosen),)


def _check(name: str, settings: BucketSettings) -> None:
    """Raises No, whose detail names the field."""
    check_name("bucket-invalid", name)
    cap = settings.body_cap_bytes
    if not 0 <= cap <= MAX_BODY_CAP_BYTES:
        raise No("bucket-invalid", f"body_cap_bytes {cap} is not from 0 to {MAX_BODY_CAP_BYTES}")
    for field, least in (("max_age_s", 60), ("max_calls", 1), ("max_bytes", 1)):
        limit: int | None = getattr(settings.retention, field)
        if limit is not None and not least <= limit < 2**53:
            raise No("bucket-invalid", f"retention.{field} {limit} is not {least} or more")
    if not 0.0 <= settings.sampling <= 1.0:
        raise No("bucket-invalid", f"sampling {settings.sampling:g} is not from 0 to 1")
    if len(settings.notes) > MAX_NOTES_CHARS:
        raise No("bucket-invalid", f"notes: {len(settings.notes)} characters, at most {MAX_NOTES_CHARS}")
    if _UNWRITABLE.search(settings.notes) is not None:  # a terminal would obey it
        raise No("bucket-invalid", "notes: there is a control character")
    for field, hosts in (("allowed_hosts", settings.allowed_hosts), ("denied_hosts", settings.denied_hosts)):
        if len(hosts) > MAX_HOSTS:
            raise No("bucket-invalid", f"{field}: {len(hosts)} entries, at most {MAX_HOSTS}")
        for host in hosts:
            if len(host) > 255 or _HOST.fullmatch(host.lower()) is None:
                raise No("bucket-invalid", f"{field}: {host[:60]!r} is no host name, nor `*.` and a domain")
    try:
        Redactor(settings.redaction, b"\0" * 32)
    except InvalidRule as error:
        field = next(name for name in ("headers", "paths", "patterns") if error.rule.startswith(name[:-1]))
        raise No("bucket-invalid", f"redaction.{field}: {error}") from None


def shown(bucket: Bucket, now: datetime) -> Bucket:
    """As it is answered: addresses that have ended are left out."""
    still = tuple(each for each in bucket.former_addresses if each.ends_at > now)
    return msgspec.structs.replace(bucket, former_addresses=still)
