"""What was looked through before and held nothing secret: headers and URLs repeat from call to call, and most
of the work on a call would be finding nothing in the same words again. Nothing that is secret is remembered.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

MAX_REMEMBERED = 256
MAX_CHARS = 512

T = TypeVar("T", bound=Hashable)


class Clean(Generic[T]):
    """`known`: to look up in; never more than MAX_REMEMBERED, the oldest go first."""

    __slots__ = ("known",)

    def __init__(self) -> None:
        self.known: dict[T, None] = {}

    def add(self, what: T, chars: int) -> None:
        """chars: its length; what is long is not remembered."""
        if chars > MAX_CHARS:
            return
        if len(self.known) >= MAX_REMEMBERED:
            # Another thread may be at it too: then it is gone already.
            self.known.pop(next(iter(tuple(self.known))), None)
        self.known[what] = None
