"""The gateway's wiring."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from schemas.traffic_gateway import CapturesLost
from services.chassis.access import Access
from services.chassis.host import Ground
from services.chassis.outgoing import Limits, Outgoing, Policy
from services.chassis.relay import Relay
from services.chassis.web import listen, listening_url
from services.traffic_gateway.config import Config
from services.traffic_gateway.edge.recording import Recorder
from services.traffic_gateway.edge.relaying import Gateway
from services.traffic_gateway.edge.serving import GatewayServer

NAME = "traffic_gateway"


@asynccontextmanager
async def build(config: Config, ground: Ground) -> AsyncIterator[None]:
    """Ready when the port is open; leaving it lets calls in flight finish, then sends or spools what was
    captured. Raises ConfigInvalid for targets that nobody can read."""
    policy = Policy.of(config.targets_allow, config.targets_deny)
    async with (
        Access.open(ground) as access,
        Relay.open(
            ground.bus,
            ground.data_dir / NAME,
            lost=CapturesLost,
            max_spool_bytes=config.max_spool_bytes,
        ) as relay,
        asyncio.TaskGroup() as tasks,
        Outgoing(policy, ground.clock, limits(config)) as outgoing,
    ):
        recorder = Recorder(relay, ground.clock, tasks)
        gateway = Gateway(config, access, outgoing, recorder, ground.clock, ground.ids)
        server = GatewayServer(gateway, config)
        async with listen(
            server, config.bind, config.port, config.port_fixed, drain_s=config.drain_s
        ) as port:
            ground.announce("url", config.public_url.rstrip("/") or listening_url(config.bind, port))
            yield


def limits(config: Config) -> Limits:
    return Limits(
        connect_timeout_s=config.connect_timeout_s,
        wait_timeout_s=config.wait_timeout_s,
        idle_timeout_s=config.idle_timeout_s,
        max_line_bytes=config.max_line_bytes,
        max_field_bytes=config.max_field_bytes,
        max_headers=config.max_headers,
    )
