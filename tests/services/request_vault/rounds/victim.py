"""Each round's process: a whole vault on an embedded journal, until it dies at a point.

Run by `victims`, as one process that has everything imported and makes a fork of itself for each round; it
says `ended CODE` behind it. A round that does not reach its point ends with 3.
"""

from __future__ import annotations

import asyncio
import os
import sys
import traceback
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from datetime import datetime
from pathlib import Path
from random import Random
from typing import Any

import msgspec

import bus
from bus.message import Subscription
from schemas.request_vault import BODIES, LOG
from services.request_vault import service
from services.request_vault.config import Config
from services.request_vault.store.port import Store
from services.request_vault.store.postgres import engine as _postgres  # noqa: F401  (both before the first fork)
from services.request_vault.store.postgres import reclaiming
from services.request_vault.store.sqlite import copying
from services.request_vault.store.sqlite import engine as _sqlite  # noqa: F401
from services.request_vault.worker import keeping
from tests.services.grounds import a_ground
from tests.services.request_vault.rounds import dying, points, workload

FOLLOWER = Subscription("follower", ("shop.thing.#", "vault.#", "identity.#"))
JOURNAL = "bus.db"
BACKUPS = "backups"
RETENTION_EACH_S = 0.02
REACHED_WITHIN_S = 60.0
NOT_REACHED = 3


class Round(msgspec.Struct, frozen=True):
    """url: the vault's. began: when the first round did. observed, decided: every number below was
    promised."""

    engine: points.Engine
    url: str
    folder: str
    point: str
    hits: int
    seed: int
    began: datetime
    observed: int
    decided: int


async def run(this: Round) -> None:
    folder = Path(this.folder)
    url = f"embedded:{folder / JOURNAL}"
    # The follower's queue is there from the first round on; it is read after the last.
    subscriptions = (LOG, BODIES, FOLLOWER)
    opened: list[Store] = []
    dying.replace("services.request_vault.service:open_store", lambda function: _shown(function, opened))
    backups = folder / BACKUPS
    backups.mkdir(exist_ok=True)
    calendar = workload.Calendar(this.began, this.observed)
    async with bus.connect(url, source="request_vault", subscriptions=subscriptions) as b:
        ground = a_ground(b, folder, clock=calendar)
        async with service.build(Config(url=this.url, retention_interval_s=RETENTION_EACH_S), ground):
            with suppress(TimeoutError):
                async with asyncio.timeout(REACHED_WITHIN_S):
                    (store,) = opened
                    random = Random(this.seed)
                    await workload.Workload(b, store, calendar, backups, random, this.decided).run()


def _shown(
    open_store: Callable[..., AbstractAsyncContextManager[Store]], opened: list[Store]
) -> Callable[..., AbstractAsyncContextManager[Store]]:
    """The vault's own store: one engine lets no other write."""

    @asynccontextmanager
    async def shown(*arguments: Any, **named: Any) -> AsyncIterator[Store]:
        async with open_store(*arguments, **named) as store:
            opened.append(store)
            yield store

    return shown


def make_steps_small() -> None:
    """So that a small database's steps have a middle; and nothing that went is forgotten before the last
    round, which asks for it."""
    copying.STEP_PAGES = 8
    keeping.STEP_RECORDS = 40
    setattr(keeping, "IDENTITIES_S", 10 * 365 * 86_400)  # noqa: B010  (it has it from another module)
    reclaiming.MOVED_RECORDS = 2


def die_in(this: Round) -> None:
    """The fork's whole life."""
    code = 1
    try:
        os.dup2(os.open(os.devnull, os.O_RDONLY), sys.stdin.fileno())
        make_steps_small()
        dying.arm(points.POINTS[this.engine][this.point], this.hits)
        asyncio.run(run(this))
        code = NOT_REACHED
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


def main() -> None:
    for line in sys.stdin.buffer:
        this = msgspec.json.decode(line, type=Round)
        child = os.fork()
        if child == 0:
            die_in(this)
        _, status = os.waitpid(child, 0)
        # On a line of its own, also behind one that was cut off.
        print(f"\nended {os.waitstatus_to_exitcode(status)}", flush=True)


if __name__ == "__main__":
    main()
