"""The API's wiring."""

from __future__ import annotations

import asyncio
import importlib
import importlib.metadata
import pkgutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import schemas
from bus.router import Router
from schemas.operation import Operation
from schemas.request_vault import CallsRecorded
from services.api.config import Config
from services.api.edge import make_edge
from services.api.edge.live import Wakes
from services.api.edge.uses import Uses
from services.api.store import open_repeats
from services.chassis.access import Access
from services.chassis.host import Ground
from services.chassis.web import listen, listening_url


@asynccontextmanager
async def build(config: Config, ground: Ground) -> AsyncIterator[None]:
    """Ready when it listens; leaving it ends live streams and lets requests in flight finish."""
    wakes = Wakes()
    router = Router("api")
    router.on(CallsRecorded, wakes.on_calls_recorded)
    uses = Uses(ground.bus, ground.clock)
    async with (
        Access.open(ground) as access,
        ground.bus.serve(router),
        open_repeats(config.redis_url, ground.clock) as repeats,
        asyncio.TaskGroup() as beside,
    ):
        edge = make_edge(
            contracts(),
            bus=ground.bus,
            access=access,
            wakes=wakes,
            uses=uses,
            shared=ground.shared,
            repeats=repeats,
            clock=ground.clock,
            ids=ground.ids,
            config=config,
            version=_version(),
        )
        listening = listen(edge, config.bind, config.port, config.port_fixed, drain_s=config.drain_s)
        async with listening as port:
            ground.announce("url", listening_url(config.bind, port))
            telling = beside.create_task(uses.tell())
            try:
                yield
            finally:
                telling.cancel()


def contracts() -> dict[str, tuple[Operation, ...]]:
    """The operations of every contract in `schemas`, by service: a new contract is served by being there."""
    names = sorted(module.name for module in pkgutil.iter_modules(schemas.__path__))
    modules = {name: importlib.import_module(f"schemas.{name}") for name in names}
    return {name: module.OPERATIONS for name, module in modules.items() if hasattr(module, "OPERATIONS")}


def _version() -> str:
    try:
        return importlib.metadata.version("trunkline")
    except importlib.metadata.PackageNotFoundError:  # run from a source folder that is not installed
        return "0+source"
