"""Identity's wiring: a projection of its own decisions, the asks answered from it, and what follows when
something ends."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bus.tasks import task_group
from schemas.identity import CATEGORY, FACTS
from schemas.identity.state import FOLD_VERSION, State, evolve
from services.chassis.host import Ground
from services.chassis.projection import Fold, Projection
from services.identity.config import Config
from services.identity.handlers import Handlers
from services.identity.handlers.hashing import Hashing


@asynccontextmanager
async def build(config: Config, ground: Ground) -> AsyncIterator[None]:
    fold = Fold(CATEGORY, FOLD_VERSION, State, FACTS, evolve)
    with Hashing.open(ground.shared.secrets) as hashing:
        async with Projection.open(ground, fold) as known:
            handlers = Handlers(config, ground, known, hashing)
            async with ground.bus.serve(*handlers.routers()), task_group() as tasks:
                reading = tasks.create_task(handlers.uses.read_back(ground.bus, known))
                yield
                reading.cancel()
