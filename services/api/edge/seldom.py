"""Warnings that would otherwise come with every request."""

from __future__ import annotations

import structlog

from bus.clock import Clock

EVERY_S = 60.0

_log = structlog.get_logger("api")


class Seldom:
    """Warns of one trouble at most once in EVERY_S."""

    def __init__(self, clock: Clock, what: str) -> None:
        self._clock = clock
        self._what = what
        self._next_s = float("-inf")

    def warn(self, error: Exception) -> None:
        now = self._clock.monotonic()
        if now >= self._next_s:
            self._next_s = now + EVERY_S
            _log.warning(self._what, trouble=str(error))
