"""How a vault is killed at a point: functions are replaced by ones that end the process."""

from __future__ import annotations

import asyncio
import functools
import importlib
import inspect
import os
import signal
import time
from collections.abc import Callable
from typing import Any, NoReturn

from tests.services.request_vault.rounds.points import Point


def die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("a killed process goes on")


def arm(point: Point, hits: int) -> None:
    """From now on this process dies at the point's call number `hits`."""
    left = hits

    def reached() -> bool:
        nonlocal left
        left -= 1
        return left == 0

    def dying(function: Callable[..., Any]) -> Callable[..., Any]:
        return _dying(function, point, reached)

    asks = point.asks
    replace(point.function, dying if asks is None else lambda function: _asking(function, asks, dying))
    if point.holds is not None:
        replace(point.holds, lambda function: _held)


def replace(name: str, by: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    """Put what `by` makes of a function (`module:qualified.name`) in its place."""
    module, _, path = name.partition(":")
    owner: Any = importlib.import_module(module)
    *owners, attribute = path.split(".")
    for step in owners:
        owner = getattr(owner, step)
    setattr(owner, attribute, by(getattr(owner, attribute)))


def _dying(function: Callable[..., Any], point: Point, reached: Callable[[], bool]) -> Callable[..., Any]:
    def is_it(*arguments: Any, **named: Any) -> bool:
        return (point.counts is None or point.counts(*arguments, **named)) and reached()

    def end() -> None:
        time.sleep(point.lingers_s)
        die()

    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def awaited(*arguments: Any, **named: Any) -> Any:
            now = is_it(*arguments, **named)
            if now and point.when == "before":
                end()
            if now and point.when == "amid":
                # Runs when the function waits for the first time: what it has sent by then is sent.
                asyncio.get_running_loop().call_soon(end)
            answer = await function(*arguments, **named)
            if now:
                end()
            return answer

        return awaited

    @functools.wraps(function)
    def called(*arguments: Any, **named: Any) -> Any:
        now = is_it(*arguments, **named)
        if now and point.when == "before":
            end()
        answer = function(*arguments, **named)
        if now:
            end()
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
