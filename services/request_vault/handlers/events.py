"""Asks of outside clients to read the log: what `GET /v1/events` and a trace are answered from.

Events go out as CloudEvents in plain JSON. A caller gets the events whose key it may
see; what it may not see does not exist for it.
"""

from __future__ import annotations

from typing import Any

import msgspec

from bus import codec, topics
from bus.codec import MAX_FRAME_BYTES
from bus.errors import Malformed, Refused, TopicInvalid
from bus.event import Event
from bus.router import Delivery, Router
from schemas.request_vault import (
    MAX_PAGE,
    EventList,
    EventTree,
    LoggedEvent,
    ReadEvents,
    Recorded,
    TraceEvent,
)
from services.request_vault.domain.cursors import Vector, decode_cursor, encode_cursor, fingerprint
from services.request_vault.store import port
from services.request_vault.store.port import PAGE_BYTES, LogSlice, Selection

MAX_PATTERNS = 50
LOOKED_AT_RECORDS = 5000
"""How many records one answer looks at for a caller that may see only some; the page may then be short."""

_ROOM_BYTES = 24 * 1024  # of a frame, for what stands around the events of an answer


class Events:
    def __init__(self, store: port.Log) -> None:
        self._store = store

    def bind(self, router: Router) -> None:
        router.answers(ReadEvents, self.answer_read_events)
        router.answers(TraceEvent, self.answer_trace_event)

    async def answer_read_events(self, ask: ReadEvents, delivery: Delivery) -> EventList:
        limit = _checked(ask.limit)
        if len(ask.types) > MAX_PATTERNS:
            raise Refused("query-invalid", f"type: {len(ask.types)} patterns; at most {MAX_PATTERNS}")
        for pattern in ask.types:
            try:
                topics.check_pattern(pattern)
            except TopicInvalid as error:
                raise Refused("pattern-invalid", f"type: {error}") from error
        visible = ask.visible_keys
        selection = Selection(ask.types, ask.subject, ask.correlation, ask.key)
        if visible is not None and selection.key is None and len(visible) == 1:
            selection = msgspec.structs.replace(selection, key=visible[0])
        bound_to = fingerprint("events", ask.types, ask.subject, ask.correlation, ask.key, visible)
        after = decode_cursor(ask.after, bound_to) if ask.after else {}
        found = await self._visible(selection, after, limit, visible)
        cursor = encode_cursor(bound_to, found.reached)
        return EventList(
            tuple(map(logged, found.records)),
            next_cursor=cursor if found.more else None,
            tail_cursor=cursor,
        )

    async def answer_trace_event(self, ask: TraceEvent, delivery: Delivery) -> EventTree:
        limit = _checked(ask.limit)
        visible = ask.visible_keys
        tree = await self._store.trace(ask.id, limit if not ask.after else 1)
        bound_to = fingerprint("trace", tree.root, visible)
        if ask.after:
            after = decode_cursor(ask.after, bound_to)
            found = await self._visible(Selection(correlation=tree.root), after, limit, visible)
        else:
            found = _seen_by(tree.slice, visible)
            if not found.records:
                raise Refused("event-unknown", f"the log has no event and no call {ask.id[:80]!r}")
        cursor = encode_cursor(bound_to, found.reached) if found.more else None
        return EventTree(tree.root, tuple(map(logged, found.records)), cursor)

    async def _visible(
        self, selection: Selection, after: Vector, limit: int, visible: tuple[str, ...] | None
    ) -> LogSlice:
        """A page of what the caller may see: as much as fits one answer."""
        records: list[Recorded] = []
        looked_at = 0
        while True:
            found = await self._store.read_log(selection, after, limit - len(records))
            records += _seen_by(found, visible).records
            looked_at += len(found.records)
            after = found.reached
            # Whoever sees everything gets the store's page, which is as large as an answer may be.
            done = records or not found.records or looked_at >= LOOKED_AT_RECORDS
            if visible is None or not found.more or done:
                return LogSlice(tuple(records), after, found.more)


def logged(record: Recorded) -> LoggedEvent:
    """A record as outside clients read it."""
    event = codec.decode_event(record.event)
    made = _logged(record, event, _plain(event))
    # A page holds more than PAGE_BYTES only when it is this one event; as base64 it is a third larger yet.
    if len(record.event) > PAGE_BYTES // 2 and _size_bytes(made) > MAX_FRAME_BYTES - _ROOM_BYTES:
        made = _logged(record, event, _NOT_SAID)
    return made


_NOT_SAID = object()


def _logged(record: Recorded, event: Event, data: Any) -> LoggedEvent:
    omitted = data is _NOT_SAID
    return LoggedEvent(
        id=event.id,
        source=event.source,
        type=event.type,
        subject=event.subject,
        time=event.time,
        dataschema=event.dataschema,
        key=event.key,
        data=None if omitted else data,
        position=record.position,
        stream=record.stream,
        version=record.version,
        recorded_at=record.recorded_at,
        partitionkey=event.partitionkey,
        correlationid=event.correlationid,
        causationid=event.causationid,
        traceparent=event.traceparent,
        data_omitted=omitted,
    )


def _plain(event: Event) -> Any:
    """The data as JSON says them; _NOT_SAID for what it cannot (msgpack's extension types, broken text)."""
    try:
        data = codec.to_cloudevent(event)["data"]
        msgspec.json.encode(data)
    except (Malformed, TypeError, ValueError, RecursionError):
        return _NOT_SAID
    return data


def _size_bytes(logged: LoggedEvent) -> int:
    return len(msgspec.msgpack.encode(logged))


def _seen_by(found: LogSlice, visible: tuple[str, ...] | None) -> LogSlice:
    if visible is None:
        return found
    seen = tuple(record for record in found.records if _key_of(record) in visible)
    return LogSlice(seen, found.reached, found.more)


def _key_of(record: Recorded) -> str:
    event = codec.decode_event(record.event)
    return event.key


def _checked(limit: int) -> int:
    if not 1 <= limit <= MAX_PAGE:
        raise Refused("query-invalid", f"limit is {limit}, not 1 to {MAX_PAGE}")
    return limit
