"""The log as it is kept: proving it, copying it, and putting it in elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from schemas.request_vault import BucketUsage, ModelState
from services.request_vault.domain.cursors import Vector
from services.request_vault.domain.links import End, Link


class StoreStats(msgspec.Struct, frozen=True):
    """events: how many the log was ever given. size_bytes: of the database on disk. partitions: newest
    numbers, from partition 0 on. usage: of each event key that has observations, the largest first. models,
    and text_behind, the calls that the text index lacks: of an archive only; a store has `models()` and
    `texts_behind()`."""

    events: int
    calls: int
    size_bytes: int
    partitions: tuple[int, ...]
    published_to: int
    usage: tuple[BucketUsage, ...] = ()
    models: tuple[ModelState, ...] = ()
    text_behind: int | None = None


class Archive(Protocol):
    """The log as it is kept, to be proved and copied: a store, or a vault's data opened without one
    (`store.open_archive`)."""

    async def ends(self) -> tuple[End, ...]:
        """Where each partition ends, from partition 0 on."""

    async def links(self, partition: int, after: int, limit: int) -> list[Link]:
        """What follows a number, in order, for at most about `limit` numbers (a run of trimmed ones counts as
        one); empty at the end. The next page is after `last_number` of the last link. A run that retention
        has just joined may begin at or before `after`. Raises Unavailable."""

    async def check(self) -> list[str]:
        """What is wrong with the database itself, and with what is folded from the log: the read models, the
        identities, the usage; empty when nothing is. Reads everything. Raises Unavailable."""

    async def backup(self, target: Path) -> None:
        """A copy of the database as of one moment, while ingest goes on. `target` must not exist; it appears
        when it is whole and on disk. Raises Unavailable, FileExistsError."""

    def published_to(self) -> int: ...

    async def floor_us(self) -> int:
        """What is unknown and not newer is refused (`Store.forget`); 0 when nothing was forgotten."""

    async def stats(self) -> StoreStats: ...


class Loading(Protocol):
    """Taking in what another archive gave out."""

    async def load(self, links: Sequence[Link], loaded_to: Vector | None = None) -> None:
        """Put links that follow each other onto the end of their partition, at exactly their positions; what
        is folded from the log follows. Those that are here already are passed over, and what went at their
        origin meanwhile goes here too. Load observations before the decisions about them (partition 0 last);
        the checkpoint of publication does not come along. loaded_to: up to which numbers the caller has
        loaded the same log just before; without, a segment that was trimmed whole at its origin is not taken
        where a part of it is here. Raises LinksDiffer, and then nothing of these was taken; Unavailable."""

    async def raise_floor(self, floor_us: int) -> None:
        """Refuse too what another vault of this log refuses, that has forgotten it. Never goes back."""
