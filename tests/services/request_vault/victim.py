"""A process that records into a vault until it is killed. Run by `test_crashes.py`; speaks one line per
thing that is durable.

store FOLDER      batches through the store, `<recorded so far>` after each handler FOLDER    a whole
vault on an embedded journal; kills itself after a commit, before the acknowledgement publish FOLDER    a
whole vault on an embedded journal; kills itself after a decision is on the bus, before the checkpoint
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import bus
from bus.clock import SystemClock
from bus.event import Event
from bus.message import Subscription
from schemas.request_vault import LOG, NO_STREAM, Append
from services.request_vault import service
from services.request_vault.config import Config
from services.request_vault.store import open_store
from services.request_vault.store.port import Ingested
from services.request_vault.store.sqlite.engine import SqliteStore
from tests.services.grounds import a_ground
from tests.services.request_vault.samples import captured, decision, order

FOLLOWER = Subscription("follower", ("shop.thing.#",))


def die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("a killed process goes on")


async def run_store(folder: Path) -> None:
    async with open_store("sqlite:", folder, SystemClock(), partitions=1, readers=1) as store:
        number = 0
        while True:
            await store.record([captured(f"c-{number + n}") for n in range(20)])
            await store.append(f"shop.thing-{number}", NO_STREAM, [decision(f"d-{number}")])
            number += 20
            print(number, flush=True)


async def run_vault(folder: Path) -> None:
    # The follower's queue exists before anything is published, though nobody reads it yet.
    url = f"embedded:{folder / 'bus.db'}"
    async with bus.connect(url, source="request_vault", subscriptions=(LOG, FOLLOWER)) as b:
        ground = a_ground(b, folder)
        async with service.build(Config(), ground):
            shop = b.as_source("shop")
            await shop.emit(*[order(number) for number in range(20)])
            await shop.ask(Append("shop.thing-a", NO_STREAM, (decision("d-1"), decision("d-2"))))
            await asyncio.Event().wait()


def main() -> None:
    what, folder = sys.argv[1], Path(sys.argv[2])
    if what == "store":
        asyncio.run(run_store(folder))
    record = SqliteStore.record

    async def record_and_die(self: SqliteStore, events: Sequence[Event]) -> Ingested:
        await record(self, events)
        die()

    async def die_instead(self: SqliteStore, number: int) -> None:
        die()

    patched: Any = SqliteStore
    if what == "handler":
        patched.record = record_and_die
    else:
        patched.mark_published = die_instead
    asyncio.run(run_vault(folder))


if __name__ == "__main__":
    main()
