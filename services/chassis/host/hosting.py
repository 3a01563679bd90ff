"""The host itself: keeps each service running, beats for it, and drains all of them. See the package for its
promises."""

from __future__ import annotations

import asyncio
import os
import platform
import signal
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, nullcontext, suppress
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import structlog

from bus.connect import Bus
from bus.errors import BusError, Unavailable
from schemas.mission_control import (
    BEAT_EVERY_S,
    ServiceBeat,
    ServiceState,
)
from services.chassis.host.board import Board
from services.chassis.host.failing import ServiceFailed, leaves, told, unless_known
from services.chassis.host.ground import Ground, Part, Shared
from services.chassis.telemetry import speaking_as

FIRST_RESTART_S = 1.0
LONGEST_RESTART_S = 60.0
SETTLED_AFTER_S = 60.0
LAST_BEAT_S = 1.0

T = TypeVar("T")

_log = structlog.get_logger("services.host")


class Host:
    """The services of one process. Made by `open_host`."""

    def __init__(
        self,
        bus: Bus,
        parts: Sequence[Part],
        *,
        data_dir: Path,
        version: str,
        drain_s: float,
        shared: Shared,
    ) -> None:
        self._bus = bus
        self._drain_s = drain_s
        self._stopping = asyncio.Event()
        self._settled = asyncio.Event()  # each service is ready, waiting or failed for the first time
        self._failure: ServiceFailed | None = None
        instance = bus.ids.new()
        self._running = [_Running(part, bus, data_dir, instance, version, shared) for part in parts]
        self.board = Board(bus.clock)
        self.overdue: tuple[str, ...] = ()  # services that did not drain in time

    @property
    def stopping(self) -> bool:
        return self._stopping.is_set()

    def announced(self, service: str) -> dict[str, str]:
        """What a service told at start, such as its `url`."""
        found = {run.part.name: dict(run.announced) for run in self._running}
        return found.get(service, {})

    def states(self) -> dict[str, ServiceState]:
        return {run.part.name: run.state for run in self._running}

    def stop(self) -> None:
        """Ask for the end. Returns at once."""
        self._stopping.set()

    async def until_stopped(self) -> None:
        """Return when the end was asked for, by `stop` or a signal."""
        await self._stopping.wait()

    async def _start(self, tasks: asyncio.TaskGroup) -> None:
        if not self._running:
            self._settled.set()
        stopped = tasks.create_task(self._stopping.wait())
        settled = tasks.create_task(self._settled.wait())
        await asyncio.wait((stopped, settled), return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        settled.cancel()

    async def _keep(self, run: _Running) -> None:
        """Run one service until the end, starting it again when it fails."""
        clock = self._bus.clock
        delay_s = FIRST_RESTART_S
        with speaking_as(run.part.name):
            while True:
                run.state = "starting"
                ready_at: float | None = None
                try:
                    async with run.part.build(run.part.config, run.ground):
                        ready_at = clock.monotonic()
                        self._say(run, "ready", None)
                        await self._stopping.wait()
                        self._say(run, "draining", None)
                    self._say(run, "stopped", None)
                    return
                except Exception as error:
                    if not self._may_restart(run, error, ready_at is not None):
                        return
                    if ready_at is not None and clock.monotonic() - ready_at >= SETTLED_AFTER_S:
                        delay_s = FIRST_RESTART_S
                    trouble = told(error)
                    _log.error(
                        "service failed", trouble=trouble, again_in_s=delay_s, exc_info=unless_known(error)
                    )
                    self._say(run, "waiting", trouble)
                    run.restarts += 1
                await clock.sleep(delay_s)
                delay_s = min(delay_s * 2, LONGEST_RESTART_S)

    def _may_restart(self, run: _Running, error: Exception, was_ready: bool) -> bool:
        if self._stopping.is_set():
            _log.error("service failed while it drained", trouble=told(error), exc_info=unless_known(error))
            self._say(run, "failed", told(error))
            return False
        if was_ready or run.was_ready or all(isinstance(leaf, Unavailable) for leaf in leaves(error)):
            return True
        if (fault := unless_known(error)) is not None:
            _log.error("service cannot start", exc_info=fault)
        self._failure = ServiceFailed(run.part.name, leaves(error)[0])
        self._failure.__cause__ = error
        self._say(run, "failed", told(error))
        self._settled.set()
        return False

    def _say(self, run: _Running, state: ServiceState, trouble: str | None) -> None:
        run.state, run.trouble = state, trouble
        run.was_ready = run.was_ready or state == "ready"
        run.changed.set()
        if all(each.state != "starting" for each in self._running):
            self._settled.set()

    async def _drain(self, keepers: list[asyncio.Task[None]]) -> None:
        self._stopping.set()
        for run, keeper in zip(self._running, keepers, strict=True):
            if run.state in ("starting", "waiting"):
                keeper.cancel()
        if keepers:
            _, late = await asyncio.wait(keepers, timeout=self._drain_s)
            self.overdue = tuple(sorted(task.get_name() for task in late))
            if late:
                _log.error("not drained in time, cancelled", services=self.overdue, drain_s=self._drain_s)
            for task in late:
                task.cancel()

    async def _beat(self, run: _Running) -> None:
        """Tell how a service is, every BEAT_EVERY_S and when that changes."""
        tick = run.ground.clock.sleep
        while True:
            run.changed.clear()
            await self._beat_once(run)
            async with asyncio.TaskGroup() as either:
                waits = [either.create_task(run.changed.wait()), either.create_task(tick(BEAT_EVERY_S))]
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
                for wait in waits:
                    wait.cancel()

    async def _beat_last(self) -> None:
        """Tell that the services have ended, so that nobody takes them for lost."""
        with suppress(TimeoutError):  # then their silence has to tell it
            async with asyncio.timeout(LAST_BEAT_S):
                for run in self._running:
                    await self._beat_once(run)

    async def _beat_once(self, run: _Running) -> None:
        try:
            await run.ground.bus.signal(run.beat())
        except BusError as error:
            _log.debug("heartbeat not sent", service=run.part.name, trouble=str(error))


@asynccontextmanager
async def open_host(
    bus: Bus,
    parts: Sequence[Part],
    *,
    data_dir: Path,
    version: str,
    drain_s: float = 10.0,
    signals: bool = False,
    shared: Shared | None = None,
) -> AsyncIterator[Host]:
    """Start `parts` on `bus`. Ready when every service is (or waits for something that is down); drained on
    exit. shared: unless given, what a process by itself has. With `signals` SIGINT and SIGTERM ask for the
    end, also while it starts: look at `stopping`. Raises ServiceFailed."""
    shared = shared or Shared.alone(bus.clock)
    host = Host(bus, parts, data_dir=data_dir, version=version, drain_s=drain_s, shared=shared)
    failure: Exception | None = None
    async with bus.as_source("host").serve(host.board.router()):
        with _signals(host) if signals else nullcontext():
            async with asyncio.TaskGroup() as tasks:
                beats = [tasks.create_task(host._beat(run)) for run in host._running]
                keepers = [tasks.create_task(host._keep(run), name=run.part.name) for run in host._running]
                try:
                    await host._start(tasks)
                    if host._failure is None:
                        yield host
                except Exception as error:
                    failure = error  # the caller's own, raised below without the task groups' wrapping
                finally:
                    await host._drain(keepers)
                    for beat in beats:
                        beat.cancel()
                    await host._beat_last()
    if (failure := failure or host._failure) is not None:
        raise failure


def run_loop(main: Coroutine[Any, Any, T]) -> T:
    """Run a program's main coroutine on uvloop where there is one, else on asyncio's loop."""
    try:
        from uvloop import new_event_loop
    except ImportError:
        factory = None
    else:
        factory = new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main)


