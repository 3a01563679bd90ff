"""What is kept of a body while it goes by: up to the bucket's cap, and only while the memory that all calls
share lasts; relaying is never cut. Pure; called by `capture` and whoever relays.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

from schemas.traffic_gateway import INLINE_BODY_BYTES, Body

_EMPTY = Body()

Stored = tuple[str, bytes]  # SHA-256 (hex) and bytes of a body that does not ride in the event


class Budget:
    """The memory that bodies of calls in flight share."""

    __slots__ = ("left_bytes",)

    def __init__(self, total_bytes: int) -> None:
        self.left_bytes = total_bytes

    @contextmanager
    def lent(self, size_bytes: int) -> Iterator[None]:
        """For bytes that no `Tap` holds."""
        self.left_bytes -= size_bytes
        try:
            yield
        finally:
            self.left_bytes += size_bytes


class Tap:
    """Watches one body go by. `add` each piece, `body` at the end; `drop` gives the memory back."""

    __slots__ = ("_budget", "_digest", "_kept_bytes", "_pieces", "_room", "size_bytes")

    def __init__(self, cap_bytes: int, budget: Budget) -> None:
        self._room = cap_bytes
        self._budget = budget
        self._pieces: list[bytes] = []
        self._kept_bytes = 0
        self._digest: hashlib._Hash | None = None
        self.size_bytes = 0

    def add(self, piece: bytes) -> None:
        length = len(piece)
        if not length:
            return
        self.size_bytes += length
        room = min(self._room - self._kept_bytes, self._budget.left_bytes)
        if room <= 0:
            self._room = self._kept_bytes  # what was skipped once leaves a hole: nothing is kept behind it
            return
        if length > room:
            piece = piece[:room]
            self._room = self._kept_bytes + room
        self._budget.left_bytes -= len(piece)
        self._kept_bytes += len(piece)
        # A digest is only grown when there is a second piece: most bodies are one.
        if self._pieces:
            if self._digest is None:
                self._digest = hashlib.sha256(self._pieces[0])
            self._digest.update(piece)
        self._pieces.append(piece)

    @property
    def cap_bytes(self) -> int:
        return self._room

    @property
    def budget(self) -> Budget:
        return self._budget

    def room_bytes(self) -> int:
        """How much more would be kept."""
        return max(0, min(self._room - self._kept_bytes, self._budget.left_bytes))

    def body(self) -> tuple[Body, Stored | None]:
        if not self.size_bytes:
            return _EMPTY, None
        kept = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        sha256 = (self._digest or hashlib.sha256(kept)).hexdigest()
        length = len(kept)
        inline = kept if length <= INLINE_BODY_BYTES else None
        body = Body(self.size_bytes, length, sha256, inline, length < self.size_bytes)
        return body, None if inline is not None else (sha256, kept)

    def drop(self) -> None:
        self._budget.left_bytes += self._kept_bytes
        self._kept_bytes = self._room = 0
        self._pieces.clear()
