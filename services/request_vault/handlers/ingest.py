"""Events and bodies that reach the vault over the bus.

A batch of events is acknowledged when it was committed, never before. When some of a batch cannot be
recorded, the others are; the batch then fails with the reason, the bus tries each event alone, those that
are recorded count as repeated, and only the others are parked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from bus.errors import BusError, Reject
from bus.event import Event
from schemas.request_vault import BodyChunk, Position
from services.request_vault.store import port
from services.request_vault.store.bodies import Bodies

CallsToTell = Mapping[str, tuple[int, Position]]


class Ingest:
    """recorded: each is called with the calls after a commit that made them readable; returns at once."""

    def __init__(
        self, store: port.Log, bodies: Bodies, *, recorded: Sequence[Callable[[CallsToTell], None]]
    ) -> None:
        self._store = store
        self._bodies = bodies
        self._recorded = recorded

    async def on_events(self, events: list[Event]) -> None:
        ingested = await self._store.record(events)
        if ingested.calls:
            for tell in self._recorded:
                tell(ingested.calls)
        if ingested.refused:
            raise _first_of([error for _, error in ingested.refused], len(events))

    async def on_bodies(self, events: list[Event]) -> None:
        chunks: list[BodyChunk] = []
        refused: list[BusError] = []
        for event in events:
            try:
                chunks.append(event.read(BodyChunk))
            except BusError as error:
                refused.append(error)
        refused += [error for error in await self._bodies.put(chunks) if error is not None]
        if refused:
            raise _first_of(refused, len(events))


def _first_of(errors: list[BusError], events: int) -> BusError:
    """What a batch fails with: its only event's own error, so that this is the reason it is parked with."""
    if events == 1:
        return errors[0]
    return Reject(f"{len(errors)} of {events} events cannot be recorded; the first: {errors[0]}")
