"""Starts worker programs, listens to what they tell, and kills them."""

from __future__ import annotations

import asyncio
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.conformance.houses import House

ROOT = Path(__file__).parents[2]


class Worker:
    """One worker process. `told` is everything it has said, read so far."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self.told: list[str] = []

    async def says(self, line: str, timeout_s: float = 30.0) -> None:
        """Return once it has said `line`; fail if it ends before."""
        async with asyncio.timeout(timeout_s):
            while line not in self.told:
                assert await self._read(), f"the worker ended without {line!r}; it said {self.told[-5:]}"

    async def says_many(self, word: str, count: int, timeout_s: float = 30.0) -> None:
        """Return once it has said `word` with at least `count` numbers."""
        async with asyncio.timeout(timeout_s):
            while len(self.numbers(word)) < count:
                assert await self._read(), f"the worker ended; it said {self.told[-5:]}"

    def numbers(self, word: str) -> list[int]:
        """The numbers that it said after this word."""
        return [int(line.split()[1]) for line in self.told if line.startswith(f"{word} ")]

    async def kill(self) -> None:
        """SIGKILL; what it said up to its death is read."""
        if self._process.returncode is None:
            self._process.kill()
        await self.ended()

    async def terminate(self) -> None:
        """SIGTERM, and wait for its orderly end."""
        self._process.send_signal(signal.SIGTERM)
        assert await self.ended() == 0, self.told[-5:]

    async def ended(self, timeout_s: float = 30.0) -> int:
        """Its exit code (negative: the signal), once it has ended."""
        async with asyncio.timeout(timeout_s):
            while await self._read():
                pass
            return await self._process.wait()

    async def _read(self) -> bool:
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if line.endswith(b"\n"):
            self.told.append(line.decode().strip())
        return bool(line)


@asynccontextmanager
async def worker(house: House, *arguments: object) -> AsyncIterator[Worker]:
    """A worker program on this house; killed on exit if it still runs."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.conformance.worker",
        house.address,
        *map(str, arguments),
        cwd=ROOT,
        stdout=PIPE,
    )
    running = Worker(process)
    try:
        yield running
    finally:
        await running.kill()
