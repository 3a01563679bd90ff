"""A consumer for tests: it catches what it is handed, and lets a test wait for it."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path

from bus.embedded import open_embedded
from bus.message import Subscription
from bus.testing import ManualClock, turns
from bus.transport import Delivered, Frame

ORDERS = Subscription(name="billing", patterns=("shop.order.#",))


def frame(body: str | bytes, *topics: str, suspect: bool = False) -> Frame:
    data = body.encode() if isinstance(body, str) else body
    return Frame(body=data, topics=topics or ("shop.order.placed.eu",), suspect=suspect)


class Catcher:
    """`deliver` of a consumer. With `settles` every frame is done as soon as it comes, with
    `settles_suspects` every suspect, so that the next one comes."""

    def __init__(self, *, settles: bool = False, settles_suspects: bool = False) -> None:
        self.caught: list[Delivered] = []
        self._settles = settles
        self._settles_suspects = settles_suspects
        self._waiting: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []

    def __call__(self, delivered: Delivered) -> None:
        self.caught.append(delivered)
        if self._settles or (self._settles_suspects and delivered.frame.suspect):
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


async def reopened(
    journal: Path, clock: ManualClock, *subscriptions: Subscription
) -> dict[str, list[tuple[str, int]]]:
    """(body, returned) of what each subscription still gets from a journal. Suspects are settled, the rest
    given back."""
    async with open_embedded(journal, clock=clock) as transport:
        found: dict[str, list[tuple[str, int]]] = {}
        for subscription in subscriptions:
            depth = (await transport.queue_depths([subscription]))[subscription.name]
            caught = Catcher(settles_suspects=True)
            await transport.consume(subscription, caught, window_frames=100_000, window_bytes=1 << 30)
            await caught.until(depth)
            await turns()
            assert len(caught.caught) == depth
            found[subscription.name] = [(one.frame.body.decode(), one.returned) for one in caught.caught]
        return found
