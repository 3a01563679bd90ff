"""The transports under test, each with what it takes to open it and what it declares that it can do.

A house is one empty installation: a journal of its own, or a virtual host of its own. Used by the fixture
`house`, and by the worker programs, which know it by its address.

Time: routers get their delays in `SECOND`s. They are short, because a broker's delays pass in real time;
tests that need hours take `bus(manual=True)`, in which what stands above the transport waits for a clock that
is moved by hand, and on a transport that declares `manual time` the transport too.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Protocol

from bus.clock import Clock, SystemClock
from bus.connect import Bus
from bus.embedded import open_embedded
from bus.ids import Ids
from bus.message import Subscription
from bus.publisher import Publisher
from bus.testing import ManualClock, turns
from bus.transport import Transport

SECOND = 0.02
"""How long a second of a router's delays takes in these tests."""

TIER_UNIT_MS = 20
REAL = SystemClock()


class House(Protocol):
    """capabilities: what tests may ask for with `@pytest.mark.capability`.

    many processes: several processes share it. several buses: one process opens it more than once.
    manual time: the transport's own delays follow the clock that it is given.
    """

    name: str
    capabilities: frozenset[str]
    address: str

    def transport(self, clock: Clock) -> AbstractAsyncContextManager[Transport]: ...


class EmbeddedHouse:
    name = "embedded"
    capabilities = frozenset({"manual time"})

    def __init__(self, journal: Path) -> None:
        self.address = f"embedded:{journal}"
        self._journal = journal

    def transport(self, clock: Clock) -> AbstractAsyncContextManager[Transport]:
        return open_embedded(self._journal, clock=clock)


class RabbitHouse:
    name = "rabbitmq"
    capabilities = frozenset({"many processes", "several buses"})

    def __init__(self, url: str) -> None:
        self.address = url

    def transport(self, clock: Clock) -> AbstractAsyncContextManager[Transport]:
        from bus.rabbitmq import open_rabbitmq

        # The broker's delays are real time, whatever stands above.
        return open_rabbitmq(self.address, clock=SystemClock(), tier_unit_ms=TIER_UNIT_MS)


def house_at(address: str) -> House:
    """The house that a worker program was told of."""
    scheme, _, rest = address.partition(":")
    return EmbeddedHouse(Path(rest)) if scheme == "embedded" else RabbitHouse(address)


@asynccontextmanager
async def opened(
    house: House, source: str = "test", *, clock: Clock | None = None, declare: Sequence[Subscription] = ()
) -> AsyncIterator[Bus]:
    """What `bus.connect` does, for a house."""
    clock = clock or SystemClock()
    async with house.transport(clock) as transport, Publisher.open(transport, clock) as publisher:
        await transport.declare(declare)
        yield Bus(source, transport, publisher, clock, Ids(clock))


@asynccontextmanager
async def instance(house: House, bus: Bus, source: str = "another") -> AsyncIterator[Bus]:
    """Another instance of a service: a connection of its own where there can be one."""
    if "several buses" not in house.capabilities:
        yield bus.as_source(source)
        return
    async with opened(house, source, clock=bus.clock) as other:
        yield other


async def until(condition: Callable[[], object], timeout_s: float = 20.0) -> None:
    """Return once the condition holds."""
    async with asyncio.timeout(timeout_s):
        while not condition():
            await REAL.sleep(0.002)


async def depth(bus: Bus, *names: str) -> int:
    """Frames that wait in these subscriptions' queues or are unsettled."""
    depths = await bus.transport.queue_depths([Subscription(name, ("#",)) for name in names])
    return sum(depths.values())


async def empty(bus: Bus, *names: str, timeout_s: float = 20.0) -> None:
    """Return once nothing waits or is unsettled."""
    async with asyncio.timeout(timeout_s):
        while await depth(bus, *names):
            await REAL.sleep(0.005)


async def pass_time(clock: ManualClock, seconds: float, *, step_s: float = 30.0) -> None:
    """Move a manual clock on, leaving the transport real time at every step."""
    left_s = seconds
    while left_s > 0:
        await clock.advance(min(step_s, left_s))
        left_s -= step_s
        await REAL.sleep(0.005)
        await turns()
