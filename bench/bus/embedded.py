"""The embedded transport: publishers and a handler in one process, every event durable (journal on disk,
synchronous=FULL)."""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path

from bench.bus.sides import Counter, fields
from bench.bus.with_trunkline import PUBLISHERS, SUBSCRIPTION, OrderPlaced
from bench.report import Report, middle
from bus import Delivery, Router, connect

COUNT = 100_000
ROUNDS = 3


async def measure(folder: Path, count: int) -> tuple[float, float]:
    """(published, end to end) events a second."""
    counter = Counter(count)
    router = Router(SUBSCRIPTION)

    async def on_order_placed(order: OrderPlaced, delivery: Delivery) -> None:
        counter.tick()

    router.on(OrderPlaced, on_order_placed)
    async with connect(f"embedded:{folder / 'bus.db'}", source="bench") as bus, bus.serve(router):
        numbers = iter(range(count))

        async def publisher() -> None:
            for number in numbers:
                values = fields(number)
                await bus.publish(OrderPlaced(**values), key=values["service"])

        began = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            for _ in range(PUBLISHERS):
                tasks.create_task(publisher())
        published = time.monotonic()
        await counter.done.wait()
        return count / (published - began), count / (time.monotonic() - began)


async def run() -> None:
    report = Report(
        "bus-embedded",
        "Embedded bus: publishers and handler in one process, journal with synchronous=FULL",
        'make bench ARGS="bus"',
        ["", "events", "published/s", "end to end/s"],
    )
    runs = []
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory() as folder:
            runs.append(await measure(Path(folder), COUNT))
    report.add("trunkline", COUNT, middle([a for a, _ in runs]), middle([b for _, b in runs]))
    report.publish()


if __name__ == "__main__":
    asyncio.run(run())
