"""Asks that erase for good: one call (done when it is answered), a subject's calls, a bucket.

Each may be repeated: it is answered with what it did, or how far it is.
"""

from __future__ import annotations

from typing import Protocol

from bus import codec
from bus.clock import Clock
from bus.errors import Refused
from bus.event import Event
from bus.ids import derived
from bus.router import Delivery, Router
from schemas.request_vault import (
    MAX_PAGE,
    EraseBucket,
    EraseCall,
    EraseSubject,
    Erasure,
    GetErasure,
)
from services.request_vault.domain.erasing import EraseAsk, Order, Told, erasure_stream, order, told
from services.request_vault.domain.marks import mark_stream
from services.request_vault.store.port import Store


class Carrying(Protocol):
    """Who carries erasures out."""

    async def order(self, order: Order) -> Erasure: ...

    def going(self, id: str) -> Erasure | None: ...

    async def finished(self, id: str) -> Erasure: ...


class Erasers:
    def __init__(self, store: Store, carrying: Carrying, clock: Clock) -> None:
        self._store = store
        self._carrying = carrying
        self._clock = clock

    def bind(self, router: Router) -> None:
        router.answers(EraseCall, self.answer_erase_call)
        router.answers(EraseSubject, self.answer_erase)
        router.answers(EraseBucket, self.answer_erase)
        router.answers(GetErasure, self.answer_get_erasure)

    async def answer_erase_call(self, ask: EraseCall, delivery: Delivery) -> Erasure:
        ordered = await self._order(ask)
        before = await self._told(ordered)
        if before is not None and before.erasure.state == "finished":
            return before.erasure
        if before is None and self._carrying.going(ordered.id) is None and not await self._is_there(ask):
            raise Refused("call-unknown", f"there is no call {ask.id[:80]!r} in bucket {ask.bucket[:80]}")
        await self._carrying.order(ordered)
        return await self._carrying.finished(ordered.id)

    async def answer_erase(self, ask: EraseSubject | EraseBucket, delivery: Delivery) -> Erasure:
        ordered = await self._order(ask)
        before = await self._told(ordered)
        if before is not None and before.erasure.state == "finished":
            return before.erasure
        return await self._carrying.order(ordered)

    async def answer_get_erasure(self, ask: GetErasure, delivery: Delivery) -> Erasure:
        erasure = self._carrying.going(ask.id)
        if erasure is None and (before := await self._read(ask.id)) is not None:
            erasure = before.erasure
        if erasure is None or erasure.bucket != ask.bucket:
            raise Refused(
                "erasure-unknown", f"there is no erasure {ask.id[:80]!r} in bucket {ask.bucket[:80]}"
            )
        return erasure

    async def _order(self, ask: EraseAsk) -> Order:
        upto = {end.partition: end.number for end in await self._store.ends()}
        usage = {each.bucket: each.calls for each in (await self._store.stats()).usage}
        id = derived(ask.command_id, "vault.erasure", ask.bucket)
        return order(ask, id, now=self._clock.now(), upto=upto, of=usage.get(ask.bucket, 0))

    async def _told(self, ordered: Order) -> Told | None:
        """What the log tells of it. Raises Refused("command-conflict") when that is another command."""
        before = await self._read(ordered.id)
        if before is not None and before.ordered != ordered.fact():
            raise Refused("command-conflict", "this command_id was used for another command; use a new one")
        return before

    async def _read(self, id: str) -> Told | None:
        events: list[Event] = []
        version = 0
        while True:
            page = await self._store.read_stream(erasure_stream(id), version, MAX_PAGE)
            events += codec.decode_batch(codec.join_batch([record.event for record in page.records]))
            version = page.next_after
            if not page.records or version >= page.head:
                return told(events)

    async def _is_there(self, ask: EraseCall) -> bool:
        """Whether there is the call, or what was said of one that has expired."""
        if await self._store.get_call(ask.id, ask.bucket, deleted=True) is not None:
            return True
        page = await self._store.read_stream(mark_stream(ask.id), 0, MAX_PAGE)
        events = codec.decode_batch(codec.join_batch([record.event for record in page.records]))
        return any(event.key == ask.bucket for event in events)
