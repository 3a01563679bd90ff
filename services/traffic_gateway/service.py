"""The gateway's wiring."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from schemas.traffic_gateway import CapturesLost
from services.chassis.access import Access
from services.chassis.host import Ground
from services.chassis.outgoing import Limits, Outgoing, Policy, trust
from services.chassis.relay import Relay
from services.chassis.web import listen, listening_url
from services.traffic_gateway.config import Config
from services.traffic_gateway.edge.certificate import Certificate
from services.traffic_gateway.edge.recording import Recorder
from services.traffic_gateway.edge.redacting import Redacting
from services.traffic_gateway.edge.relaying import Gateway
from services.traffic_gateway.edge.serving import GatewayServer

NAME = "traffic_gateway"


@asynccontextmanager
async def build(config: Config, ground: Ground) -> AsyncIterator[None]:
    """Ready when the port is open; leaving it lets calls in flight finish, then sends or spools what was
    captured. Raises ConfigInvalid for targets that nobody can read, and for a certificate that is none."""
    policy = Policy.of(config.targets_allow, config.targets_deny)
    certificate = Certificate(config.tls_cert, config.tls_key) if config.tls_port else None
    async with (
        Access.open(ground) as access,
        Relay.open(
            ground.bus,
            ground.data_dir / NAME,
            lost=CapturesLost,
            max_spool_bytes=config.max_spool_bytes,
        ) as relay,
        Redacting.open(ground.shared.secrets.derived, access.age_s) as redacting,
        asyncio.TaskGroup() as tasks,
        Outgoing(policy, ground.clock, limits(config)) as outgoing,
        Outgoing(policy, ground.clock, limits(config), tls=trust.anybody()) as trusting,
    ):
        recorder = Recorder(relay, ground.clock, tasks, redacting)
        gateway = Gateway(
            config, access, outgoing, trusting, recorder, redacting, ground.clock, ground.ids, ground.bus
        )
        async with (
            GatewayServer(gateway, config, ground.clock) as server,
            _listening_with_tls(server, config, certificate, ground),
            listen(server, config.bind, config.port, config.port_fixed, drain_s=config.drain_s) as port,
        ):
            ground.announce("url", config.public_url.rstrip("/") or listening_url(config.bind, port))
            yield


@asynccontextmanager
async def _listening_with_tls(
    server: GatewayServer, config: Config, certificate: Certificate | None, ground: Ground
) -> AsyncIterator[None]:
    """The same server, whose clients and limits are the same, on a second port."""
    if certificate is None:
        yield
        return
    async with (
        listen(
            server, config.bind, config.tls_port, True, drain_s=config.drain_s, tls=certificate.context
        ) as port,
        asyncio.TaskGroup() as tasks,
    ):
        following = tasks.create_task(certificate.follow(ground.clock))
        ground.announce("tls_url", listening_url(config.bind, port).replace("http:", "https:", 1))
        yield
        following.cancel()


def limits(config: Config) -> Limits:
    return Limits(
        connect_timeout_s=config.connect_timeout_s,
        wait_timeout_s=config.wait_timeout_s,
        idle_timeout_s=config.idle_timeout_s,
        max_line_bytes=config.max_line_bytes,
        max_field_bytes=config.max_field_bytes,
        max_headers=config.max_headers,
        max_head_bytes=config.max_head_bytes,
    )
