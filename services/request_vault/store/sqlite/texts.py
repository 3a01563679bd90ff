"""What a search asks of the text index."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from services.calls.query import Words


class Texts(Protocol):
    """Called on a reader's thread, in the middle of its reading."""

    def reach(self, partition: int) -> int:
        """The place up to which calls of a partition are in the index. A search by words sees none behind."""

    def places(
        self, phrases: Sequence[Words], bucket: str, first: int, before: int, most: int, *, newest_first: bool
    ) -> list[int]:
        """The calls of a bucket that hold all these phrases, `first` <= place < `before`, in order, the first
        `most` of them. Calls that were removed or deleted since may be among them."""
