"""FastStream with a pydantic model, a quorum queue and confirms, 256 publishers at once, prefetch 300.

Runs in its own environment (`bench/peers/faststream.lock`): `python bench/bus/with_faststream.py
consume|publish URL COUNT`.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

from faststream.rabbit import Channel, ExchangeType, QueueType, RabbitBroker, RabbitExchange, RabbitQueue
from pydantic import BaseModel

sys.path.insert(0, str(Path(__file__).parents[2]))

from bench.bus.sides import Counter, fields, say

EXCHANGE = RabbitExchange("bench-faststream", type=ExchangeType.TOPIC, durable=True)
QUEUE = RabbitQueue(
    "bench-faststream", queue_type=QueueType.QUORUM, durable=True, routing_key="bench.order.placed.*"
)
PUBLISHERS = 256


class OrderPlaced(BaseModel):
    number: int
    order: str
    service: str
    total_cents: int
    currency: str
    sent_at: float
    note: str


def _broker(url: str) -> RabbitBroker:
    return RabbitBroker(url, default_channel=Channel(prefetch_count=300), logger=None)


async def consume(url: str, count: int) -> None:
    counter = Counter(count)
    broker = _broker(url)

    @broker.subscriber(QUEUE, EXCHANGE)
    async def on_order_placed(order: OrderPlaced) -> None:
        counter.tick()

    async with broker:
        await broker.start()
        say(ready=True)
        await counter.done.wait()
        say(first=counter.first, last=counter.last, delays=[])


async def publish(url: str, count: int) -> None:
    async with _broker(url) as broker:
        numbers = iter(range(count))

        async def publisher() -> None:
            for number in numbers:
                order = OrderPlaced(**fields(number))
                key = f"bench.order.placed.{order.service}"
                await broker.publish(order, exchange=EXCHANGE, routing_key=key, persist=True)

        began = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            for _ in range(PUBLISHERS):
                tasks.create_task(publisher())
        say(began=began, ended=time.monotonic())


if __name__ == "__main__":
    asyncio.run((consume if sys.argv[1] == "consume" else publish)(sys.argv[2], int(sys.argv[3])))
