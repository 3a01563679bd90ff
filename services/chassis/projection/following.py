"""The follower: what it has heard, what it has read, what it has applied. See the package for its
promises."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import msgspec
import structlog

from bus import codec
from bus.clock import Clock
from bus.connect import Bus
from bus.errors import BusError, DeadlinePassed, NobodyAnswers, Unavailable
from bus.event import Event
from bus.message import Subscription
from bus.router import Delivery, Router
from schemas.request_vault import MAX_PAGE, CategoryHeads, LogPage, ReadCategory
from services.chassis.projection import snapshot
from services.chassis.projection.fold import Fold, Folded
from services.chassis.projection.snapshot import Saved

READ_TIMEOUT_S = 5.0
FIRST_RETRY_S = 0.02
LONGEST_RETRY_S = 2.0
SAVE_AFTER_S = 1.0
# Also when nothing changed: the age that a start without the vault begins with is the snapshot's.
SAVE_EVERY_S = 60.0
MAX_EARLY = 10_000

S = TypeVar("S")

_log = structlog.get_logger("services.projection")


class Footing(Protocol):
    """What a projection needs of a service's Ground."""

    @property
    def bus(self) -> Bus: ...

    @property
    def clock(self) -> Clock: ...

    @property
    def data_dir(self) -> Path: ...


class _Decision(msgspec.Struct, frozen=True):
    number: int
    stream: str
    version: int
    event: Event


