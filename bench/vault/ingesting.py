"""The vault takes a backlog of calls from an embedded bus: `python -m bench.vault.ingesting URL FOLDER COUNT
EVENT_BYTES`.

The bus's journal is filled first; then the vault starts, and the time is taken from when it is ready until
the last call is committed, rows of the read model included. Prints `{"calls", "seconds", "batch_events"}`.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

import uvloop

import bus
from bench.vault import traffic
from bench.vault.sides import POLL_S, calls_in, say, vault
from schemas.request_vault import LOG
from services.request_vault.config import Config

EMIT_EVENTS = 256


async def main(url: str, folder: Path, count: int, event_bytes: int) -> None:
    journal = f"embedded:{folder / 'bus.db'}"
    async with bus.connect(journal, source="traffic_gateway", subscriptions=(LOG,)) as b:
        for batch in traffic.batches(traffic.sized_calls(count, event_bytes), EMIT_EVENTS):
            await b.emit(*batch)
        async with vault(b, url, folder):
            before = await calls_in(b)
            began = time.monotonic()
            while await calls_in(b) < count:
                await asyncio.sleep(POLL_S)
            seconds = time.monotonic() - began
        say(calls=count - before, seconds=seconds, batch_events=Config().batch_events)


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])))
