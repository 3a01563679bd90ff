"""How an engine looks back over decisions of some keys: along the index of each key, as far as a share of
what may be looked at, and then no further than all of them were looked at. The arithmetic of both engines;
pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from services.request_vault.store import port


def share(keys: Sequence[str], limit: int) -> int:
    """How many decisions of each key are looked at."""
    return max(port.SCAN_RECORDS // max(len(keys), 1), limit)


def newest(numbers: Iterable[int], limit: int) -> list[int]:
    return sorted(numbers, reverse=True)[:limit]


def kept(numbers: Iterable[int], looked_to: int, limit: int) -> tuple[list[int], int]:
    """What the page holds, newest first, and what it reaches back to; 0: the beginning. numbers: that match.
    looked_to: the newest number below which some key was not looked at; 0 when all were to their ends."""
    found = newest((number for number in numbers if number >= looked_to), limit)
    return found, found[-1] if len(found) == limit else looked_to
