"""What the two processes of a run say to the program that started them: one line of JSON each.

A consuming program prints `{"ready": true}` when its consumer runs and, after the last event, `{"first": t,
"last": t}`; a publishing one prints `{"began": t, "ended": t}` when all is confirmed. Times are of the
monotonic clock, which the processes of one machine share.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

PADDING = "x" * 300
NAMES = ("checkout", "search", "basket", "payment")


def fields(number: int) -> dict[str, Any]:
    """One event's content: about 450 bytes as JSON."""
    return {
        "number": number,
        "order": f"o-{number:08d}",
        "service": NAMES[number % 4],
        "total_cents": number * 7 % 100_000,
        "currency": "EUR",
        "sent_at": 0.0,
        "note": PADDING,
    }


def say(**words: Any) -> None:
    print(json.dumps(words), flush=True)


class Counter:
    """Counts handled events; `done` is set at `expected`."""

    def __init__(self, expected: int) -> None:
        self.expected = expected
        self.count = 0
        self.first = 0.0
        self.last = 0.0
        self.done = asyncio.Event()

    def tick(self) -> None:
        if self.count == 0:
            self.first = time.monotonic()
        self.count += 1
        if self.count >= self.expected:
            self.last = time.monotonic()
            self.done.set()
