"""The text index, which is behind the log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from schemas.request_vault import Position
from services.calls.words import Streams


class TextSource(msgspec.Struct, frozen=True):
    position: Position
    recorded_us: int
    event: bytes


class TextStep(msgspec.Struct, frozen=True):
    """Calls of one partition to be indexed, in order of their numbers. target: what the engine wants them
    for. through: the position up to which these are all; there may be none. more: whether it is known that
    there is a next step."""

    target: int
    through: Position
    calls: tuple[TextSource, ...]
    more: bool


class CallText(msgspec.Struct, frozen=True):
    """The words of a call. missing: hashes of its bodies that have not arrived; they are looked for until
    `missing_until_us`."""

    position: Position
    bucket: str
    streams: Streams
    missing: tuple[str, ...] = ()
    missing_until_us: int = 0


class LateText(msgspec.Struct, frozen=True):
    """A call that was indexed without these bodies."""

    position: Position
    bucket: str
    missing: tuple[str, ...]


class Texts(Protocol):
    """Given words by one task, `worker.indexing`."""

    async def unindexed(self, limit: int) -> TextStep | None:
        """What the text index is to be given next, at most about `limit` calls; None when it has everything.
        Searches by words see the calls up to the first that is not indexed. Raises Unavailable. One task
        calls this and the next four."""

    async def index_texts(self, step: TextStep, through: Position, texts: Sequence[CallText]) -> None:
        """The words of the step's calls up to `through`, the step's own or that of one of its calls. A step
        that is not indexed is given again. Raises Unavailable."""

    async def late_texts(self, after: Position | None, limit: int) -> tuple[LateText, ...]:
        """Indexed calls that lack bodies, behind a position; those that have waited too long are
        forgotten."""

    async def text_sources(self, positions: Sequence[Position]) -> tuple[TextSource, ...]:
        """Those of these calls that are still there."""

    async def replace_texts(self, texts: Sequence[CallText]) -> None:
        """The words of calls that lacked bodies, once more."""

    def texts_behind(self) -> int:
        """How many of the newest records, calls or not, the text index has not passed."""

    async def texts_purged(self) -> None:
        """Return when nothing of the calls that were erased before is left in the text index. Needs the task
        that indexes."""
