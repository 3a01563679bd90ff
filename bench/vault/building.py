"""Fills a database with calls through the store's port: `python -m bench.vault.building URL COUNT
[EVENT_BYTES]`. Prints `{"seconds", "size_mb"}`."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

import uvloop

from bench.vault import traffic
from bench.vault.sides import opened, say

BATCH = 1000
AHEAD = 4
"""Batches that are made while others are written."""


async def main(url: str, count: int, event_bytes: int | None) -> None:
    events = traffic.sized_calls(count, event_bytes) if event_bytes else traffic.calls(count)
    batches = traffic.batches(events, BATCH)
    began = time.monotonic()
    async with opened(url, Path()) as store:

        async def write() -> None:
            for batch in batches:
                ingested = await store.record(batch)
                if ingested.recorded != len(batch):
                    raise SystemExit(f"{len(batch) - ingested.recorded} of {len(batch)} calls were not taken")

        async with asyncio.TaskGroup() as tasks:
            for _ in range(AHEAD):
                tasks.create_task(write())
        stats = await store.stats()
    say(seconds=time.monotonic() - began, size_mb=stats.size_bytes / 1e6)


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]) if sys.argv[3:] else None))
