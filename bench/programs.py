"""Other programs as sides of a measurement: started, waited for, ended."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import secrets
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any


@asynccontextmanager
async def program(
    *command: str, env: Mapping[str, str] | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, env={**os.environ, **(env or {})}
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def said(process: asyncio.subprocess.Process) -> dict[str, Any]:
    """The first line a program prints, as JSON."""
    assert process.stdout is not None
    async with asyncio.timeout(60):
        words: dict[str, Any] = json.loads(await process.stdout.readline())
    return words


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def listening(port: int) -> None:
    async with asyncio.timeout(30):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.1)
            else:
                writer.close()
                return


def settings(folder: str, bus_url: str) -> dict[str, str]:
    """An installation of its own: free ports, a key, and targets on this machine."""
    return {
        "TRUNKLINE_DATA_DIR": folder,
        "TRUNKLINE_BUS_URL": bus_url,
        "TRUNKLINE_GATEWAY_PORT": str(free_port()),
        "TRUNKLINE_API_PORT": str(free_port()),
        "TRUNKLINE_LOG_LEVEL": "error",
        "TRUNKLINE_TARGETS_ALLOW": "loopback",
        "TRUNKLINE_API_RATE_PER_S": "10000",
        "TRUNKLINE_API_RATE_BURST": "10000",
        "TRUNKLINE_SECRET_KEY": base64.urlsafe_b64encode(secrets.token_bytes(32)).rstrip(b"=").decode(),
    }
