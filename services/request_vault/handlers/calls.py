"""Asks for calls: pages of them, one whole, the bytes of a body."""

from __future__ import annotations

from typing import Literal

import msgspec

from bus import codec
from bus.clock import Clock
from bus.errors import Refused
from bus.router import Delivery, Router
from schemas.request_vault import (
    BodyPart,
    CallPage,
    CallRecord,
    CallSummary,
    FacetCalls,
    Facets,
    GetCall,
    GetShared,
    Position,
    ReadBody,
    SearchCalls,
)
from schemas.traffic_gateway import CallCaptured
from services.request_vault.domain.calls import CallQuery, call_query, fitting, stored_apart
from services.request_vault.domain.cursors import MAX_NUMBER, decode_one_of, encode_cursor, fingerprint
from services.request_vault.domain.queries import asks_for_words, narrowed
from services.request_vault.domain.recording import from_us
from services.request_vault.store.bodies import Bodies
from services.request_vault.store.port import PAGE_BYTES, FoundCall, FoundCalls, Store

SEARCH_S = 0.25
"""After this long a page is given as short as it is."""

MAX_FACET_VALUES = 100


class Calls:
    def __init__(self, store: Store, bodies: Bodies, clock: Clock) -> None:
        self._store = store
        self._bodies = bodies
        self._clock = clock

    def bind(self, router: Router) -> None:
        router.answers(SearchCalls, self.answer_search_calls)
        router.answers(FacetCalls, self.answer_facet_calls)
        router.answers(GetCall, self.answer_get_call)
        router.answers(GetShared, self.answer_get_shared)
        router.answers(ReadBody, self.answer_read_body)

    async def answer_search_calls(self, ask: SearchCalls, delivery: Delivery) -> CallPage:
        plain = call_query(ask)
        query = narrowed(plain, ask.query, self._clock.now())
        # Bound to the text of the query: `since:2h` is another moment on every page.
        asked = (
            plain.bucket,
            plain.method,
            plain.host,
            plain.path,
            plain.status,
            plain.status_class,
            plain.error,
            plain.error_slug,
            plain.since_us,
            plain.before_us,
            ask.query.strip(),
        )
        partition = self._store.partition_of(query.bucket)
        newest_first, oldest_first = fingerprint("calls", *asked), fingerprint("calls behind", *asked)
        before = after = None
        if ask.after is not None:
            if ask.cursor:
                raise Refused("query-invalid", "after and cursor: a page follows one or the other")
            after = _number_in(partition, ask.after)
        elif ask.cursor:
            bound_to, vector = decode_one_of(ask.cursor, newest_first, oldest_first)
            number = vector.get(partition)
            if number is None:
                raise Refused("cursor-invalid", "the cursor is of another log; begin again without one")
            before, after = (number, None) if bound_to == newest_first else (None, number)
        found = await self._page(query, before=before, after=after)
        bound_to = newest_first if after is None else oldest_first
        cursor = encode_cursor(bound_to, {partition: found.reached}) if found.more else None
        return CallPage(found.calls, cursor, self._store.texts_behind() if asks_for_words(query) else 0)

    async def _page(
        self, query: CallQuery, *, before: int | None = None, after: int | None = None
    ) -> FoundCalls:
        """Slice by slice until the page is full, there is no more, or SEARCH_S are over."""
        began_s = self._clock.monotonic()
        calls: list[CallSummary] = []
        while True:
            rest = msgspec.structs.replace(query, limit=query.limit - len(calls))
            found = await self._store.search_calls(rest, before=before, after=after)
            calls += found.calls
            fit = fitting(calls, PAGE_BYTES)
            if fit < len(calls):
                return FoundCalls(tuple(calls[:fit]), more=True, reached=calls[fit - 1].position[1])
            late = self._clock.monotonic() - began_s >= SEARCH_S
            if not found.more or late or len(calls) == query.limit:
                return FoundCalls(tuple(calls), found.more, found.reached)
            before, after = (found.reached, None) if after is None else (None, found.reached)

    async def answer_facet_calls(self, ask: FacetCalls, delivery: Delivery) -> Facets:
        if not 1 <= ask.limit <= MAX_FACET_VALUES:
            raise Refused("query-invalid", f"limit: {ask.limit} is not 1 to {MAX_FACET_VALUES}")
        plain = call_query(SearchCalls(ask.bucket, since=ask.since, before=ask.before))
        return await self._store.facets(narrowed(plain, ask.query, self._clock.now()), ask.limit)

    async def answer_get_call(self, ask: GetCall, delivery: Delivery) -> CallRecord:
        found = await self._store.get_call(ask.id, ask.bucket)
        if found is None:
            where = f" in bucket {ask.bucket}" if ask.bucket is not None else ""
            raise Refused("call-unknown", f"there is no call {ask.id[:80]!r}{where}")
        return await self._whole(found)

    async def answer_get_shared(self, ask: GetShared, delivery: Delivery) -> CallRecord:
        found = await self._store.get_shared(ask.share) if ask.share else None
        if found is not None and found.marks is not None:
            ends_at = found.marks.share_expires_at
            if ends_at is None or ends_at > self._clock.now():
                return await self._whole(found)
        raise Refused("share-unknown", "nothing is shared by this name, or no longer")

    async def answer_read_body(self, ask: ReadBody, delivery: Delivery) -> BodyPart:
        part = await self._bodies.read(ask.bucket, ask.sha256, ask.offset)
        if part is None:
            raise Refused("body-unknown", f"bucket {ask.bucket[:80]} has no body {ask.sha256[:80]!r}")
        return part

    async def _whole(self, found: FoundCall) -> CallRecord:
        event = codec.decode_event(found.event)
        call = event.read(CallCaptured)
        return CallRecord(
            call=call,
            position=found.position,
            recorded_at=from_us(found.recorded_us),
            event_id=event.id,
            body_missing=await self._missing_bodies(call),
            marks=found.marks,
        )

    async def _missing_bodies(self, call: CallCaptured) -> tuple[Literal["request", "response"], ...]:
        stored: dict[Literal["request", "response"], str] = {}
        if (sha256 := stored_apart(call.request.body)) is not None:
            stored["request"] = sha256
        if call.response is not None and (sha256 := stored_apart(call.response.body)) is not None:
            stored["response"] = sha256
        if not stored:
            return ()
        missing = await self._bodies.missing(call.bucket, stored.values())
        return tuple(side for side, sha256 in stored.items() if sha256 in missing)


def _number_in(partition: int, after: Position) -> int:
    """The number of a position that a bucket in `partition` is followed from; number 0 of any is the
    beginning."""
    if not 0 <= after[1] <= MAX_NUMBER or (after[0] != partition and after[1] > 0):
        raise Refused(
            "query-invalid", f"after: {tuple(after)} is no position in this bucket's partition {partition}"
        )
    return after[1]
