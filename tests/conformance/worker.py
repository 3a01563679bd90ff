"""A process that publishes, consumes or answers until it is killed, and tells on its standard output what it
has done.

    python -m tests.conformance.worker ADDRESS publish FIRST LAST   "published N" after each publish returned
    python -m tests.conformance.worker ADDRESS consume [...]        "ready", "began N", "handled N"
    python -m tests.conformance.worker ADDRESS answer NAME          "ready"
    python -m tests.conformance.worker ADDRESS flood COUNT          "growth BYTES", of its memory

SIGTERM ends it in good order ("drained"); SIGKILL is what it is for.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import signal
import sys

from bus.connect import Bus
from bus.router import Delivery, Router
from tests.conformance.houses import House, house_at, opened
from tests.conformance.messages import LEDGER, NUMBERS, Drawn, Moved, Sum, SumOf


def tell(*words: object) -> None:
    print(*words, flush=True)


async def publish(house: House, first: int, last: int) -> None:
    async with opened(house, "publisher", declare=[NUMBERS]) as bus:
        for number in range(first, last):
            await bus.publish(Drawn(number))
            tell("published", number)
        tell("end")
        await asyncio.Event().wait()


async def consume(house: House, options: argparse.Namespace) -> None:
    router = Router(LEDGER if options.ordered else NUMBERS, concurrency=options.concurrency)

    async def on_number(drawn: Drawn | Moved, delivery: Delivery) -> None:
        tell("began", drawn.number)
        if drawn.number == options.die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        if drawn.number == options.hang_at:
            tell("hanging", drawn.number)
            await asyncio.Event().wait()
        tell("handled", drawn.number)

    router.on(Moved, on_number)
    if not options.ordered:
        router.on(Drawn, on_number)
    async with opened(house, "consumer") as bus, bus.serve(router):
        tell("ready")
        if options.publish:
            for number in range(*options.publish):
                await bus.publish(Drawn(number))
                tell("published", number)
        if options.until_parked:
            await parked(bus)
        else:
            await terminated()
    tell("drained")


async def parked(bus: Bus) -> None:
    while not await bus.parked():
        await bus.clock.sleep(0.01)


async def answer(house: House, name: str) -> None:
    router = Router("sums")

    @router.answers(SumOf)
    async def answer_sum_of(ask: SumOf, delivery: Delivery) -> Sum:
        return Sum(sum(ask.numbers), name)

    async with opened(house, name) as bus, bus.serve(router):
        tell("ready")
        await terminated()
    tell("drained")


async def flood(house: House, count: int) -> None:
    """Publish far faster than is handled; tell how far the process grew meanwhile."""
    handled = 0
    go, finished = asyncio.Event(), asyncio.Event()
    router = Router(NUMBERS, concurrency=4)

    @router.on(Drawn)
    async def on_drawn(drawn: Drawn, delivery: Delivery) -> None:
        nonlocal handled
        await go.wait()
        handled += 1
        if handled == count:
            finished.set()

    async with opened(house, "flood") as bus, bus.serve(router):
        await _publish_many(bus, 2000)
        before = _peak_bytes()
        await _publish_many(bus, count - 2000)
        tell("published", count)
        go.set()
        await finished.wait()
        tell("growth", _peak_bytes() - before)


async def _publish_many(bus: Bus, count: int) -> None:
    for start in range(0, count, 500):
        await bus.publish(*(Drawn(number, b"x" * 1500) for number in range(start, min(count, start + 500))))


def _peak_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


async def terminated() -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("address")
    actions = parser.add_subparsers(dest="action", required=True)
    publishing = actions.add_parser("publish")
    publishing.add_argument("first", type=int)
    publishing.add_argument("last", type=int)
    consuming = actions.add_parser("consume")
    consuming.add_argument("--ordered", action="store_true")
    consuming.add_argument("--concurrency", type=int, default=8)
    consuming.add_argument("--die-at", type=int)
    consuming.add_argument("--hang-at", type=int)
    consuming.add_argument("--until-parked", action="store_true")
    consuming.add_argument("--publish", type=int, nargs=2)
    answering = actions.add_parser("answer")
    answering.add_argument("name")
    flooding = actions.add_parser("flood")
    flooding.add_argument("count", type=int)
    options = parser.parse_args()
    house = house_at(options.address)
    match options.action:
        case "publish":
            asyncio.run(publish(house, options.first, options.last))
        case "consume":
            asyncio.run(consume(house, options))
        case "answer":
            asyncio.run(answer(house, options.name))
        case "flood":
            asyncio.run(flood(house, options.count))


if __name__ == "__main__":
    main()
