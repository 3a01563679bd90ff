"""`trunkline up`: from the command to the first captured call, and the memory of the whole system when it is
idle."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from bench.report import Report, middle

ROUNDS = 5
IDLE_S = 5.0


def _free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]


def _get(url: str, token: str | None = None) -> bytes:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=5) as response:
        body: bytes = response.read()
        return body


async def _once(upstream: int) -> tuple[float, float, float]:
    """(seconds to ready, seconds to the first call that `calls` shows, megabytes when idle)."""
    with tempfile.TemporaryDirectory() as folder:
        gateway, api = _free_ports()
        env = {
            **os.environ,
            "TRUNKLINE_DATA_DIR": folder,
            "TRUNKLINE_GATEWAY_PORT": str(gateway),
            "TRUNKLINE_API_PORT": str(api),
        }
        began = time.monotonic()
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "services", "up", "--json", stdout=asyncio.subprocess.PIPE, env=env
        )
        try:
            assert process.stdout is not None
            found = json.loads(await process.stdout.readline())
            ready_s = time.monotonic() - began
            url = f"http://127.0.0.1:{gateway}/{found['bucket']}/http://127.0.0.1:{upstream}/first"
            await asyncio.to_thread(_get, url)
            token = next(
                line.split('"')[1]
                for line in (Path(folder) / "credentials.toml").read_text().splitlines()
                if line.startswith("token")
            )
            calls = f"http://127.0.0.1:{api}/v1/buckets/{found['bucket']}/calls"
            while not json.loads(await asyncio.to_thread(_get, calls, token))["calls"]:
                await asyncio.sleep(0.005)
            captured_s = time.monotonic() - began
            await asyncio.sleep(IDLE_S)
            return ready_s, captured_s, _resident_mb(process.pid)
        finally:
            process.terminate()
            await process.wait()


def _resident_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise ValueError(f"no VmRSS of {pid}")


async def run() -> None:
    upstream = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.gateway.upstream", stdout=asyncio.subprocess.PIPE
    )
    try:
        assert upstream.stdout is not None
        port = json.loads(await upstream.stdout.readline())["port"]
        rounds = [await _once(port) for _ in range(ROUNDS)]
    finally:
        upstream.terminate()
        await upstream.wait()
    report = Report(
        "startup",
        "trunkline up: a first start in an empty folder",
        'make bench ARGS="startup"',
        ["", "to ready s", "to first captured call s", "idle memory MB"],
        notes=[
            f"Medians of {ROUNDS} starts; memory is the resident set of the one process, {IDLE_S:g} s after."
        ],
    )
    report.add("trunkline up", *(middle([each[i] for each in rounds]) for i in range(3)))
    report.publish()
