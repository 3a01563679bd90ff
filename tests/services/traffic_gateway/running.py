"""A running gateway for tests: real sockets, with buckets and a relay that live in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from bus.clock import Clock, SystemClock
from bus.errors import Unavailable
from bus.ids import Ids
from bus.message import Fact
from schemas.identity import Bucket, CaptureMode
from schemas.traffic_gateway import CallCaptured
from services.chassis.outgoing import Outgoing, Policy
from services.chassis.web import listen
from services.traffic_gateway.config import Config
from services.traffic_gateway.edge.recording import Recorder
from services.traffic_gateway.edge.relaying import Gateway
from services.traffic_gateway.edge.serving import GatewayServer
from services.traffic_gateway.service import limits
from tests.services.loopback import Target

KEY = "7xzcnsgbwox2"
LOOPBACK = Policy.of(allow=("loopback",))


class Relay:
    """Keeps what it is given. open: cleared, `send` waits. broken: `send` raises."""

    def __init__(self) -> None:
        self.calls: list[CallCaptured] = []
        self.bodies: dict[str, bytes] = {}
        self.open = asyncio.Event()
        self.open.set()
        self.asked = asyncio.Event()
        self.broken = False
        self._came = asyncio.Condition()

    def send_soon(
        self, fact: Fact, *, key: str, subject: str | None = None, bodies: Sequence[tuple[str, bytes]] = ()
    ) -> None:
        assert isinstance(fact, CallCaptured)
        assert (key, subject) == (fact.bucket, fact.id)
        self.calls.append(fact)
        self.bodies.update(bodies)
        self.asked.set()

    async def send(
        self, fact: Fact, *, key: str, subject: str | None = None, bodies: Sequence[tuple[str, bytes]] = ()
    ) -> None:
        self.asked.set()
        await self.open.wait()
        if self.broken:
            raise Unavailable("the spool is full and the bus is away")
        self.send_soon(fact, key=key, subject=subject, bodies=bodies)

    async def call(self) -> CallCaptured:
        """The one call that was captured, waiting for it."""
        async with asyncio.timeout(5):
            while not self.calls:
                self.asked.clear()
                await self.asked.wait()
        assert len(self.calls) == 1
        return self.calls[0]


class Buckets:
    def __init__(self, capture: CaptureMode, body_cap_bytes: int) -> None:
        self.known = Bucket(KEY, "test", "default", capture, body_cap_bytes, datetime.now(UTC))
        self.away = False

    async def bucket(self, key: str) -> Bucket | None:
        if self.away:
            raise Unavailable("the vault does not answer")
        return self.known if key == KEY else None


class Running:
    def __init__(self, port: int, relay: Relay, buckets: Buckets) -> None:
        self.port = port
        self.relay = relay
        self.buckets = buckets

    def path(self, target: Target, tail: str = "/") -> bytes:
        """The request target of the path scheme, as bytes."""
        return f"/{KEY}/http://{target.authority}{tail}".encode()


@asynccontextmanager
async def gateway(
    *,
    capture: CaptureMode = "relaxed",
    body_cap_bytes: int = 1024 * 1024,
    config: Config | None = None,
    policy: Policy | None = None,
    clock: Clock | None = None,
) -> AsyncIterator[Running]:
    config = config or Config(drain_s=0.2)
    clock = clock or SystemClock()
    relay, buckets = Relay(), Buckets(capture, body_cap_bytes)
    async with (
        asyncio.TaskGroup() as tasks,
        Outgoing(policy or LOOPBACK, clock, limits(config)) as outgoing,
    ):
        recorder = Recorder(relay, clock, tasks)
        handler = Gateway(config, buckets, outgoing, recorder, clock, Ids(clock))
        async with listen(
            GatewayServer(handler, config), "127.0.0.1", 0, True, drain_s=config.drain_s
        ) as port:
            yield Running(port, relay, buckets)
