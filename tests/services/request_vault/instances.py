"""Instances of the vault in processes of their own, on one RabbitMQ and one PostgreSQL, and a follower of
what they publish. Used by `test_instances.py`."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import bus
from bus.event import Event
from bus.message import Subscription
from bus.router import Router
from schemas import request_vault as contract

ROOT = Path(__file__).parents[3]
FOLLOWER = Subscription("follower", ("shop.thing.#",))


class Instance:
    """A vault in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def end(self) -> None:
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            try:
                async with asyncio.timeout(20):
                    await self.process.wait()
            except TimeoutError:
                self.process.kill()
                await self.process.wait()


@asynccontextmanager
async def instance(amqp_url: str, vault_url: str, folder: Path) -> AsyncIterator[Instance]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.services.request_vault.instance", amqp_url, vault_url, str(folder),
        cwd=ROOT, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    running = Instance(process)
    try:
        assert process.stdout is not None
        async with asyncio.timeout(30):
            while (line := await process.stdout.readline()).strip() != b"ready":
                assert line, "the instance ended before it was ready"
        yield running
    finally:
        await running.end()


class Follower:
    """Hears decisions from the bus."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self._more = asyncio.Condition()
        self.router = Router(FOLLOWER)
        self.router.on_batch(self.on_events)

    async def on_events(self, events: list[Event]) -> None:
        async with self._more:
            self.ids += [event.id for event in events]
            self._more.notify_all()

    async def hears(self, wanted: Sequence[str], within_s: float) -> None:
        async with asyncio.timeout(within_s), self._more:
            await self._more.wait_for(lambda: set(wanted) <= set(self.ids))


@asynccontextmanager
async def following(amqp_url: str) -> AsyncIterator[tuple[bus.Bus, Follower]]:
    follower = Follower()
    subscriptions = (*contract.SUBSCRIPTIONS, FOLLOWER)
    async with (
        bus.connect(amqp_url, source="test", subscriptions=subscriptions) as b,
        b.serve(follower.router),
    ):
        yield b, follower
