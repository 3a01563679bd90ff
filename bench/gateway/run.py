"""Runs the gateway measurements: calls a second at 32 connections, and added latency at 200 calls a
second."""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from bench.programs import free_port, listening, program, said, settings
from bench.report import Report, middle, percentile

ROUNDS = 3
SECONDS = 5.0
STEADY_SECONDS = 5.0
MITMDUMP = Path(".venv-mitmproxy/bin/mitmdump")
PYTHON = sys.executable
TARGET = "/orders/o-0001?x=y"

Side = tuple[str, int, str]
"""What is measured, where it listens, and the path that leads to the upstream."""


@asynccontextmanager
async def _mitmdump(upstream: int) -> AsyncIterator[Side]:
    port = free_port()
    mode = f"reverse:http://127.0.0.1:{upstream}"
    async with program(str(MITMDUMP), "-q", "--mode", mode, "--listen-host", "127.0.0.1", "-p", str(port)):
        await listening(port)
        yield "mitmdump, reverse mode", port, TARGET


@asynccontextmanager
async def _bare(upstream: int) -> AsyncIterator[Side]:
    async with program(PYTHON, "-m", "bench.gateway.bare_proxy", str(upstream)) as process:
        yield "bare aiohttp proxy", (await said(process))["port"], TARGET


@asynccontextmanager
async def _up(upstream: int, bus_url: str = "embedded:") -> AsyncIterator[Side]:
    """Everything in one process: gateway, vault, identity, API."""
    with tempfile.TemporaryDirectory() as folder:
        env = settings(folder, bus_url)
        async with program(PYTHON, "-m", "services", "up", "--json", env=env) as process:
            bucket = (await said(process))["bucket"]
            path = f"/{bucket}/http://127.0.0.1:{upstream}{TARGET}"
            yield "trunkline up, one process", int(env["TRUNKLINE_GATEWAY_PORT"]), path


@asynccontextmanager
async def _gateway(upstream: int, bus_url: str) -> AsyncIterator[Side]:
    """The gateway as a process of its own: what it knows of buckets it keeps in its snapshot."""
    with tempfile.TemporaryDirectory() as folder:
        env = settings(folder, bus_url)
        async with program(PYTHON, "-m", "services", "up", "--json", env=env) as process:
            bucket = (await said(process))["bucket"]
        async with program(PYTHON, "-m", "services", "run", "traffic_gateway", env=env):
            port = int(env["TRUNKLINE_GATEWAY_PORT"])
            await listening(port)
            yield "trunkline gateway, RabbitMQ", port, f"/{bucket}/http://127.0.0.1:{upstream}{TARGET}"


async def _load(kind: str, port: int, path: str, seconds: float) -> dict[str, Any]:
    async with program(PYTHON, "-m", "bench.gateway.load", kind, str(port), path, str(seconds)) as process:
        assert process.stdout is not None
        words: dict[str, Any] = json.loads(await process.stdout.readline())
        return words


async def run(amqp_url: str) -> None:
    flooded: dict[str, list[float]] = {}
    latencies: dict[str, list[float]] = {}
    failed: dict[str, int] = {}
    async with AsyncExitStack() as stack:
        upstream_process = await stack.enter_async_context(program(PYTHON, "-m", "bench.gateway.upstream"))
        upstream = (await said(upstream_process))["port"]
        for _ in range(ROUNDS):
            sides = (_mitmdump(upstream), _bare(upstream), _gateway(upstream, amqp_url), _up(upstream))
            for side in sides:
                async with side as (name, port, path):
                    await _load("flood", port, path, 1.0)  # warm
                    flood = await _load("flood", port, path, SECONDS)
                    flooded.setdefault(name, []).append(flood["calls"] / flood["seconds"])
                    failed[name] = failed.get(name, 0) + flood["failed"]
                    await asyncio.sleep(1.0)  # let what is still being written settle
                    steady = await _load("steady", port, path, STEADY_SECONDS)
                    latencies.setdefault(name, []).extend(steady["latencies_ms"])
            steady = await _load("steady", upstream, TARGET, STEADY_SECONDS)
            latencies.setdefault("the upstream itself", []).extend(steady["latencies_ms"])
    _report(flooded, failed, latencies)


def _report(
    flooded: dict[str, list[float]], failed: dict[str, int], latencies: dict[str, list[float]]
) -> None:
    report = Report(
        "gateway-throughput",
        "Gateway: 32 keep-alive connections, every call captured, same upstream",
        'make bench ARGS="gateway"',
        ["", "calls/s", "failed", "x mitmdump", "x bare proxy"],
        notes=[f"Medians of {ROUNDS} rounds of {SECONDS:g} s, in turn; load and upstream share the cores."],
    )
    rates = {name: middle(runs) for name, runs in flooded.items()}
    for name, rate in rates.items():
        report.add(
            name,
            rate,
            failed[name],
            rate / rates["mitmdump, reverse mode"],
            rate / rates["bare aiohttp proxy"],
        )
    report.publish()
    report = Report(
        "gateway-latency",
        "Gateway: latency at 200 calls a second, milliseconds",
        'make bench ARGS="gateway"',
        ["", "p50", "p99", "p50 added"],
    )
    direct = percentile(latencies["the upstream itself"], 0.5)
    for name, values in latencies.items():
        report.add(name, percentile(values, 0.5), percentile(values, 0.99), percentile(values, 0.5) - direct)
    report.publish()
