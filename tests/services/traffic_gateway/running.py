"""A running gateway for tests: real sockets, with buckets and a relay that live in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from bus.clock import Clock, SystemClock
from bus.errors import NobodyAnswers, Refused, Unavailable
from bus.ids import Ids
from bus.message import Ask, Fact
from schemas.identity import Bucket, CaptureMode, Redaction
from schemas.request_vault import BODY_PART_BYTES, BodyPart, CallRecord, GetCall, ReadBody
from schemas.traffic_gateway import CallCaptured
from services.chassis.access import Addressed
from services.chassis.outgoing import Outgoing, Policy, trust
from services.chassis.secrets import KEY_BYTES, Secrets
from services.chassis.web import listen
from services.traffic_gateway.config import Config
from services.traffic_gateway.edge.recording import Recorder
from services.traffic_gateway.edge.redacting import Redacting
from services.traffic_gateway.edge.relaying import Gateway
from services.traffic_gateway.edge.serving import GatewayServer
from services.traffic_gateway.service import limits
from tests.services.loopback import Target

KEY = "7xzcnsgbwox2"
SECRETS = Secrets([bytes(range(KEY_BYTES))])
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
        await self.count(1)
        assert len(self.calls) == 1
        return self.calls[0]

    async def count(self, calls: int) -> None:
        """Returns when so many were captured."""
        async with asyncio.timeout(5):
            while len(self.calls) < calls:
                self.asked.clear()
                await self.asked.wait()


class Vault:
    """Answers GetCall and ReadBody from what it is given. away: nobody does."""

    def __init__(self) -> None:
        self.calls: dict[tuple[str, str | None], CallCaptured] = {}
        self.bodies: dict[str, bytes] = {}
        self.away = False

    def keep(self, call: CallCaptured) -> None:
        self.calls[call.id, call.bucket] = call

    async def ask(self, ask: Ask[Any], *, timeout_s: float = 5.0) -> Any:
        if self.away:
            raise NobodyAnswers("nobody serves this")
        if isinstance(ask, GetCall):
            if (ask.id, ask.bucket) not in self.calls:
                raise Refused("call-unknown", f"there is no call {ask.id!r}")
            call = self.calls[ask.id, ask.bucket]
            return CallRecord(call, (1, 1), call.started_at, "e")
        assert isinstance(ask, ReadBody)
        if ask.sha256 not in self.bodies:
            raise Refused("body-unknown", "it is gone")
        body = self.bodies[ask.sha256]
        return BodyPart(body[ask.offset : ask.offset + BODY_PART_BYTES], len(body))


class Buckets:
    """One bucket. away: nobody can be asked. guard_sha256: of the token that clients must show. stale_s: how
    old the bucket's settings are."""

    def __init__(self, known: Bucket) -> None:
        self.known = known
        self.away = False
        self.guard_sha256 = ""
        self.stale_s = 0.0

    async def addressed(self, address: str) -> Addressed | None:
        if self.away:
            raise Unavailable("the vault does not answer")
        return Addressed(self.known, self.guard_sha256) if address == KEY else None

    def age_s(self) -> float:
        return self.stale_s


def a_bucket(
    *,
    capture: CaptureMode = "relaxed",
    body_cap_bytes: int = 1024 * 1024,
    sampling: float = 1.0,
    redaction: Redaction | None = None,
    verify_tls: bool = True,
    allowed_hosts: tuple[str, ...] = (),
    denied_hosts: tuple[str, ...] = (),
    rewrite_location: bool = False,
) -> Bucket:
    return Bucket(
        KEY,
        "test",
        "default",
        datetime.now(UTC),
        KEY,
        capture=capture,
        body_cap_bytes=body_cap_bytes,
        sampling=sampling,
        redaction=redaction or Redaction(),
        verify_tls=verify_tls,
        allowed_hosts=allowed_hosts,
        denied_hosts=denied_hosts,
        rewrite_location=rewrite_location,
    )


class Running:
    def __init__(
        self,
        port: int,
        relay: Relay,
        buckets: Buckets,
        server: GatewayServer,
        vault: Vault,
        handler: Gateway,
    ) -> None:
        self.port = port
        self.vault = vault
        self.server = server
        self.relay = relay
        self.buckets = buckets
        self._budget = handler._budget
        self._whole_bytes = self._budget.left_bytes

    @property
    def held_bytes(self) -> int:
        """Of the memory that bodies share."""
        return self._whole_bytes - self._budget.left_bytes

    def path(self, target: Target, tail: str = "/") -> bytes:
        """The request target of the path scheme, as bytes."""
        return f"/{KEY}/http://{target.authority}{tail}".encode()


@asynccontextmanager
async def gateway(
    *,
    capture: CaptureMode = "relaxed",
    body_cap_bytes: int = 1024 * 1024,
    bucket: Bucket | None = None,
    config: Config | None = None,
    policy: Policy | None = None,
    clock: Clock | None = None,
) -> AsyncIterator[Running]:
    """bucket: instead of one with this capture mode and cap."""
    config = config or Config(drain_s=0.2)
    clock = clock or SystemClock()
    relay, vault = Relay(), Vault()
    buckets = Buckets(bucket or a_bucket(capture=capture, body_cap_bytes=body_cap_bytes))
    async with (
        Redacting.open(SECRETS.derived, buckets.age_s) as redacting,
        asyncio.TaskGroup() as tasks,
        Outgoing(policy or LOOPBACK, clock, limits(config)) as outgoing,
        Outgoing(policy or LOOPBACK, clock, limits(config), tls=trust.anybody()) as trusting,
    ):
        recorder = Recorder(relay, clock, tasks, redacting)
        handler = Gateway(config, buckets, outgoing, trusting, recorder, redacting, clock, Ids(clock), vault)
        async with (
            GatewayServer(handler, config, clock) as server,
            listen(server, "127.0.0.1", 0, True, drain_s=config.drain_s) as port,
        ):
            yield Running(port, relay, buckets, server, vault, handler)
