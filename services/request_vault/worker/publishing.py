"""Decisions from the log to the bus.

The log is the outbox: a decision is published after it was recorded, in the order of positions, from a
checkpoint that is stored after the bus has confirmed. A crash in between publishes again what was published,
with the same ids and stamps; nothing is left out.

Of several instances one does it: the one that leads. One that lost the lead, and has not noticed, publishes
at most the page that it has in hand, again with the same ids and stamps, and cannot move the checkpoint.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

import structlog

from bus import codec
from bus.clock import Clock
from bus.connect import Bus
from bus.errors import BusError, Unavailable
from bus.event import Event, Stamp
from schemas.request_vault import Recorded
from services.request_vault.store.port import Store

PAGE_DECISIONS = 256
RETRY_FIRST_S = 0.5
RETRY_MOST_S = 15.0

_log = structlog.get_logger("request_vault")


class Publishing:
    def __init__(self, store: Store, bus: Bus, clock: Clock) -> None:
        self._store = store
        self._bus = bus
        self._clock = clock
        self._decided = asyncio.Event()
        self._all_published = asyncio.Event()
        store.listen(self.wake)

    def wake(self) -> None:
        """Decisions were appended. Returns at once."""
        self._all_published.clear()
        self._decided.set()

    async def published(self) -> None:
        """Return when every decision is on the bus, or another instance sees to it."""
        if self._store.leads():
            await self._all_published.wait()

    async def run(self) -> None:
        """Until cancelled."""
        pause_s = RETRY_FIRST_S
        while True:
            await self._store.lead()
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
                if not self._decided.is_set() and self._store.leads():
                    self._all_published.set()
                await self._decided.wait()

    async def _publish_page(self) -> bool:
        """Publish what follows the checkpoint; whether there was anything."""
        page = await self._store.read_decisions(self._store.published_to(), PAGE_DECISIONS)
        if not page.records:
            return False
        for run in _runs([stamped(record) for record in page.records]):
            if not self._store.leads():
                return False
            await self._bus.emit(*run, ordered=True)
        await self._store.mark_published(page.next_after)
        return True


def stamped(record: Recorded) -> Event:
    """A recorded decision as it is published: where it is in the log goes with it."""
    event = codec.decode_event(record.event)
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
