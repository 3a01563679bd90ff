"""How the vault is put together: the store, the handlers on three routers, the worker beside them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from bus.router import Router
from schemas import request_vault as contract
from services.chassis.host import Ground
from services.request_vault.config import Config
from services.request_vault.handlers import Handlers
from services.request_vault.store import open_store
from services.request_vault.store.bodies import Bodies
from services.request_vault.worker import Worker

BODY_CHUNKS_AT_ONCE = 32
COMMIT_DEADLINE_S = 60.0
DRAIN_S = 2.0


@asynccontextmanager
async def build(config: Config, ground: Ground) -> AsyncIterator[None]:
    folder = ground.data_dir / "request_vault"
    async with open_store(
        config.url, folder, ground.clock, partitions=config.partitions, readers=config.readers
    ) as store:
        worker = Worker(store, ground.bus, ground.clock, tell_interval_s=config.tell_interval_ms / 1000)
        handlers = Handlers(
            store, Bodies(folder / "bodies"), ground.clock, decided=worker.wake, recorded=worker.tell
        )
        async with asyncio.TaskGroup() as tasks:
            working = tasks.create_task(worker.run(), name="request_vault.worker")
            try:
                async with ground.bus.serve(*routers(handlers, config)):
                    yield
                # What is not published by then is published after the next start.
                with suppress(TimeoutError):
                    async with asyncio.timeout(DRAIN_S):
                        await worker.published()
            finally:
                working.cancel()


def routers(handlers: Handlers, config: Config) -> tuple[Router, ...]:
    log = Router(contract.LOG, deadline_s=COMMIT_DEADLINE_S)
    log.on_batch(handlers.on_events, max_events=config.batch_events)
    bodies = Router(contract.BODIES, deadline_s=COMMIT_DEADLINE_S)
    bodies.on_batch(handlers.on_bodies, max_events=BODY_CHUNKS_AT_ONCE)
    asks = Router("request_vault.asks")
    asks.answers(contract.Append, handlers.answer_append)
    asks.answers(contract.ReadCategory, handlers.answer_read_category)
    asks.answers(contract.ReadStream, handlers.answer_read_stream)
    asks.answers(contract.ReadLog, handlers.answer_read_log)
    asks.answers(contract.TraceEvents, handlers.answer_trace)
    asks.answers(contract.SearchCalls, handlers.answer_search_calls)
    asks.answers(contract.GetCall, handlers.answer_get_call)
    asks.answers(contract.ReadBody, handlers.answer_read_body)
    asks.answers(contract.GetVaultStats, handlers.answer_stats)
    return log, bodies, asks
