"""Identity's wiring: a projection of its own decisions, and the asks answered from it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from schemas.identity import CATEGORY
from services.chassis.host import Ground
from services.chassis.projection import Fold, Projection
from services.identity import domain
from services.identity.config import Config
from services.identity.handlers import Handlers


@asynccontextmanager
async def build(config: Config, ground: Ground) -> AsyncIterator[None]:
    fold = Fold(CATEGORY, domain.FOLD_VERSION, domain.State, domain.FACTS, domain.evolve)
    async with Projection.open(ground, fold) as known:
        handlers = Handlers(config, ground.bus, ground.clock, known)
        async with ground.bus.serve(handlers.router()):
            yield
