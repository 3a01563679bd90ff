"""Building read models anew, beside those that answer: one whose version is not today's as soon as the vault
opens, any other when it is asked for, and one that takes much more disk than it needs. What a swap leaves
behind is removed afterwards.

Of several instances the one that leads does it. Another one that is asked begins a build, which all of them
see, and leaves it to that one.
"""

from __future__ import annotations

import asyncio

import structlog

from bus.clock import Clock
from bus.errors import Unavailable
from bus.tasks import task_group
from schemas.request_vault import ModelState
from services.request_vault.store.port import Store

STEP_RECORDS = 400
"""What the engine puts in without holding up the ingest for more than some milliseconds."""

DROP_ROWS = 500
DROP_PAUSE_S = 0.01
LOOK_S = 5.0
"""How often the instance that leads looks for builds that others began."""
LOOK_FOR_WASTE_S = 60.0
REST_S = 3600.0
"""A model that was written anew for its disk is left alone for so long."""
TELL_S = 5.0
RETRY_S = 5.0

_log = structlog.get_logger("request_vault")


class Rebuilding:
    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._ordered: set[str] = set()
        self._stirred = {model.name: asyncio.Event() for model in store.models()}

    def order(self, name: str) -> None:
        """Rebuild this model; returns at once."""
        self._ordered.add(name)
        self._stirred[name].set()

    async def run(self) -> None:
        """Until cancelled."""
        async with task_group() as tasks:
            for name in self._stirred:
                tasks.create_task(self._keep(name), name=f"request_vault.rebuilding.{name}")
            tasks.create_task(self._stir(), name="request_vault.rebuilding")

    async def _stir(self) -> None:
        while True:
            await self._store.lead()
            for stirred in self._stirred.values():
                stirred.set()
            await self._clock.sleep(LOOK_S)

    async def _keep(self, name: str) -> None:
        tidy = False  # whether nothing is left that no longer answers
        look_at_s = self._clock.monotonic()  # for waste
        while True:
            self._stirred[name].clear()
            try:
                if not self._store.leads():
                    tidy = False
                    await self._begin_ordered(name)
                else:
                    if not tidy:
                        await self._drop_old()
                        tidy = True
                    if name in self._ordered or self._state(name).state == "rebuilding":
                        tidy = False
                        await self._rebuild(name)
                        continue
                    if self._clock.monotonic() >= look_at_s:
                        look_at_s = self._clock.monotonic() + LOOK_FOR_WASTE_S
                        if await self._store.is_wasteful(name):
                            tidy = False
                            await self._rewrite(name)
                            look_at_s = self._clock.monotonic() + REST_S
                            continue
            except Unavailable as error:
                _log.warning("a read model is not rebuilt yet", model=name, error=str(error), retry_s=RETRY_S)
                await self._clock.sleep(RETRY_S)
            else:
                await self._stirred[name].wait()

    async def _begin_ordered(self, name: str) -> None:
        if name in self._ordered:
            await self._store.rebuild(name, STEP_RECORDS)
            self._ordered.discard(name)

    async def _rebuild(self, name: str) -> None:
        """To its end, or until another instance leads."""
        began_s = told_s = self._clock.monotonic()
        state = await self._store.rebuild(name, STEP_RECORDS)
        self._ordered.discard(name)
        first = state.done
        while state.state == "rebuilding":
            if not self._store.leads():
                return
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

    async def _rewrite(self, name: str) -> None:
        """To its end, or until another instance leads; half of the time the disk is ingest's."""
        began_s = step_s = self._clock.monotonic()
        while await self._store.rewrite(name, STEP_RECORDS):
            if not self._store.leads():
                return
            await self._clock.sleep(self._clock.monotonic() - step_s)
            step_s = self._clock.monotonic()
        took_s = round(self._clock.monotonic() - began_s, 1)
        _log.info("a read model was written anew, for its disk", model=name, took_s=took_s)

    def _state(self, name: str) -> ModelState:
        return next(model for model in self._store.models() if model.name == name)

    async def _drop_old(self) -> None:
        while await self._store.drop_old(DROP_ROWS):
            await self._clock.sleep(DROP_PAUSE_S)
