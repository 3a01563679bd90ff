"""Asks that mark calls: decided on the call's own stream, appended to it, and so published.

Each may be repeated: the event's id derives from the command's, and what is done already is not done again.
"""

from __future__ import annotations

from collections.abc import Callable

from bus import codec
from bus.clock import Clock
from bus.connect import Bus
from bus.errors import Refused, Unavailable
from bus.ids import derived
from bus.router import Delivery, Router
from schemas.request_vault import (
    MAX_PAGE,
    AnnotateCall,
    CallMarks,
    DeleteCall,
    RestoreCall,
    ShareCall,
    StarCall,
    UnshareCall,
    UnstarCall,
)
from services.request_vault.domain import marks as domain
from services.request_vault.domain.marks import Mark, Told, mark_stream
from services.request_vault.store.port import Store

MAX_COMMAND_ID_CHARS = 200
TRIES = 8


class Marks:
    """decided(): called after an append. new_share(): an unguessable name. Both return at once."""

    def __init__(
        self,
        store: Store,
        bus: Bus,
        clock: Clock,
        *,
        decided: Callable[[], None],
        new_share: Callable[[], str],
    ) -> None:
        self._store = store
        self._bus = bus
        self._clock = clock
        self._decided = decided
        self._new_share = new_share

    def bind(self, router: Router) -> None:
        for ask in (
            StarCall, UnstarCall, AnnotateCall, ShareCall, UnshareCall, DeleteCall, RestoreCall,
        ):  # fmt: skip
            router.answers(ask, self.answer_mark)

    async def answer_mark(self, ask: Mark, delivery: Delivery) -> CallMarks:
        if not 0 < len(ask.command_id) <= MAX_COMMAND_ID_CHARS:
            raise Refused("command-invalid", f"command_id must have 1 to {MAX_COMMAND_ID_CHARS} characters")
        if await self._store.get_call(ask.id, ask.bucket, deleted=True) is None:
            raise Refused("call-unknown", f"there is no call {ask.id[:80]!r} in bucket {ask.bucket[:80]}")
        stream = mark_stream(ask.id)
        event_id = derived(ask.command_id, stream)
        share = self._new_share()
        for _ in range(TRIES):
            told, version = await self._read(ask.id, ask.bucket)
            if (done := told.repeated(event_id, ask)) is not None:
                return done
            fact = domain.decide(told.marks, ask, share=share, now=self._clock.now())
            if fact is None:
                return told.marks
            event = self._bus.envelop(fact, key=ask.bucket, subject=ask.id, id=event_id)
            try:
                await self._store.append(stream, version, [codec.encode_event(event)])
            except Refused as refused:
                if refused.reason == "event-conflict":
                    raise domain.conflict() from None
                if refused.reason != "version-conflict":
                    raise
            else:
                self._decided()
                return domain.evolve(told.marks, fact)
        raise Unavailable(f"the marks of call {ask.id[:80]} change too quickly; try again")

    async def _read(self, id: str, bucket: str) -> tuple[Told, int]:
        """And the version of the stream."""
        told = Told(id, bucket)
        version = 0
        while True:
            page = await self._store.read_stream(mark_stream(id), version, MAX_PAGE)
            for record in page.records:
                event = codec.decode_event(record.event)
                told.add(event)
            version = max(page.next_after, version)
            if version >= page.head or not page.records:
                return told, max(version, page.head)
