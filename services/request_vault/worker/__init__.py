"""What the vault does by itself: publishes decisions from the log, beats the category heads, tells which
buckets got calls.

Built by `service.build`, which runs `Worker.run` beside the handlers. The log is the outbox: a decision
is published after it was recorded, in the order of positions, from a checkpoint that is stored after the
bus has confirmed. A crash in between publishes again what was published, with the same ids and stamps;
nothing is left out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence

import structlog

from bus import codec
from bus.clock import Clock
from bus.connect import Bus
from bus.errors import BusError, Unavailable
from bus.event import Event, Stamp
from schemas.request_vault import CallsRecorded, CategoryHeads, Position, Recorded
from services.request_vault.store.port import Store

PAGE_DECISIONS = 256
BEAT_S = 1.0
RETRY_FIRST_S = 0.5
RETRY_MOST_S = 15.0

_log = structlog.get_logger("request_vault")


class Worker:
    """`wake` and `tell` are called by the handlers; both return at once."""

    def __init__(self, store: Store, bus: Bus, clock: Clock, *, tell_interval_s: float) -> None:
        self._store = store
        self._bus = bus
        self._clock = clock
        self._tell_interval_s = tell_interval_s
        self._decided = asyncio.Event()
        self._all_published = asyncio.Event()
        self._news: dict[str, tuple[int, Position]] = {}
        self._has_news = asyncio.Event()

    def wake(self) -> None:
        """Decisions were appended."""
        self._all_published.clear()
        self._decided.set()

    async def published(self) -> None:
        """Return when every decision is on the bus."""
        await self._all_published.wait()

    def tell(self, calls: Mapping[str, tuple[int, Position]]) -> None:
        """Calls became readable: by bucket, how many and the newest position. Adds up while an earlier
        round is being told."""
        for bucket, (count, position) in calls.items():
            before = self._news.get(bucket, (0,))[0]
            self._news[bucket] = (before + count, position)
        if self._news:
            self._has_news.set()

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._publish_decisions(), name="request_vault.publish")
            tasks.create_task(self._beat_heads(), name="request_vault.heads")
            tasks.create_task(self._tell_calls(), name="request_vault.tell")

    async def _publish_decisions(self) -> None:
        pause_s = RETRY_FIRST_S
        while True:
            self._decided.clear()
            try:
                while await self._publish_page():
                    pause_s = RETRY_FIRST_S
            except BusError as error:
                # Whatever it is, going past a decision would lose it: followers see that they wait, and
                # so does the log.
                expected = isinstance(error, Unavailable)
                log = _log.warning if expected else _log.error
                log(
                    "decisions are not published yet",
                    after=self._store.published_to(),
                    error=str(error),
                    retry_s=pause_s,
                )
                await self._clock.sleep(pause_s)
                pause_s = min(pause_s * 2, RETRY_MOST_S)
            else:
                if not self._decided.is_set():
                    self._all_published.set()
                await self._decided.wait()

    async def _publish_page(self) -> bool:
        """Publish what follows the checkpoint; whether there was anything."""
        page = await self._store.read_decisions(self._store.published_to(), PAGE_DECISIONS)
        if not page.records:
            return False
        for run in _runs([stamped(record) for record in page.records]):
            await self._bus.emit(*run, ordered=True)
        await self._store.mark_published(page.next_after)
        return True

    async def _beat_heads(self) -> None:
        while True:
            try:
                await self._bus.signal(CategoryHeads(self._store.heads()))
            except BusError as error:
                _log.debug("category heads were not told", error=str(error))
            await self._clock.sleep(BEAT_S)

    async def _tell_calls(self) -> None:
        while True:
            await self._has_news.wait()
            self._has_news.clear()
            news, self._news = self._news, {}
            try:
                for bucket, (count, position) in news.items():
                    await self._bus.signal(CallsRecorded(bucket, position, count), key=bucket)
            except BusError as error:
                # Live views look again by themselves; a signal is not worth remembering.
                _log.debug("recorded calls were not told", error=str(error))
            await self._clock.sleep(self._tell_interval_s)


def stamped(record: Recorded) -> Event:
    """A recorded decision as it is published: where it is in the log goes with it."""
    (event,) = codec.decode_batch(codec.join_batch([record.event]))
    return _with_stamp(event, Stamp(record.stream, record.version, record.position, record.prev))


def _with_stamp(event: Event, stamp: Stamp) -> Event:
    return Event(
        event.id,
        event.source,
        event.type,
        event.version,
        event.key,
        event.subject,
        event.time,
        event.data,
        event.partitionkey,
        event.correlationid,
        event.causationid,
        event.traceparent,
        stamp,
    )


def _runs(events: Sequence[Event]) -> Iterator[Sequence[Event]]:
    """Consecutive events of one type: what the bus keeps in order within one publication. The next run
    waits for the confirmation of this one, so that decisions arrive in the order of their positions
    whatever their types."""
    start = 0
    for at in range(1, len(events) + 1):
        if at == len(events) or events[at].type != events[start].type:
            yield events[start:at]
            start = at
