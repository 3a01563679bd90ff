"""One round's process: a whole vault on an embedded journal, until it dies at a point. `python -m
tests.services.request_vault.rounds.victim FOLDER POINT HITS SEED OBSERVED DECIDED`; exits with 3 when the
point was not reached."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from random import Random
from typing import Any

import bus
from bus.message import Subscription
from schemas.request_vault import BODIES, LOG
from services.chassis.host import Ground
from services.request_vault import service
from services.request_vault.config import Config
from services.request_vault.store.port import Store
from services.request_vault.store.sqlite import copying
from tests.services.request_vault.rounds import points, workload

FOLLOWER = Subscription("follower", ("shop.thing.#",))
JOURNAL = "bus.db"
BACKUPS = "backups"
BACKUP_STEP_PAGES = 8  # so that the copy of a small database has a middle
REACHED_WITHIN_S = 15.0


async def run(folder: Path, random: Random, observed: int, decided: int) -> None:
    url = f"embedded:{folder / JOURNAL}"
    # The follower's queue is there from the first round on; it is read after the last.
    subscriptions = (LOG, BODIES, FOLLOWER)
    opened: list[Store] = []
    points.replace("services.request_vault.service:open_store", lambda function: _shown(function, opened))
    backups = folder / BACKUPS
    backups.mkdir(exist_ok=True)
    async with bus.connect(url, source="request_vault", subscriptions=subscriptions) as b:
        ground = Ground(bus=b, clock=b.clock, ids=b.ids, data_dir=folder, announce=lambda name, value: None)
        async with service.build(Config(), ground):
            with suppress(TimeoutError):
                async with asyncio.timeout(REACHED_WITHIN_S):
                    (store,) = opened
                    await workload.Workload(b, store, backups, random, observed, decided).run()


def _shown(
    open_store: Callable[..., AbstractAsyncContextManager[Store]], opened: list[Store]
) -> Callable[..., AbstractAsyncContextManager[Store]]:
    """The vault's own store: it is the only one that may write."""

    @asynccontextmanager
    async def shown(*arguments: Any, **named: Any) -> AsyncIterator[Store]:
        async with open_store(*arguments, **named) as store:
            opened.append(store)
            yield store

    return shown


def main(folder: str, point: str, hits: str, seed: str, observed: str, decided: str) -> None:
    copying.STEP_PAGES = BACKUP_STEP_PAGES
    points.arm(points.POINTS[point], int(hits))
    asyncio.run(run(Path(folder), Random(int(seed)), int(observed), int(decided)))
    sys.exit(3)


if __name__ == "__main__":
    main(*sys.argv[1:])
