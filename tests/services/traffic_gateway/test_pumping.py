"""Bytes both ways, and the moment at which silence becomes too long."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from services.chassis.outgoing import UpstreamTimeout
from services.traffic_gateway.edge.pumping import pump


class Late:
    """A side that says something in the very turn of the loop in which the time is up."""

    def __init__(self) -> None:
        self.said = False

    async def read(self) -> bytes:
        loop = asyncio.get_running_loop()
        waiter = loop.create_future()
        if not self.said:
            self.said = True
            loop.call_later(0.001, waiter.set_result, None)
            loop.call_soon(time.sleep, 0.05)  # nobody gets a turn until both are due
        await waiter
        return b"late"

    async def write(self, data: bytes) -> None:
        await asyncio.get_running_loop().create_future()

    def end(self) -> None:
        pass


async def test_a_byte_that_comes_when_the_time_is_up_is_too_late() -> None:
    side: Any = Late()
    other: Any = Late()
    seen: list[bytes] = []
    other.said = True
    with pytest.raises(UpstreamTimeout):
        await pump(side, other, sent=seen.append, received=seen.append, idle_timeout_s=0.002)
