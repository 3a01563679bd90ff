"""A process that rebuilds the read model of calls while it records, and kills itself at a named point. Run by
`test_rebuild_crashes.py`; prints how many calls are durable.

begin, part, swap: in the transaction, before its commit. swapped: after it. drop: while the old tables go.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bus.clock import SystemClock
from schemas.request_vault import CallAnnotated, CallDeleted, CallStarred
from services.request_vault.store import open_store
from services.request_vault.store.port import Store
from services.request_vault.store.sqlite.models import building
from tests.conformance.vault.marking import mark
from tests.services.request_vault.samples import BUCKET, captured

CALLS = 120
STEP = 20
POINTS = {
    "begin": ("begin", 1),
    "part": ("put_in", 3),
    "swap": ("_swap", 1),
    "drop": ("drop_old", 3),
}


async def fill(store: Store) -> None:
    await store.record([captured(f"c-{n}") for n in range(CALLS)])
    await mark(store, CallStarred("c-0", BUCKET), CallAnnotated("c-0", BUCKET, "note", ("t",)))
    await mark(store, CallStarred("c-1", BUCKET), CallDeleted("c-2", BUCKET))


async def rebuild(store: Store, recorded: Callable[[int], None]) -> None:
    number = CALLS
    while True:
        await store.record([captured(f"c-{number}")])
        await mark(store, CallStarred(f"c-{number}", BUCKET))
        number += 1
        recorded(number)
        if (await store.rebuild("calls", STEP)).state == "ready":
            return


async def run(folder: Path, point: str) -> None:
    async with open_store("sqlite:", folder, SystemClock(), partitions=1, readers=1) as store:
        await fill(store)
        await rebuild(store, lambda number: print(number, flush=True))
        if point == "swapped":
            die()
        while await store.drop_old(STEP):
            pass


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_in(name: str, times: int) -> None:
    """Kill the process at the end of the function's call number `times`, before its commit."""
    function = getattr(building, name)
    calls = 0

    def dying(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        result = function(*arguments)
        if calls == times:
            die()
        return result

    setattr(building, name, dying)


def main() -> None:
    folder, point = Path(sys.argv[1]), sys.argv[2]
    if point in POINTS:
        die_in(*POINTS[point])
    asyncio.run(run(folder, point))


if __name__ == "__main__":
    main()
