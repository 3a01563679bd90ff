"""Runs any set of services in one process: one bus, one TaskGroup, each service on a `Ground` of its own.

Called by `trunkline up` and `trunkline run` (through `run_loop`), and by tests. What it promises:

- `async with open_host(...)` is ready when every service is; services start side by side, in no order.
- A service that cannot start because of what it is or was told (a port that is taken, a bad setting, a
  journal in use) ends the start with ServiceFailed. One that only waits for something that is down
  (Unavailable) is tried again, and the others go on.
- A service that fails later is started again by itself, after 1, 2, 4 ... 60 s (back to 1 s once it ran a
  minute); the others go on. What it missed waits for it on the bus.
- SIGINT or SIGTERM drains all services within `drain_s`, then cancels what is left; a second signal ends the
  process at once.
- Every service beats (`ServiceBeat`), and every host answers `ListServices` from the beats it heard.
"""

from __future__ import annotations

import asyncio
import os
import platform
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, nullcontext
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol, TypeVar

import msgspec
import structlog

from bus.clock import Clock
from bus.connect import Bus
from bus.errors import BusError, Unavailable
from bus.ids import Ids
from bus.router import Delivery, Router
from schemas.mission_control import (
    BEAT_EVERY_S,
    ListServices,
    ServiceBeat,
    ServiceList,
    ServiceSeen,
    ServiceState,
)
from services.chassis.telemetry import speaking_as

FIRST_RESTART_S = 1.0
LONGEST_RESTART_S = 60.0
SETTLED_AFTER_S = 60.0
FORGET_AFTER_S = 600.0
MAX_SEEN = 10_000

T = TypeVar("T")

_log = structlog.get_logger("services.host")


class Ground(msgspec.Struct, frozen=True):
    """What a service stands on, made by the host and handed to its `build`.

    bus: with the service's name as `source`. data_dir: the installation's folder; a service writes below
    `data_dir / <name>`. announce(name, value): tells the host what was found out at start ("url" ->
    "http://127.0.0.1:7080"), for the status page and the person at the terminal.
    """

    bus: Bus
    clock: Clock
    ids: Ids
    data_dir: Path
    announce: Callable[[str, str], None]


class Service(Protocol):
    """A room's `service.build`: `async with build(config, ground)` = ready; leaving it = drained."""

    def __call__(self, config: Any, ground: Ground) -> AbstractAsyncContextManager[None]: ...


class Part(msgspec.Struct, frozen=True):
    """One service to run, with its settings."""

    name: str
    build: Service
    config: Any


class ServiceFailed(Exception):
    """A service could not start. `cause` is why, without the groups that task groups wrap it in."""

    slug = "service-failed"
    meaning = "A service could not start, for a reason that waiting does not mend."
    remedy: str = "Mend what the message names, then start again."
    exit_code: int = 70

    def __init__(self, service: str, cause: BaseException) -> None:
        super().__init__(f"{service} cannot start: {told(cause)}")
        self.service = service
        self.cause = cause
        self.exit_code = getattr(cause, "exit_code", self.exit_code)
        self.remedy = getattr(cause, "remedy", self.remedy)


class Host:
    """The services of one process. Made by `open_host`."""

    def __init__(
        self, bus: Bus, parts: Sequence[Part], *, data_dir: Path, version: str, drain_s: float
    ) -> None:
        self._bus = bus
        self._drain_s = drain_s
        self._stopping = asyncio.Event()
        self._settled = asyncio.Event()  # each service is ready, waiting or failed for the first time
        self._failure: ServiceFailed | None = None
        instance = bus.ids.new()
        self._running = [_Running(part, bus, data_dir, instance, version) for part in parts]
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

    async def _start(self, tasks: asyncio.TaskGroup) -> list[asyncio.Task[None]]:
        keepers = [tasks.create_task(self._keep(run), name=run.part.name) for run in self._running]
        if not keepers:
            self._settled.set()
        stopped = tasks.create_task(self._stopping.wait())
        settled = tasks.create_task(self._settled.wait())
        await asyncio.wait((stopped, settled), return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        settled.cancel()
        return keepers

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
                        "service failed", trouble=trouble, again_in_s=delay_s, exc_info=_unless_known(error)
                    )
                    self._say(run, "waiting", trouble)
                    run.restarts += 1
                await clock.sleep(delay_s)
                delay_s = min(delay_s * 2, LONGEST_RESTART_S)

    def _may_restart(self, run: _Running, error: Exception, was_ready: bool) -> bool:
        if self._stopping.is_set():
            _log.error("service failed while it drained", trouble=told(error), exc_info=_unless_known(error))
            self._say(run, "failed", told(error))
            return False
        if was_ready or run.was_ready or all(isinstance(leaf, Unavailable) for leaf in leaves(error)):
            return True
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
            try:
                await run.ground.bus.signal(run.beat())
            except BusError as error:
                _log.debug("heartbeat not sent", service=run.part.name, trouble=str(error))
            async with asyncio.TaskGroup() as either:
                waits = [either.create_task(run.changed.wait()), either.create_task(tick(BEAT_EVERY_S))]
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
                for wait in waits:
                    wait.cancel()


