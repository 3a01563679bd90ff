"""Removal: retention, erasure, and the disk that they free."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from schemas.request_vault import Position
from services.request_vault.domain.cursors import Vector
from services.request_vault.store.bodies.port import BodyName


class Scope(msgspec.Struct, frozen=True):
    """Of which observations there are too many: those of one event key, or (None) of the whole installation.
    Each limit that is set holds by itself. before_us: what was recorded before that moment goes. keep_*: what
    is beyond that many goes, the oldest first. deleted_before_us: instead of all that, the calls that were
    deleted before that moment."""

    key: str | None = None
    before_us: int | None = None
    keep_records: int | None = None
    keep_calls: int | None = None
    keep_bytes: int | None = None
    deleted_before_us: int | None = None


class Trimmed(msgspec.Struct, frozen=True):
    """first, last: between which positions; None when nothing went. bodies: those that no call names any
    more. more: whether it is worth asking again at once."""

    records: int
    calls: int
    bytes: int
    first: Position | None
    last: Position | None
    bodies: tuple[BodyName, ...]
    more: bool


class Erased(msgspec.Struct, frozen=True):
    """calls: the ids of those that were there. records: how many records went, those of marks included.
    bodies: those that no call names any more."""

    calls: tuple[str, ...]
    records: int
    bodies: tuple[BodyName, ...]


class Keeping(Protocol):
    """In small steps, so that ingest is never held up."""

    def retain(self, ages: Mapping[str, int | None]) -> None:
        """How many days the observations of event keys are kept; of others, and with None, for ever. An
        engine may put what it records from now on where it is easily removed then."""

    async def trim(self, scope: Scope, most: int) -> Trimmed:
        """Retention, one small step: at most `most` records go, the oldest first; observations only. Calls
        that are starred, or whose share has not ended, survive, but for `deleted_before_us`. What stays:
        their identities, so that they do not rise again when they are delivered again, and their digests. A
        stream of observations that went as a whole begins again at version 1."""

    async def erase(self, bucket: str, call_ids: Sequence[str], *, by: str, why: str) -> Erased:
        """These calls of a bucket are gone for good, with all observations of their streams and the decisions
        about them (`vault.call-<id>`); the log keeps a tombstone of each record. At most some hundred ids, so
        that the step stays small. Repeating it is right."""

    async def erase_bucket(self, bucket: str, upto: Vector, most: int, *, by: str, why: str) -> Erased:
        """One small step of erasing all observations with this key up to the numbers of `upto`, the oldest
        first, and the decisions about calls (`vault.call-<id>`) of that bucket; tombstones as `erase`.
        Nothing is left when no records went."""

    async def forget(self, before_us: int, most: int) -> int:
        """Forget up to `most` identities of records that went before a moment, and how many it were. What is
        unknown and not newer than the newest of them, as far as that lies before the moment, is refused from
        then on: it may have been here."""

    async def reclaim(self, most_pages: int) -> int:
        """Give disk that removed records have left back to the system, one small step; how many pages went, 0
        when there is nothing to give back."""

    async def checkpoint(self) -> bool:
        """Get what was erased or trimmed out of the database's files, and the disk that `reclaim` gave back
        to the system. False when a reader still needs them as they are: ask again."""
