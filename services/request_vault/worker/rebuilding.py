"""Building read models anew, beside those that answer: one whose version is not today's as soon as the vault
opens, any other when it is asked for. What a swap leaves behind is removed afterwards."""

from __future__ import annotations

import asyncio

import structlog

from bus.clock import Clock
from bus.errors import Unavailable
from bus.tasks import task_group
from services.request_vault.store.port import Store

STEP_RECORDS = 400
"""What the engine puts in without holding up the ingest for more than some milliseconds."""

DROP_ROWS = 500
DROP_PAUSE_S = 0.01
TELL_S = 5.0
RETRY_S = 5.0

_log = structlog.get_logger("request_vault")


class Rebuilding:
    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._ordered = {model.name: asyncio.Event() for model in store.models()}

    def order(self, name: str) -> None:
        """Rebuild this model; returns at once."""
        self._ordered[name].set()

    async def run(self) -> None:
        """Until cancelled."""
        async with task_group() as tasks:
            for model in self._store.models():
                if model.state == "rebuilding":
                    self.order(model.name)
                tasks.create_task(self._keep(model.name), name=f"request_vault.rebuilding.{model.name}")

    async def _keep(self, name: str) -> None:
        while True:
            try:
                await self._drop_old()
                await self._ordered[name].wait()
                await self._rebuild(name)
            except Unavailable as error:
                _log.warning("a read model is not rebuilt yet", model=name, error=str(error), retry_s=RETRY_S)
                await self._clock.sleep(RETRY_S)

    async def _rebuild(self, name: str) -> None:
        began_s = told_s = self._clock.monotonic()
        state = await self._store.rebuild(name, STEP_RECORDS)
        self._ordered[name].clear()
        first = state.done
        while state.state == "rebuilding":
            now_s = self._clock.monotonic()
            if now_s - told_s >= TELL_S:
                told_s = now_s
                per_s = round((state.done - first) / (now_s - began_s))
                _log.info(
                    "a read model is being rebuilt", model=name, done=state.done, of=state.of, per_s=per_s
                )
            state = await self._store.rebuild(name, STEP_RECORDS)
        took_s = round(self._clock.monotonic() - began_s, 1)
        _log.info(
            "a read model was rebuilt", model=name, version=state.version, records=state.of, took_s=took_s
        )

    async def _drop_old(self) -> None:
        while await self._store.drop_old(DROP_ROWS):
            await self._clock.sleep(DROP_PAUSE_S)
