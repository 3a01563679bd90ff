"""The bus itself, whole middleware on: `python -m bench.bus.with_trunkline consume|publish URL COUNT
[latency]`."""

from __future__ import annotations

import asyncio
import sys
import time

import uvloop

from bench.bus.sides import PADDING, Counter, fields, say
from bus import Delivery, Fact, Router, connect
from bus.message import Subscription

PUBLISHERS = 1024
SUBSCRIPTION = Subscription("bench", ("bench.order.placed.*",))


class OrderPlaced(Fact, frozen=True):
    TYPE = "bench.order.placed"

    number: int
    order: str
    service: str
    total_cents: int
    currency: str
    sent_at: float
    note: str = PADDING


async def consume(url: str, count: int, latency: bool) -> None:
    counter = Counter(count)
    delays: list[float] = []
    router = Router(SUBSCRIPTION)

    async def on_order_placed(order: OrderPlaced, delivery: Delivery) -> None:
        if latency:
            delays.append(time.monotonic() - order.sent_at)
        counter.tick()

    router.on(OrderPlaced, on_order_placed)
    async with connect(url, source="consumer") as bus, bus.serve(router):
        say(ready=True)
        await counter.done.wait()
        say(first=counter.first, last=counter.last, delays=delays)


async def publish(url: str, count: int, latency: bool) -> None:
    async with connect(url, source="publisher", subscriptions=[SUBSCRIPTION]) as bus:
        began = time.monotonic()
        if latency:
            for number in range(count):
                values = {**fields(number), "sent_at": time.monotonic()}
                await bus.publish(OrderPlaced(**values), key=values["service"])
                await asyncio.sleep(0.01)
        else:
            numbers = iter(range(count))

            async def publisher() -> None:
                for number in numbers:
                    values = fields(number)
                    await bus.publish(OrderPlaced(**values), key=values["service"])

            async with asyncio.TaskGroup() as tasks:
                for _ in range(PUBLISHERS):
                    tasks.create_task(publisher())
        say(began=began, ended=time.monotonic())


if __name__ == "__main__":
    side = consume if sys.argv[1] == "consume" else publish
    uvloop.run(side(sys.argv[2], int(sys.argv[3]), "latency" in sys.argv))
