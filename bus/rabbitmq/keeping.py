"""Reads what the broker itself keeps of `bus.event.`: a stream, which reading does not empty.

A stream has no end to wait for. So a marker is put into it first, confirmed, and read up to: everything that
was published before the reading began is found, and nothing is guessed from silence. Markers are a few bytes
and go with age like the rest.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

from aiormq.abc import DeliveredMessage

from bus.errors import BusError, Unavailable
from bus.rabbitmq import wire
from bus.rabbitmq.connection import RPC_TIMEOUT_S, Link
from bus.rabbitmq.declaring import passing_channel
from bus.rabbitmq.errors import translated
from bus.rabbitmq.publishing import Publishing
from bus.rabbitmq.topology import Topology
from bus.transport import Frame

MARKER = "application/x-bus-marker"
PREFETCH = 100


async def kept(link: Link, publishing: Publishing, topology: Topology, word: str) -> AsyncIterator[Frame]:
    """What is kept, oldest first, up to this moment. `word` was never used before. Raises Unavailable."""
    marker = word.encode()
    await publishing.put(topology.kept, Frame(marker, ("bus.marker",), MARKER))
    what = f"{link.address}: reading {topology.kept}"
    arrived: asyncio.Queue[DeliveredMessage | None] = asyncio.Queue()

    async def on_message(message: DeliveredMessage) -> None:
        arrived.put_nowait(message)

    async with passing_channel(await link.up(), what) as channel:
        gone = channel.closing
        gone.add_done_callback(lambda _: arrived.put_nowait(None))
        try:
            with translated(what):
                await channel.basic_qos(prefetch_count=PREFETCH, timeout=RPC_TIMEOUT_S)
                answer = await channel.basic_consume(
                    topology.kept, on_message, arguments={"x-stream-offset": "first"}, timeout=RPC_TIMEOUT_S
                )
            while True:
                message = await arrived.get()
                if message is None:
                    raise Unavailable(f"{what}: the connection was lost")
                with translated(what):
                    await channel.basic_ack(message.delivery_tag or 0, wait=False)
                frame = wire.read(message)
                if frame.content_type != MARKER:
                    yield frame
                elif frame.body == marker:
                    break
            with suppress(BusError), translated(what):
                await channel.basic_cancel(answer.consumer_tag or "", timeout=RPC_TIMEOUT_S)
        finally:
            gone.cancel()
