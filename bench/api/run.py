"""Runs the API's measurements: a list of 50 calls over HTTP, and asks over the bus alone, at 100 a second.

Vault (SQLite), identity, API and gateway are four processes on one RabbitMQ; the bucket holds CALLS calls.
Each request is sent when it is due, not when the one before was answered."""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
import tomllib
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bench.programs import program, said, settings
from bench.report import Report, percentile
from bench.vault import traffic
from bus.connect import connect
from schemas.identity import GetBucket
from schemas.request_vault import SearchCalls
from schemas.traffic_gateway import CallCaptured
from services import catalog

SERVICES = ("request_vault", "identity", "api", "traffic_gateway")
CALLS = 10_000
RATE = 100
SECONDS = 20.0
CONNECTIONS = 4
PYTHON = sys.executable


async def run(amqp_url: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        env = settings(folder, amqp_url)
        async with AsyncExitStack() as stack:
            for name in SERVICES:
                await stack.enter_async_context(program(PYTHON, "-m", "services", "run", name, env=env))
            setup = program(PYTHON, "-m", "services", "setup", "--json", env=env)
            found = await said(await stack.enter_async_context(setup))
            token = tomllib.loads((Path(folder) / "credentials.toml").read_text())["token"]
            await _fill(amqp_url, found["bucket"])
            path = f"/v1/buckets/{found['bucket']}/calls?limit=50"
            await _listed(found["api_url"], path, token, seconds=2.0)  # warm
            listed = await _listed(found["api_url"], path, token, seconds=SECONDS)
            asked = await _asked(amqp_url, found["bucket"])
    report = Report(
        "api-latency",
        f"API over RabbitMQ: {RATE} a second, milliseconds",
        'make bench ARGS="api"',
        ["", "p50", "p99", "slowest", "failed"],
        notes=[
            f"{SECONDS:g} s each; a bucket of {CALLS:,} calls; vault on SQLite, four processes, load and "
            "broker on the same two cores."
        ],
    )
    report.add("GET a list of 50 calls", *_told(*listed))
    for name, measured in asked.items():
        report.add(name, *_told(*measured))
    report.publish()


def _told(latencies_ms: list[float], failed: int) -> tuple[float, float, float, int]:
    return percentile(latencies_ms, 0.5), percentile(latencies_ms, 0.99), max(latencies_ms), failed


async def _fill(amqp_url: str, bucket: str) -> None:
    """CALLS calls of this bucket, until the vault lists the last of them."""
    async with connect(
        amqp_url, source="traffic_gateway", subscriptions=catalog.contracts().subscriptions
    ) as bus:
        published: list[Awaitable[Any]] = []
        last = ""
        for event in traffic.calls(CALLS):
            call = event.read(CallCaptured)
            last = bus.ids.new()
            fact = _in_bucket(call, bucket, last)
            published.append(asyncio.ensure_future(bus.publish(fact, key=bucket, subject=last)))
        await asyncio.gather(*published)
        async with asyncio.timeout(120):
            while True:
                page = await bus.ask(SearchCalls(bucket, limit=1))
                if page.calls and page.calls[0].id == last:
                    return
                await asyncio.sleep(0.1)


def _in_bucket(call: CallCaptured, bucket: str, id: str) -> CallCaptured:
    import msgspec

    return msgspec.structs.replace(call, bucket=bucket, id=id)


async def _at_rate(
    one: Callable[[], Awaitable[bool]], offset: int, step: int, seconds: float, began: float
) -> tuple[list[float], int]:
    latencies: list[float] = []
    failed = 0
    for number in range(offset, round(RATE * seconds), step):
        due = began + number / RATE
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        sent = time.monotonic()
        failed += not await one()
        latencies.append(1000 * (time.monotonic() - sent))
    return latencies, failed


async def _listed(api_url: str, path: str, token: str, *, seconds: float) -> tuple[list[float], int]:
    parts = urlsplit(api_url)
    assert parts.hostname is not None
    assert parts.port is not None
    request = (
        f"GET {path} HTTP/1.1\r\nHost: {parts.netloc}\r\nAuthorization: Bearer {token}\r\n\r\n"
    ).encode()
    began = time.monotonic() + 0.2
    host, port = parts.hostname, parts.port

    async def client(offset: int) -> tuple[list[float], int]:
        reader, writer = await asyncio.open_connection(host, port)

        async def one() -> bool:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            lower = head.lower()
            at = lower.index(b"content-length:") + 15
            body = await reader.readexactly(int(lower[at : lower.index(b"\r\n", at)]))
            return head.startswith(b"HTTP/1.1 200") and len(json.loads(body)["calls"]) == 50

        try:
            return await _at_rate(one, offset, CONNECTIONS, seconds, began)
        finally:
            writer.close()

    return _together(await asyncio.gather(*(client(offset) for offset in range(CONNECTIONS))))


async def _asked(amqp_url: str, bucket: str) -> dict[str, tuple[list[float], int]]:
    found: dict[str, tuple[list[float], int]] = {}
    async with connect(amqp_url, source="bench") as bus:

        async def get_bucket() -> bool:
            return (await bus.ask(GetBucket(bucket))).key == bucket

        async def search() -> bool:
            return len((await bus.ask(SearchCalls(bucket, limit=50))).calls) == 50

        asks = {"ask identity for a bucket": get_bucket, "ask the vault for 50 calls": search}
        for name, one in asks.items():
            await _at_rate(one, 0, 1, 1.0, time.monotonic())  # warm
            found[name] = await _at_rate(one, 0, 1, SECONDS, time.monotonic() + 0.2)
    return found


def _together(parts: list[tuple[list[float], int]]) -> tuple[list[float], int]:
    return [one for latencies, _ in parts for one in latencies], sum(failed for _, failed in parts)
