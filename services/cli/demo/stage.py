"""A running installation for the demo: `trunkline up` in a process of its own, on free ports, which can be
killed and started again on the same data."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import aiohttp

from services.cli import credentials
from services.cli.exits import Trouble

READY_WITHIN_S = 15.0
END_WITHIN_S = 15.0


class Stage:
    """One data folder and, while it runs, the process on it."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self._ports = (_free_port(), _free_port())
        self._process: asyncio.subprocess.Process | None = None
        self.found = credentials.Credentials()

    async def start(self) -> None:
        """Return when everything is ready. Raises Trouble."""
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "services", "up", "--json", "--data-dir", str(self.data_dir)),
            stdout=asyncio.subprocess.PIPE,
            env=self._environment(),
            start_new_session=True,  # Ctrl-C ends the demo, which then ends this
        )
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(READY_WITHIN_S):
                line = await self._process.stdout.readline()
        except TimeoutError:
            line = b""
        if not line:
            raise Trouble("`trunkline up` did not start", remedy="Run it by itself and read what it says.")
        stored = credentials.read(self.data_dir / credentials.FILE_NAME)
        assert stored is not None
        self.found = stored

    async def kill(self) -> None:
        """kill -9: nothing gets a chance to tidy up."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> None:
        if self._process is not None and self._process.returncode is None:
            await self._end(signal.SIGTERM)

    async def _end(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)
        try:
            async with asyncio.timeout(END_WITHIN_S):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    def _environment(self) -> dict[str, str]:
        gateway, api = self._ports
        ours = {"TRUNKLINE_GATEWAY_PORT": str(gateway), "TRUNKLINE_API_PORT": str(api)}
        # The demo is about its own installation, whatever this shell is set up for.
        outside = {name: value for name, value in os.environ.items() if not name.startswith("TRUNKLINE_")}
        return outside | ours | {"TRUNKLINE_LOG_LEVEL": "error"}

    async def make_strict_bucket(self, session: aiohttp.ClientSession, key: str) -> None:
        """A bucket whose answers are held until their capture is on disk."""
        body = {"name": "orders, strictly", "capture": "strict"}
        await self.api(session, "PUT", f"/v1/buckets/{key}", json_body=body)

    async def api(
        self, session: aiohttp.ClientSession, method: str, path: str, *, json_body: Any = None
    ) -> dict[str, Any]:
        """What the API answers. Raises Trouble unless it is a success."""
        headers = {"Authorization": f"Bearer {self.found.token}"}
        url = f"{self.found.api_url}{path}"
        async with session.request(method, url, json=json_body, headers=headers) as response:
            text = await response.text()
            if response.status >= 300:
                raise Trouble(f"the API answered {response.status} to {method} {path}: {text[:300]}")
            answer: dict[str, Any] = json.loads(text)
            return answer


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
