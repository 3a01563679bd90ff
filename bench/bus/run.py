"""Runs the bus measurements: throughput over RabbitMQ, latency at low load, and the embedded transport."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.bus import embedded
from bench.report import Report, middle, percentile

ROUNDS = 3
FASTSTREAM = Path(".venv-faststream/bin/python")
TRUNKLINE = [sys.executable, "-m", "bench.bus.with_trunkline"]
AIO_PIKA = [sys.executable, "-m", "bench.bus.with_aio_pika"]
COUNTS = {"trunkline": 200_000, "aio-pika": 20_000, "faststream": 5_000}


async def _side(command: Sequence[str], *arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(*command, *arguments, stdout=asyncio.subprocess.PIPE)


async def _line(process: asyncio.subprocess.Process) -> dict[str, Any]:
    assert process.stdout is not None
    line = await process.stdout.readline()
    if not line:
        raise SystemExit(f"a side of the measurement ended with {await process.wait()}")
    words: dict[str, Any] = json.loads(line)
    return words


async def _run(
    command: Sequence[str], url: str, count: int, *more: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    consumer = await _side(command, "consume", url, str(count), *more)
    await _line(consumer)
    publisher = await _side(command, "publish", url, str(count), *more)
    published = await _line(publisher)
    consumed = await _line(consumer)
    await publisher.wait()
    await consumer.wait()
    return published, consumed


async def throughput(url: str) -> None:
    report = Report(
        "bus-throughput",
        "Bus over RabbitMQ: one publishing and one consuming process; durable, confirmed, acknowledged",
        'make bench ARGS="bus"',
        ["", "events", "published/s", "handled/s", "end to end/s", "x FastStream", "x aio-pika"],
    )
    commands = {
        "trunkline": TRUNKLINE,
        "aio-pika": AIO_PIKA,
        "faststream": [str(FASTSTREAM), "bench/bus/with_faststream.py"],
    }
    rates: dict[str, list[tuple[float, float, float]]] = {name: [] for name in commands}
    for _ in range(ROUNDS):
        for name, command in commands.items():
            count = COUNTS[name]
            published, consumed = await _run(command, url, count)
            rates[name].append(
                (
                    count / (published["ended"] - published["began"]),
                    count / (consumed["last"] - consumed["first"]),
                    count / (max(consumed["last"], published["ended"]) - published["began"]),
                )
            )
    middles = {name: [middle([run[i] for run in runs]) for i in range(3)] for name, runs in rates.items()}
    for name, values in middles.items():
        report.add(
            name,
            COUNTS[name],
            *values,
            values[2] / middles["faststream"][2],
            values[2] / middles["aio-pika"][2],
        )
    report.notes = [f"Medians of {ROUNDS} rounds, the three in turn; about 450 bytes an event."]
    report.publish()


async def latency(url: str) -> None:
    report = Report(
        "bus-latency",
        "One event at low load (100 a second): from before publish() until its handler runs, ms",
        'make bench ARGS="bus"',
        ["", "p50", "p99", "p99 x aio-pika"],
    )
    delays: dict[str, list[float]] = {"trunkline": [], "aio-pika": []}
    for _ in range(ROUNDS):
        for name, command in (("trunkline", TRUNKLINE), ("aio-pika", AIO_PIKA)):
            _, consumed = await _run(command, url, 500, "latency")
            delays[name] += [1000 * delay for delay in consumed["delays"]]
    base = percentile(delays["aio-pika"], 0.99)
    for name, values in delays.items():
        report.add(name, percentile(values, 0.5), percentile(values, 0.99), percentile(values, 0.99) / base)
    report.publish()


async def run(url: str) -> None:
    await throughput(url)
    await latency(url)
    await embedded.run()
