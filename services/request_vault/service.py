"""How the vault is put together: the store, the handlers on three routers, the workers beside them."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from bus.router import Router
from bus.tasks import task_group
from schemas import request_vault as contract
from schemas.identity import Retention
from services.chassis.host import Ground
from services.request_vault.config import Config
from services.request_vault.handlers.calls import Calls
from services.request_vault.handlers.erasing import Erasers
from services.request_vault.handlers.events import Events
from services.request_vault.handlers.ingest import Ingest
from services.request_vault.handlers.log import Log
from services.request_vault.handlers.marks import Marks
from services.request_vault.handlers.models import Models
from services.request_vault.handlers.stats import Stats
from services.request_vault.store import open_store
from services.request_vault.store.bodies import DirectoryBodies
from services.request_vault.store.erasures import Erasures
from services.request_vault.worker.erasing import Erasing
from services.request_vault.worker.indexing import Indexing
from services.request_vault.worker.keeping import Keeping
from services.request_vault.worker.publishing import Publishing
from services.request_vault.worker.rebuilding import Rebuilding
from services.request_vault.worker.telling import Telling

BODY_CHUNKS_AT_ONCE = 32
BATCHES_BESIDE = 2
"""One is checked and encoded while the other is written."""
COMMIT_DEADLINE_S = 60.0
DRAIN_S = 2.0
SHARE_BYTES = 18


@asynccontextmanager
async def build(config: Config, ground: Ground) -> AsyncIterator[None]:
    folder = ground.data_dir / "request_vault"
    async with open_store(
        config.url, folder, ground.clock, partitions=config.partitions, readers=config.readers
    ) as store:
        bodies = DirectoryBodies(folder / "bodies", ground.clock, compress=config.compress_bodies, mend=True)
        publishing = Publishing(store, ground.bus, ground.clock)
        indexing = Indexing(store, bodies, ground.clock)
        rebuilding = Rebuilding(store, ground.clock)
        telling = Telling(store, ground.bus, ground.clock, tell_interval_s=config.tell_interval_ms / 1000)
        limits = Retention(config.retention_age_s, config.retention_calls, config.retention_bytes)
        keeping = Keeping(
            store,
            bodies,
            ground.bus,
            ground.clock,
            limits,
            interval_s=config.retention_interval_s,
            decided=publishing.wake,
        )
        erasing = Erasing(
            store,
            bodies,
            Erasures(folder / "erasures"),
            ground.bus,
            ground.clock,
            decided=publishing.wake,
            purged=indexing.purged,
        )
        await erasing.resume()
        log = Router(contract.LOG, deadline_s=COMMIT_DEADLINE_S)
        chunks = Router(contract.BODIES, deadline_s=COMMIT_DEADLINE_S)
        asks = Router("request_vault.asks")
        ingest = Ingest(store, bodies, recorded=(telling.tell, indexing.wake))
        log.on_batch(ingest.on_events, max_events=config.batch_events, beside=BATCHES_BESIDE)
        chunks.on_batch(ingest.on_bodies, max_events=BODY_CHUNKS_AT_ONCE)
        Log(store, decided=publishing.wake).bind(asks)
        Events(store).bind(asks)
        Calls(store, bodies, ground.clock).bind(asks)
        Marks(
            store,
            ground.bus,
            ground.clock,
            decided=publishing.wake,
            new_share=lambda: secrets.token_urlsafe(SHARE_BYTES),
        ).bind(asks)
        Erasers(store, erasing, ground.clock).bind(asks)
        Stats(store, bodies, retention=lambda: keeping.round, erasures=lambda: erasing.count).bind(asks)
        Models(store, ordered=rebuilding.order).bind(asks)
        async with task_group() as tasks:
            working = [
                tasks.create_task(worker.run(), name=f"request_vault.{type(worker).__name__.lower()}")
                for worker in (publishing, telling, keeping, erasing, rebuilding, indexing)
            ]
            try:
                async with ground.bus.serve(log, chunks, asks):
                    yield
                # What is not published by then is published after the next start.
                with suppress(TimeoutError):
                    async with asyncio.timeout(DRAIN_S):
                        await publishing.published()
            finally:
                for task in working:
                    task.cancel()