@asynccontextmanager
async def open_host(
    bus: Bus,
    parts: Sequence[Part],
    *,
    data_dir: Path,
    version: str,
    drain_s: float = 10.0,
    signals: bool = False,
) -> AsyncIterator[Host]:
    """Start `parts` on `bus`. Ready when every service is (or waits for something that is down); drained on
    exit. With `signals` SIGINT and SIGTERM ask for the end, also while it starts: look at `stopping`. Raises
    ServiceFailed."""
    host = Host(bus, parts, data_dir=data_dir, version=version, drain_s=drain_s)
    failure: Exception | None = None
    async with bus.as_source("host").serve(host.board.router()):
        with _signals(host) if signals else nullcontext():
            async with asyncio.TaskGroup() as tasks:
                beats = [tasks.create_task(host._beat(run)) for run in host._running]
                keepers: list[asyncio.Task[None]] = []
                try:
                    keepers = await host._start(tasks)
                    if host._failure is None:
                        yield host
                except Exception as error:
                    failure = (
                        error  # the caller's own; raised below as it is, not in the task group's wrapping
                    )
                finally:
                    await host._drain(keepers)
                    for beat in beats:
                        beat.cancel()
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


def leaves(error: BaseException) -> list[BaseException]:
    """The exceptions inside nested groups, in order; the error itself when it is no group."""
    if not isinstance(error, BaseExceptionGroup):
        return [error]
    return [leaf for inner in error.exceptions for leaf in leaves(inner)]


def told(error: BaseException) -> str:
    """An error in one line for people: what its leaves say, each with its type unless it is one of ours."""
    lines = []
    for leaf in leaves(error):
        text = str(leaf)
        lines.append(
            text if text and hasattr(leaf, "slug") else f"{type(leaf).__name__}: {text}".rstrip(": ")
        )
    return "; ".join(dict.fromkeys(lines))


class Board:
    """What the beats on the bus told: every instance that was heard within FORGET_AFTER_S."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._seen: dict[tuple[str, str], tuple[ServiceBeat, float]] = {}

    def router(self) -> Router:
        router = Router("host.board")
        router.on(ServiceBeat, self.on_service_beat)
        router.answers(ListServices, self.answer_list_services)
        return router

    async def on_service_beat(self, beat: ServiceBeat, delivery: Delivery) -> None:
        if len(self._seen) >= MAX_SEEN:
            self._forget()
        if len(self._seen) < MAX_SEEN:
            self._seen[beat.service, beat.instance] = (beat, self._clock.monotonic())

    async def answer_list_services(self, ask: ListServices, delivery: Delivery) -> ServiceList:
        self._forget()
        now = self._clock.monotonic()
        rows = sorted(
            self._seen.values(), key=lambda row: (row[0].service, row[0].started_at, row[0].instance)
        )
        return ServiceList(
            tuple(
                ServiceSeen(**msgspec.structs.asdict(beat), beat_age_s=round(max(0.0, now - heard), 3))
                for beat, heard in rows
            )
        )

    def _forget(self) -> None:
        now = self._clock.monotonic()
        for key in [key for key, (_, heard) in self._seen.items() if now - heard > FORGET_AFTER_S]:
            del self._seen[key]


class _Running:
    """One service of this process and how it is."""

    def __init__(self, part: Part, bus: Bus, data_dir: Path, instance: str, version: str) -> None:
        self.part = part
        self.state: ServiceState = "starting"
        self.was_ready = False
        self.restarts = 0
        self.trouble: str | None = None
        self.announced: dict[str, str] = {}
        self.changed = asyncio.Event()
        self._identity = (instance, version, platform.node(), os.getpid())
        self._started_at: datetime = bus.clock.now()
        self.ground = Ground(bus.as_source(part.name), bus.clock, bus.ids, data_dir, self._announce)

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


def _unless_known(error: BaseException) -> BaseException | None:
    """The error for a traceback, unless all of it are errors of ours, whose line says everything."""
    return None if all(hasattr(leaf, "slug") for leaf in leaves(error)) else error


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
