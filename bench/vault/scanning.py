"""Reads or rebuilds a vault from its log: `python -m bench.vault.scanning scan|rebuild URL FOLDER`. Prints
`{"count", "seconds", "rss_mb"}`."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import uvloop

from bench.vault.sides import opened, resident_mb, say
from schemas.request_vault import MAX_PAGE
from services.request_vault.store.port import Selection, Store
from services.request_vault.worker.rebuilding import STEP_RECORDS


async def scan(store: Store) -> int:
    """Every event of the log, from its beginning, in full pages."""
    count = 0
    reached: dict[int, int] = {}
    more = True
    while more:
        page = await store.read_log(Selection(), reached, MAX_PAGE)
        count += len(page.records)
        reached, more = page.reached, page.more
    return count


async def rebuild(store: Store) -> int:
    """How many calls the read model has that was built anew, step by step, and took the old one's place."""
    while (await store.rebuild("calls", STEP_RECORDS)).state != "ready":
        pass
    return (await store.stats()).calls


async def main(what: str, url: str, folder: Path) -> None:
    async with opened(url, folder) as store:
        began = time.monotonic()
        count = await (scan(store) if what == "scan" else rebuild(store))
        seconds = time.monotonic() - began
    say(count=count, seconds=seconds, rss_mb=resident_mb())


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], sys.argv[2], Path(sys.argv[3])))