class _Running:
    """One service of this process and how it is."""

    def __init__(
        self, part: Part, bus: Bus, data_dir: Path, instance: str, version: str, shared: Shared
    ) -> None:
        self.part = part
        self.state: ServiceState = "starting"
        self.was_ready = False
        self.restarts = 0
        self.trouble: str | None = None
        self.announced: dict[str, str] = {"key": shared.secrets.ids[0]}
        self.changed = asyncio.Event()
        self._identity = (instance, version, platform.node(), os.getpid())
        self._started_at: datetime = bus.clock.now()
        self.ground = Ground(bus.as_source(part.name), bus.clock, bus.ids, data_dir, self._announce, shared)

    def _announce(self, name: str, value: str) -> None:
        self.announced[name] = value

    def beat(self) -> ServiceBeat:
        instance, version, host, pid = self._identity
        return ServiceBeat(
            service=self.part.name,
            instance=instance,
            state=self.state,
            host=host,
            pid=pid,
            version=version,
            started_at=self._started_at,
            restarts=self.restarts,
            announced=dict(self.announced),
            trouble=self.trouble,
        )


@contextmanager
def _signals(host: Host) -> Iterator[None]:
    """SIGINT and SIGTERM stop the host; the second of them ends the process at once, as a shell reports it
    (128 + number)."""
    loop = asyncio.get_running_loop()

    def on_signal(number: int) -> None:
        if host.stopping:
            os._exit(128 + number)
        host.stop()

    numbers = (signal.SIGINT, signal.SIGTERM)
    for number in numbers:
        loop.add_signal_handler(number, on_signal, number)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
