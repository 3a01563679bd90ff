"""Where a vault is killed. A new point is a new line of POINTS.

A point names a function as `module:qualified.name`. Its process dies before or after the nth call of it, so
that nothing of the process goes on: no handler, no flush, no rollback.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import inspect
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NoReturn

STORE = "services.request_vault.store.sqlite.engine:SqliteStore"
SQLITE = "services.request_vault.store.sqlite"
PUBLISHING = "services.request_vault.worker.publishing"


@dataclass(frozen=True)
class Point:
    """holds: a function that never begins, so that what it does cannot have happened. lingers_s: how long the
    function's thread stands still before the process dies, so that whatever others promised too early is on
    its way. asks: the function's argument, itself a function, whose calls count instead."""

    when: Literal["before", "after"]
    function: str
    holds: str | None = None
    lingers_s: float = 0.0
    asks: int | None = None


POINTS = {
    "before the commit": Point(
        "after", "services.request_vault.store.sqlite.ledger:Ledger.store_changes", lingers_s=0.2
    ),
    "after a record's commit, before its acknowledgement": Point("after", f"{STORE}.record"),
    "after an append's commit, before its answer": Point("after", f"{STORE}.append"),
    "after an answer, before its decision is published": Point(
        "after",
        "tests.services.request_vault.rounds.workload:told",
        holds=f"{PUBLISHING}:Publishing._publish_page",
    ),
    "before a decision is published": Point("before", f"{PUBLISHING}:_runs"),
    "after a decision is published, before the checkpoint": Point("before", f"{STORE}.mark_published"),
    "after the checkpoint": Point("after", f"{STORE}.mark_published"),
    "in the middle of a rebuild": Point("after", f"{STORE}.rebuild"),
    "before the commit of a swap": Point(
        "after", "services.request_vault.store.sqlite.models.building:_swap"
    ),
    "while an old model is dropped": Point("after", f"{STORE}.drop_old"),
    "before the commit of a step of retention": Point("after", f"{SQLITE}.trimming:remove", lingers_s=0.05),
    "in the middle of retention": Point("after", f"{STORE}.trim"),
    "after retention, before its disk is given back": Point("before", f"{STORE}.reclaim"),
    "after retention's disk is given back, before the files are rid of it": Point(
        "before", f"{STORE}.checkpoint"
    ),
    "in the middle of a backup": Point("after", f"{SQLITE}.copying:copy", asks=2),
    "before a backup, or its name, is on disk": Point("before", f"{SQLITE}.copying:sync"),
}


def die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("a killed process goes on")


def arm(point: Point, hits: int) -> None:
    """From now on this process dies at the point's call number `hits`."""
    left = hits

    def reached() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            time.sleep(point.lingers_s)
            die()

    def dying(function: Callable[..., Any]) -> Callable[..., Any]:
        return _dying(function, point.when, reached)

    asks = point.asks
    replace(point.function, dying if asks is None else lambda function: _asking(function, asks, dying))
    if point.holds is not None:
        replace(point.holds, lambda function: _held)


def _dying(function: Callable[..., Any], when: str, reached: Callable[[], None]) -> Callable[..., Any]:
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def awaited(*arguments: Any, **named: Any) -> Any:
            if when == "before":
                reached()
            answer = await function(*arguments, **named)
            if when == "after":
                reached()
            return answer

        return awaited

    @functools.wraps(function)
    def called(*arguments: Any, **named: Any) -> Any:
        if when == "before":
            reached()
        answer = function(*arguments, **named)
        if when == "after":
            reached()
        return answer

    return called


def _asking(
    function: Callable[..., Any], asks: int, dying: Callable[[Callable[..., Any]], Callable[..., Any]]
) -> Callable[..., Any]:
    @functools.wraps(function)
    def called(*arguments: Any) -> Any:
        return function(*arguments[:asks], dying(arguments[asks]), *arguments[asks + 1 :])

    return called


async def _held(*arguments: Any) -> NoReturn:
    await asyncio.Event().wait()
    raise AssertionError("a held function goes on")


def replace(name: str, by: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    """Put what `by` makes of a function in its place."""
    module, _, path = name.partition(":")
    owner: Any = importlib.import_module(module)
    *owners, attribute = path.split(".")
    for step in owners:
        owner = getattr(owner, step)
    setattr(owner, attribute, by(getattr(owner, attribute)))
