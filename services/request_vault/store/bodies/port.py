"""What every engine that keeps bodies promises.

A body is named by its bucket and the SHA-256 of its plain bytes, whatever form it is kept in. It never
changes: a name that is there is the body. What returned without an error is durable. Every method raises
Unavailable when the storage is full or gone; what it did until then holds, and repeating it is right.
Several vault instances may use one storage at once.

    put of a body that nothing names yet, then the event that names it
    sweep removes what nothing has named for long: `put` makes a body young again
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Collection, Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple, Protocol

from bus.errors import BusError
from schemas.request_vault import BodyChunk, BodyPart


class BodyName(NamedTuple):
    bucket: str
    sha256: str


class Removed(NamedTuple):
    """bodies: how many. body_bytes, leftover_bytes: the storage that they took, and what unfinished ones
    did."""

    bodies: int = 0
    body_bytes: int = 0
    leftover_bytes: int = 0

    @property
    def freed_bytes(self) -> int:
        return self.body_bytes + self.leftover_bytes

    def and_also(self, other: Removed) -> Removed:
        return Removed(*(mine + its for mine, its in zip(self, other, strict=True)))


class Copied(NamedTuple):
    """stored_bytes: as they are kept. missing: names whose bodies are not there (any more)."""

    bodies: int
    stored_bytes: int
    missing: tuple[BodyName, ...]

    def and_also(self, other: Copied) -> Copied:
        return Copied(
            self.bodies + other.bodies,
            self.stored_bytes + other.stored_bytes,
            self.missing + other.missing,
        )


class Damage(NamedTuple):
    """What `verify` found. place: where the storage keeps it. name: the body that cannot be trusted, None
    when it is something else that does not belong there."""

    place: str
    name: BodyName | None
    reason: str


Referenced = Callable[[str, Sequence[str]], Awaitable[set[str]]]
"""(bucket, hashes) -> those that something still names."""


class Bodies(Protocol):
    """Methods may be called by any number of tasks."""

    async def put(self, chunks: Sequence[BodyChunk]) -> list[BusError | None]:
        """Keep these chunks; for each, why it was not kept, or None."""

    async def read(self, bucket: str, sha256: str, offset: int) -> BodyPart | None:
        """BODY_PART_BYTES from `offset` on, less at the end; None when there is no such body. At offset 0 all
        that is stored of it is proved. Raises Refused (body-damaged)."""

    async def missing(self, bucket: str, hashes: Iterable[str]) -> set[str]:
        """Those of these hashes whose bodies are not here."""

    async def totals(self) -> tuple[int, int]:
        """How many bodies there are, and the bytes they take. Counted now and then, and kept up in between
        by what this instance does."""

    async def delete(self, bucket: str, hashes: Iterable[str]) -> Removed:
        """These bodies are gone, whole or unfinished; those that are not there count as gone."""

    async def delete_bucket(self, bucket: str) -> Removed:
        """All bodies of the bucket are gone."""

    async def sweep(
        self,
        referenced: Referenced,
        older_than_s: float,
        now: datetime,
        *,
        bucket: str | None = None,
        hashes: Collection[str] | None = None,
    ) -> Removed:
        """Remove what nothing names and nobody has put for `older_than_s`, unfinished bodies too; of one
        bucket, or of it only these bodies. In small steps, between which bodies are put. older_than_s: longer
        than any event follows its bodies."""

    def names(self, bucket: str | None = None) -> AsyncIterator[BodyName]:
        """All whole bodies, in order; those that come or go meanwhile may be among them or not."""

    def verify(self) -> AsyncIterator[Damage]:
        """Read everything; what is damaged, or does not belong there."""

    async def copy_to(self, target: Path, names: AsyncIterable[BodyName] | Iterable[BodyName]) -> Copied:
        """Copy these bodies into a folder, which DirectoryBodies reads. What is there already is not copied
        again, so that a copy cut off is taken up by repeating it."""
