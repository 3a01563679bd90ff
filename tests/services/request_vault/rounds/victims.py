"""The victims, seen from the test: one after the other is killed, and what it had said by then is told."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import msgspec

from tests.services.request_vault.rounds.victim import Round

SHOWN_BYTES = 4000
ROOT = Path(__file__).parents[4]


class Victims:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def kill(self, this: Round) -> list[list[str]]:
        """The words of each line that was whole when it died."""
        source, target = self._process.stdout, self._process.stdin
        assert source is not None
        assert target is not None
        target.write(msgspec.json.encode(this) + b"\n")
        await target.drain()
        lines: list[bytes] = []
        while not (line := await source.readline()).startswith(b"ended "):
            assert line, "there are no more victims"
            lines.append(line)
        code = int(line.split()[1])
        said = b"".join(line for line in lines if not line.startswith(b"promised "))[-SHOWN_BYTES:]
        assert code == -signal.SIGKILL, f"{this.point!r}, call {this.hits}: {code}\n{said.decode()}"
        # The last one ends with the line break that stands before `ended`.
        return [line.decode().split() for line in lines[:-1]]


@asynccontextmanager
async def victims() -> AsyncIterator[Victims]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.services.request_vault.rounds.victim", cwd=ROOT,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    try:
        yield Victims(process)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