class Projection(Generic[S]):
    """Made by `Projection.open`."""

    def __init__(self, footing: Footing, fold: Fold[S]) -> None:
        self.position = 0  # the number in partition 0 of the last applied decision
        self._bus = footing.bus
        self._clock = footing.clock
        self._fold = fold
        self._types = {fact.TYPE: fact for fact in fold.facts}
        self._file = footing.data_dir / footing.bus.source / f"{fold.category}.projection"
        self._streams: dict[str, Folded[S]] = {}
        self._last_id = ""
        self._early: dict[int, _Decision] = {}  # by the predecessor's number: what came too early
        self._complete_at: datetime | None = None
        self._complete_s: float | None = None  # the same on the monotonic clock, once known in this process
        self._unproved = False  # loaded from a snapshot, not yet compared with the log
        self._stuck = False
        self._unsaved = False
        self._behind = asyncio.Event()
        self._ready = asyncio.Event()
        self._reading = asyncio.Lock()
        self._readings = 0

    @classmethod
    @asynccontextmanager
    async def open(
        cls, footing: Footing, fold: Fold[S], *, ready_within_s: float = 2.0
    ) -> AsyncIterator[Projection[S]]:
        """Follow until exit, which writes the snapshot."""
        projection = cls(footing, fold)
        await projection._load()
        projection._behind.set()
        name = f"{footing.bus.source}.follows.{fold.category}"
        router = Router(Subscription(name, (f"{fold.category}.#",), mode="every_instance"), concurrency=1)
        router.on_event(f"{fold.category}.#", projection._on_event)
        router.on(CategoryHeads, projection._on_heads)
        async with footing.bus.serve(router), asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(projection._follow()), tasks.create_task(projection._save_often())]
            try:
                await projection._until_ready(ready_within_s)
                yield projection
            finally:
                for task in running:
                    task.cancel()
                await projection._save()

    def get(self, stream: str) -> Folded[S]:
        """A stream's version and state: version 0 and None when nothing is known of it."""
        return self._streams.get(stream) or Folded(0, None)

    def states(self) -> Iterator[S]:
        """Every state that is there, in the order of the streams' first decisions."""
        return (folded.state for folded in self._streams.values() if folded.state is not None)

    def age_s(self) -> float:
        """Seconds since the state was last known to be complete; infinite when it never was."""
        if self._complete_s is not None:
            return max(0.0, self._clock.monotonic() - self._complete_s)
        if self._complete_at is not None:
            return max(0.0, (self._clock.now() - self._complete_at).total_seconds())
        return math.inf

    async def refresh(self, timeout_s: float = READ_TIMEOUT_S) -> None:
        """Read the log up to its head. Callers that come while one reading runs share the next. Raises
        BusError when the vault cannot be asked, Unavailable when that takes longer than `timeout_s`."""
        wanted = self._readings + (2 if self._reading.locked() else 1)
        try:
            async with asyncio.timeout(timeout_s), self._reading:
                if self._readings < wanted:
                    await self._read_to_head()
                    self._readings += 1
        except TimeoutError:
            raise Unavailable(
                f"the log of {self._fold.category} was not read within {timeout_s:g} s"
            ) from None

    async def reach(self, number: int, timeout_s: float = READ_TIMEOUT_S) -> None:
        """Return once the decision with this number is applied: read your writes. Raises like `refresh`."""
        if self.position < number:
            await self.refresh(timeout_s)

    async def _until_ready(self, ready_within_s: float) -> None:
        if self._complete_at is not None:
            return
        try:
            async with asyncio.timeout(ready_within_s):
                await self._ready.wait()
        except TimeoutError:
            _log.warning(
                "ready without its state: the log could not be read yet", category=self._fold.category
            )

    async def _follow(self) -> None:
        """Read the log whenever something shows that it holds more."""
        retry_s = FIRST_RETRY_S
        while True:
            await self._behind.wait()
            self._behind.clear()
            try:
                await self.refresh()
            except BusError as error:
                if retry_s >= LONGEST_RETRY_S:
                    _log.warning(
                        "log not read, trying again", category=self._fold.category, trouble=str(error)
                    )
                self._behind.set()
                await self._clock.sleep(retry_s)
                retry_s = min(retry_s * 2, LONGEST_RETRY_S)
            else:
                retry_s = FIRST_RETRY_S
                self._ready.set()

    async def _on_event(self, event: Event, delivery: Delivery) -> None:
        stamp = event.stamp
        if stamp is None or _category(stamp.stream) != self._fold.category:
            return  # not a decision from the log
        decision = _Decision(stamp.position[1], stamp.stream, stamp.version, event)
        if decision.number <= self.position or self._stuck:
            return
        if (stamp.prev or 0) != self.position or self._unproved:
            if len(self._early) >= MAX_EARLY:
                self._early.clear()
            self._early[stamp.prev or 0] = decision
            self._behind.set()
            return
        self._apply(decision)
        self._apply_early()

    async def _on_heads(self, heads: CategoryHeads, delivery: Delivery) -> None:
        if self._stuck:
            return
        head = heads.heads.get(self._fold.category, 0)
        if head == self.position and not self._unproved and not self._behind.is_set():
            self._complete()
        else:
            self._behind.set()

    async def _read_to_head(self) -> None:
        if self._unproved:
            await self._prove()
        while True:
            after = self.position  # events may carry it past the page's head before the answer is here
            page = await self._read(after=after)
            if page.head < after:
                self._start_over(f"the log ends at {page.head}, before position {after}")
                continue
            for recorded in page.records:
                number = recorded.position[1]
                if number > self.position and not self._stuck:
                    self._apply(
                        _Decision(
                            number, recorded.stream, recorded.version, codec.decode_event(recorded.event)
                        )
                    )
            if self._stuck:
                return
            if not page.records or page.next_after >= page.head:
                break
        self._apply_early()
        self._complete()

    async def _prove(self) -> None:
        """Is the snapshot one of this log? The last decision in it must be where it was."""
        page = await self._read(after=self.position - 1, limit=1)
        found = [
            codec.decode_event(recorded.event).id
            for recorded in page.records
            if recorded.position[1] == self.position
        ]
        if found != [self._last_id]:
            self._start_over(f"position {self.position} of the log holds another decision")
        self._unproved = False

    async def _read(self, *, after: int, limit: int = MAX_PAGE) -> LogPage:
        try:
            return await self._bus.ask(
                ReadCategory(category=self._fold.category, after=after, limit=limit), timeout_s=READ_TIMEOUT_S
            )
        except (NobodyAnswers, DeadlinePassed) as error:
            raise Unavailable(f"the request vault does not answer: {error}") from error

    def _start_over(self, reason: str) -> None:
        _log.warning("reading the log from the start", category=self._fold.category, reason=reason)
        before, self._streams = self._streams, {}
        self.position, self._last_id, self._unproved = 0, "", False
        self._early.clear()
        if self._fold.changed is not None:
            for stream, folded in before.items():
                self._fold.changed(stream, folded.state, None)

    def _apply(self, decision: _Decision) -> None:
        """Fold one decision. One of a known type that cannot be read stops the fold."""
        event = decision.event
        before = self.get(decision.stream).state
        after = before
        known = self._types.get(event.type)
        if known is not None:
            try:
                after = self._fold.evolve(before, event.read(known), event.time)
            except Exception as error:
                self._stuck = True
                _log.error(
                    "cannot read a decision, stays at the state before it", event_id=event.id, exc_info=error
                )
                return
        self._streams[decision.stream] = Folded(decision.version, after)
        self.position, self._last_id, self._unsaved = decision.number, event.id, True
        if self._fold.changed is not None:
            self._fold.changed(decision.stream, before, after)

    def _apply_early(self) -> None:
        while (early := self._early.pop(self.position, None)) is not None and not self._stuck:
            self._apply(early)
        if self._early:
            self._early = {prev: early for prev, early in self._early.items() if early.number > self.position}

    def _complete(self) -> None:
        self._complete_at, self._complete_s = self._clock.now(), self._clock.monotonic()

    async def _load(self) -> None:
        """Begin with the snapshot, if there is one that can be trusted."""
        try:
            content = await asyncio.to_thread(self._file.read_bytes)
        except FileNotFoundError:
            return
        except OSError as error:
            _log.warning("snapshot not read", file=str(self._file), trouble=str(error))
            return
        try:
            saved, streams = snapshot.decode(content, self._fold)
        except (ValueError, msgspec.MsgspecError) as error:
            _log.warning("snapshot ignored", file=str(self._file), trouble=str(error))
            return
        self.position, self._last_id, self._complete_at = saved.position, saved.last_id, saved.complete_at
        self._streams = streams
        self._unproved = self.position > 0
        if self._fold.changed is not None:
            for stream, folded in streams.items():
                self._fold.changed(stream, None, folded.state)

    async def _save_often(self) -> None:
        since_s = 0.0
        while True:
            await self._clock.sleep(SAVE_AFTER_S)
            since_s += SAVE_AFTER_S
            if self._unsaved or since_s >= SAVE_EVERY_S:
                await self._save()
                since_s = 0.0

    async def _save(self) -> None:
        if self._complete_at is None:
            return  # nothing that could be trusted
        complete_at = self._clock.now() - timedelta(seconds=self.age_s())
        streams = {
            stream: (folded.version, msgspec.Raw(msgspec.msgpack.encode(folded.state)))
            for stream, folded in self._streams.items()
        }
        saved = Saved(
            self._fold.category, self._fold.version, self.position, self._last_id, complete_at, streams
        )
        self._unsaved = False
        try:
            await asyncio.to_thread(snapshot.write, self._file, snapshot.encode(saved))
        except OSError as error:
            self._unsaved = True
            _log.warning("snapshot not written", file=str(self._file), trouble=str(error))


def _category(stream: str) -> str:
    return stream.partition(".")[0]
