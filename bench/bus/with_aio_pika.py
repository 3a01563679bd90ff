"""A plain aio-pika loop as its documentation shows it, made durable: quorum queue, publisher confirms with a
window of 256, prefetch 300, JSON, every delivery acknowledged. `python -m bench.bus.with_aio_pika
consume|publish URL COUNT [latency]`."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

import aio_pika
import uvloop

from bench.bus.sides import Counter, fields, say

WINDOW = 256
PREFETCH = 300
QUEUE = "bench-aio-pika"


async def _declare(channel: Any) -> Any:
    exchange = await channel.declare_exchange("bench-aio-pika", aio_pika.ExchangeType.TOPIC, durable=True)
    queue = await channel.declare_queue(QUEUE, durable=True, arguments={"x-queue-type": "quorum"})
    await queue.bind(exchange, "bench.order.placed.*")
    return exchange, queue


async def consume(url: str, count: int, latency: bool) -> None:
    counter = Counter(count)
    delays: list[float] = []
    connection = await aio_pika.connect_robust(url)
    async with connection:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=PREFETCH)
        _, queue = await _declare(channel)

        async def on_message(message: aio_pika.abc.AbstractIncomingMessage) -> None:
            async with message.process():
                order = json.loads(message.body)
                if latency:
                    delays.append(time.monotonic() - order["sent_at"])
                counter.tick()

        await queue.consume(on_message)
        say(ready=True)
        await counter.done.wait()
        say(first=counter.first, last=counter.last, delays=delays)


async def publish(url: str, count: int, latency: bool) -> None:
    connection = await aio_pika.connect_robust(url)
    async with connection:
        channel = await connection.channel()
        exchange, _ = await _declare(channel)

        async def send(number: int, sent_at: float = 0.0) -> None:
            values = {**fields(number), "sent_at": sent_at}
            message = aio_pika.Message(
                json.dumps(values).encode(), delivery_mode=aio_pika.DeliveryMode.PERSISTENT
            )
            await exchange.publish(message, routing_key=f"bench.order.placed.{values['service']}")

        began = time.monotonic()
        if latency:
            for number in range(count):
                await send(number, time.monotonic())
                await asyncio.sleep(0.01)
        else:
            numbers = iter(range(count))

            async def publisher() -> None:
                for number in numbers:
                    await send(number)

            async with asyncio.TaskGroup() as tasks:
                for _ in range(WINDOW):
                    tasks.create_task(publisher())
        say(began=began, ended=time.monotonic())


if __name__ == "__main__":
    side = consume if sys.argv[1] == "consume" else publish
    uvloop.run(side(sys.argv[2], int(sys.argv[3]), "latency" in sys.argv))
