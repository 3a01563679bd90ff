"""How long observations are kept: pure functions from the buckets' limits and the installation's to what
goes.

A bucket's limits are identity's decisions, folded here. A deleted call can be restored for DELETED_CALL_S.
What was recorded for a bucket that was deleted is kept for DELETED_BUCKET_S, so that a mistake can be looked
into, and then goes; starred and shared calls stay there too, until the bucket is erased or the share ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Literal

import msgspec

from bus.event import Event
from schemas.identity import BucketChanged, BucketCreated, BucketDeleted, Retention
from schemas.request_vault import CATEGORY
from services.request_vault.domain.recording import to_us

INSTALLATION = "_"
DAY_S = 24 * 3600
DELETED_CALL_S = DAY_S
DELETED_BUCKET_S = 7 * DAY_S
IDENTITIES_S = 90 * DAY_S
"""How long what went is still known, so that it does not rise again when it is delivered again."""

Reason = Literal["age", "count", "bytes", "deleted"]
By = Literal["deleted_before_us", "before_us", "keep_calls", "keep_bytes"]


class Kept(msgspec.Struct, frozen=True):
    """What identity has decided about one bucket."""

    limits: Retention = Retention()
    deleted_at: datetime | None = None


class Rule(msgspec.Struct, frozen=True):
    """One criterion. bucket: its key, INSTALLATION for everything. limit: in the unit of `by`."""

    bucket: str
    reason: Reason
    by: By
    limit: int


def fold(buckets: dict[str, Kept], event: Event) -> None:
    """Put one of identity's decisions into `buckets`; those that are not about buckets change nothing."""
    match event.type:
        case BucketCreated.TYPE:
            created = event.read(BucketCreated)
            buckets[created.key] = Kept(created.retention)
        case BucketChanged.TYPE:
            changed = event.read(BucketChanged)
            buckets[changed.key] = Kept(changed.retention)
        case BucketDeleted.TYPE:
            key = event.read(BucketDeleted).key
            buckets[key] = Kept(buckets.get(key, Kept()).limits, event.time)


def rules(buckets: Mapping[str, Kept], installation: Retention, now: datetime) -> list[Rule]:
    """What holds now, in the order in which it is seen to: the buckets' own limits before the installation's,
    so that a bucket pays for what is its own."""
    found: list[Rule] = []
    for key, kept in sorted(buckets.items()):
        found += _of(key, kept.limits, now)
        if is_gone(kept, now):
            found.append(Rule(key, "deleted", "before_us", to_us(now)))
    return [*found, *_of(INSTALLATION, installation, now)]


def days_kept(buckets: Mapping[str, Kept], installation: Retention) -> dict[str, int | None]:
    """In how many days at the latest what is recorded now has gone for its age; None: never, for that."""
    found: dict[str, int | None] = {}
    for key, kept in buckets.items():
        ages = [age for age in (kept.limits.max_age_s, installation.max_age_s) if age is not None]
        found[key] = -(-min(ages) // DAY_S) if ages else None
    return found


def is_gone(kept: Kept, now: datetime) -> bool:
    """Whether what the bucket held has to be gone."""
    return kept.deleted_at is not None and now >= kept.deleted_at + timedelta(seconds=DELETED_BUCKET_S)


def retention_stream(bucket: str) -> str:
    return f"{CATEGORY}.retention-{bucket}"


def _of(key: str, limits: Retention, now: datetime) -> Iterable[Rule]:
    yield Rule(key, "deleted", "deleted_before_us", _ago_us(now, DELETED_CALL_S))
    if limits.max_age_s is not None:
        yield Rule(key, "age", "before_us", _ago_us(now, limits.max_age_s))
    if limits.max_calls is not None:
        yield Rule(key, "count", "keep_calls", limits.max_calls)
    if limits.max_bytes is not None:
        yield Rule(key, "bytes", "keep_bytes", limits.max_bytes)


def _ago_us(now: datetime, seconds: int) -> int:
    return max(0, to_us(now) - seconds * 1_000_000)
