"""Identifiers: UUIDv7 (RFC 9562), which sort by the millisecond they were made in, and ids derived from other
ids.

Called by the publisher for every event and by services for calls and commands. Within one `Ids` they increase
strictly, so that events of one publisher sort in the order of their making.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable

from bus.clock import Clock

_RANDOM_BITS = 74
_POOL_BYTES = 8 * 512


class Ids:
    """A source of UUIDv7 strings. `entropy(n)` gives n random bytes; tests pass a fixed one."""

    def __init__(self, clock: Clock, entropy: Callable[[int], bytes] = os.urandom) -> None:
        self._clock = clock
        self._entropy = entropy
        self._last_ms = 0
        self._tail = 0
        self._pool = b""
        self._pool_at = 0

    def new(self) -> str:
        """A UUIDv7 as 36 lower-case characters, greater than any that this object gave before."""
        now_ms = int(self._clock.now().timestamp() * 1000)
        if now_ms > self._last_ms:
            self._last_ms = now_ms
            # The top bit stays free, so that counting up within a millisecond cannot overflow.
            self._tail = int.from_bytes(self._random(10), "big") & ((1 << (_RANDOM_BITS - 1)) - 1)
        else:
            # RFC 9562, method 2: within a millisecond the tail grows by a random step, so it stays
            # unguessable.
            self._tail += 1 + int.from_bytes(self._random(4), "big")
        high12 = self._tail >> 62
        low62 = self._tail & ((1 << 62) - 1)
        value = (self._last_ms << 80) | (0x7 << 76) | (high12 << 64) | (0b10 << 62) | low62
        text = f"{value:032x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"

    def _random(self, count: int) -> bytes:
        """From a pool: asking the system costs more than all the rest of an id."""
        start = self._pool_at
        if start + count > len(self._pool):
            self._pool = self._entropy(_POOL_BYTES)
            start = 0
        self._pool_at = start + count
        return self._pool[start : start + count]


def derived(*parts: str) -> str:
    """An id that is always the same for the same parts: a UUIDv8 (RFC 9562) of their SHA-256.

    Event ids derive from the command's id, so that a repeated command makes the same events.
    """
    digest = hashlib.sha256("\x1f".join(parts).encode()).digest()
    value = int.from_bytes(digest[:16], "big")
    value = (value & ~(0xF << 76)) | (0x8 << 76)
    value = (value & ~(0b11 << 62)) | (0b10 << 62)
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
