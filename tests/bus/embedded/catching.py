"""A consumer for tests: it catches what it is handed, and lets a test wait for it."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path

from bus.message import Subscription
from bus.transport import Delivered, Frame

ORDERS = Subscription(name="billing", patterns=("shop.order.#",))


def frame(body: str | bytes, *topics: str, suspect: bool = False) -> Frame:
    data = body.encode() if isinstance(body, str) else body
    return Frame(body=data, topics=topics or ("shop.order.placed.eu",), suspect=suspect)


class Catcher:
    """`deliver` of a consumer. With `settles` every frame is done as soon as it comes."""

    def __init__(self, *, settles: bool = False) -> None:
        self.caught: list[Delivered] = []
        self._settles = settles
        self._waiting: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []

    def __call__(self, delivered: Delivered) -> None:
        self.caught.append(delivered)
        if self._settles:
            delivered.done()
        for ready, future in self._waiting:
            if not future.done() and ready():
                future.set_result(None)

    @property
    def bodies(self) -> list[str]:
        return [delivered.frame.body.decode() for delivered in self.caught]

    async def until(self, count: int, timeout_s: float = 10.0) -> list[Delivered]:
        """Everything that was caught, once it is at least `count` frames."""

        def ready() -> bool:
            return len(self.caught) >= count

        if not ready():
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append((ready, future))
            async with asyncio.timeout(timeout_s):
                await future
        return self.caught


def leave_as_after_a_crash(journal: Path, copy: Path) -> Path:
    """What a process that dies at this moment leaves of an open journal."""
    for suffix in ("", "-wal"):
        part = journal.with_name(journal.name + suffix)
        if part.exists():
            shutil.copy(part, copy.with_name(copy.name + suffix))
    return copy
