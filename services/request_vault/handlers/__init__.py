"""What the vault does with events, bodies and asks that reach it over the bus.

A batch of events is acknowledged when it was committed, never before. When some of a batch cannot be
recorded, the others are; the batch then fails with the reason, the bus tries each event alone, those that
are recorded count as repeated, and only the others are parked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

from bus import codec, topics
from bus.clock import Clock
from bus.errors import BusError, Refused, Reject, TopicInvalid
from bus.event import Event
from bus.router import Delivery
from schemas.request_vault import (
    MAX_PAGE,
    Append,
    Appended,
    BodyChunk,
    BodyPart,
    CallPage,
    CallRecord,
    EventPage,
    GetCall,
    GetVaultStats,
    LogPage,
    Position,
    ReadBody,
    ReadCategory,
    ReadLog,
    ReadStream,
    SearchCalls,
    TraceEvents,
    VaultStats,
)
from schemas.traffic_gateway import Body, CallCaptured
from services.request_vault.domain.calls import call_query
from services.request_vault.domain.cursors import MAX_NUMBER, decode_cursor, encode_cursor, fingerprint
from services.request_vault.domain.queries import narrowed
from services.request_vault.domain.recording import from_us
from services.request_vault.store.bodies import Bodies
from services.request_vault.store.port import LogSlice, Selection, Store

CallsToTell = Mapping[str, tuple[int, Position]]


class Handlers:
    """decided(): called after an append. recorded(calls): after a commit that made calls readable. Both
    return at once."""

    def __init__(
        self,
        store: Store,
        bodies: Bodies,
        clock: Clock,
        *,
        decided: Callable[[], None],
        recorded: Callable[[CallsToTell], None],
    ) -> None:
        self._store = store
        self._bodies = bodies
        self._clock = clock
        self._decided = decided
        self._recorded = recorded

    async def on_events(self, events: list[Event]) -> None:
        ingested = await self._store.record(events)
        if ingested.calls:
            self._recorded(ingested.calls)
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

    async def answer_append(self, ask: Append, delivery: Delivery) -> Appended:
        appended = await self._store.append(ask.stream, ask.expected_version, ask.events)
        self._decided()
        return appended

    async def answer_read_category(self, ask: ReadCategory, delivery: Delivery) -> LogPage:
        return await self._store.read_category(ask.category, max(ask.after, 0), _limit(ask.limit))

    async def answer_read_stream(self, ask: ReadStream, delivery: Delivery) -> LogPage:
        return await self._store.read_stream(ask.stream, max(ask.after, 0), _limit(ask.limit))

    async def answer_read_log(self, ask: ReadLog, delivery: Delivery) -> EventPage:
        for pattern in ask.types:
            try:
                topics.check_pattern(pattern)
            except TopicInvalid as error:
                raise Refused("pattern-invalid", str(error)) from error
        selection = Selection(ask.types, ask.subject, ask.correlation, ask.key)
        after = decode_cursor(ask.cursor, _bound_to(selection)) if ask.cursor else {}
        return _event_page(await self._store.read_log(selection, after, _limit(ask.limit)), selection)

    async def answer_trace(self, ask: TraceEvents, delivery: Delivery) -> EventPage:
        found = await self._store.trace(ask.id, MAX_PAGE)
        return _event_page(found.slice, Selection(correlation=found.root))

    async def answer_search_calls(self, ask: SearchCalls, delivery: Delivery) -> CallPage:
        plain = call_query(ask)
        query = narrowed(plain, ask.query, self._clock.now())
        # Bound to the text of the query: `since:2h` is another moment on every page.
        bound_to = fingerprint(
            "calls",
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
        if ask.after is not None:
            if ask.cursor:
                raise Refused("query-invalid", "after and cursor: a page follows one or the other")
            found = await self._store.search_calls(query, after=_number_in(partition, ask.after))
            return CallPage(found.calls, None)
        before = None
        if ask.cursor:
            before = decode_cursor(ask.cursor, bound_to).get(partition)
            if before is None:
                raise Refused("cursor-invalid", "the cursor is of another log; begin again without one")
        found = await self._store.search_calls(query, before=before)
        cursor = encode_cursor(bound_to, dict([found.calls[-1].position])) if found.more else None
        return CallPage(found.calls, cursor)

    async def answer_get_call(self, ask: GetCall, delivery: Delivery) -> CallRecord:
        found = await self._store.get_call(ask.id, ask.bucket)
        if found is None:
            where = f" in bucket {ask.bucket}" if ask.bucket is not None else ""
            raise Refused("call-unknown", f"there is no call {ask.id[:80]!r}{where}")
        (event,) = codec.decode_batch(codec.join_batch([found.event]))
        call = event.read(CallCaptured)
        return CallRecord(
            call=call,
            position=found.position,
            recorded_at=from_us(found.recorded_us),
            event_id=event.id,
            body_missing=await self._missing_bodies(call),
        )

    async def answer_read_body(self, ask: ReadBody, delivery: Delivery) -> BodyPart:
        part = await self._bodies.read(ask.bucket, ask.sha256, ask.offset)
        if part is None:
            raise Refused("body-unknown", f"bucket {ask.bucket[:80]} has no body {ask.sha256[:80]!r}")
        return part

    async def answer_stats(self, ask: GetVaultStats, delivery: Delivery) -> VaultStats:
        stats = await self._store.stats()
        bodies, bodies_bytes = await self._bodies.totals()
        return VaultStats(
            events=stats.events,
            calls=stats.calls,
            bodies=bodies,
            size_bytes=stats.size_bytes + bodies_bytes,
            heads=self._store.heads(),
            partitions=stats.partitions,
            published_to=stats.published_to,
        )

    async def _missing_bodies(self, call: CallCaptured) -> tuple[Literal["request", "response"], ...]:
        stored: dict[Literal["request", "response"], str] = {}
        if (sha256 := _stored_apart(call.request.body)) is not None:
            stored["request"] = sha256
        if call.response is not None and (sha256 := _stored_apart(call.response.body)) is not None:
            stored["response"] = sha256
        if not stored:
            return ()
        missing = await self._bodies.missing(call.bucket, stored.values())
        return tuple(side for side, sha256 in stored.items() if sha256 in missing)


def _stored_apart(body: Body) -> str | None:
    """The hash of a body that does not ride in the event."""
    return body.sha256 if body.inline is None and body.captured_bytes > 0 else None


def _first_of(errors: list[BusError], events: int) -> BusError:
    """What a batch fails with: its only event's own error, so that this is the reason it is parked with."""
    if events == 1:
        return errors[0]
    return Reject(f"{len(errors)} of {events} events cannot be recorded; the first: {errors[0]}")


def _limit(limit: int) -> int:
    return max(1, min(limit, MAX_PAGE))


def _number_in(partition: int, after: Position) -> int:
    """The number of a position that a bucket in `partition` is followed from; number 0 of any is the
    beginning."""
    if not 0 <= after[1] <= MAX_NUMBER or (after[0] != partition and after[1] > 0):
        raise Refused(
            "query-invalid", f"after: {tuple(after)} is no position in this bucket's partition {partition}"
        )
    return after[1]


def _bound_to(selection: Selection) -> bytes:
    return fingerprint("log", selection.types, selection.subject, selection.correlation, selection.key)


def _event_page(slice: LogSlice, selection: Selection) -> EventPage:
    cursor = encode_cursor(_bound_to(selection), slice.reached)
    return EventPage(slice.records, next_cursor=cursor if slice.more else None, tail_cursor=cursor)
