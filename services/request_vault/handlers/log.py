"""Asks to append decisions, and to read the log."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bus import topics
from bus.errors import Refused, TopicInvalid
from bus.router import Delivery, Router
from schemas.request_vault import (
    MAX_KEYS,
    MAX_PAGE,
    Append,
    AppendAll,
    Appended,
    AppendedAll,
    DecisionPage,
    EventPage,
    LogPage,
    ReadCategory,
    ReadDecisions,
    ReadLog,
    ReadStream,
    TraceEvents,
)
from services.request_vault.domain.cursors import decode_cursor, encode_cursor, fingerprint
from services.request_vault.store import port
from services.request_vault.store.port import LogSlice, Selection


class Log:
    """decided(): called after an append; returns at once."""

    def __init__(self, store: port.Log, *, decided: Callable[[], None]) -> None:
        self._store = store
        self._decided = decided

    def bind(self, router: Router) -> None:
        router.answers(Append, self.answer_append)
        router.answers(AppendAll, self.answer_append_all)
        router.answers(ReadCategory, self.answer_read_category)
        router.answers(ReadStream, self.answer_read_stream)
        router.answers(ReadDecisions, self.answer_read_decisions)
        router.answers(ReadLog, self.answer_read_log)
        router.answers(TraceEvents, self.answer_trace)

    async def answer_append(self, ask: Append, delivery: Delivery) -> Appended:
        appended = await self._store.append(ask.stream, ask.expected_version, ask.events)
        self._decided()
        return appended

    async def answer_append_all(self, ask: AppendAll, delivery: Delivery) -> AppendedAll:
        appended = await self._store.append_all(ask.writes)
        self._decided()
        return AppendedAll(appended)

    async def answer_read_category(self, ask: ReadCategory, delivery: Delivery) -> LogPage:
        return await self._store.read_category(ask.category, max(ask.after, 0), _limit(ask.limit))

    async def answer_read_stream(self, ask: ReadStream, delivery: Delivery) -> LogPage:
        return await self._store.read_stream(ask.stream, max(ask.after, 0), _limit(ask.limit))

    async def answer_read_decisions(self, ask: ReadDecisions, delivery: Delivery) -> DecisionPage:
        _check_patterns(ask.types)
        if len(ask.keys) > MAX_KEYS:
            raise Refused("query-invalid", f"keys: {len(ask.keys)}; at most {MAX_KEYS}")
        return await self._store.look_back(ask.types, ask.keys, max(ask.before, 0), _limit(ask.limit))

    async def answer_read_log(self, ask: ReadLog, delivery: Delivery) -> EventPage:
        _check_patterns(ask.types)
        selection = Selection(ask.types, ask.subject, ask.correlation, ask.key)
        after = decode_cursor(ask.cursor, _bound_to(selection)) if ask.cursor else {}
        return _event_page(await self._store.read_log(selection, after, _limit(ask.limit)), selection)

    async def answer_trace(self, ask: TraceEvents, delivery: Delivery) -> EventPage:
        found = await self._store.trace(ask.id, MAX_PAGE)
        return _event_page(found.slice, Selection(correlation=found.root))


def _check_patterns(patterns: Sequence[str]) -> None:
    for pattern in patterns:
        try:
            topics.check_pattern(pattern)
        except TopicInvalid as error:
            raise Refused("pattern-invalid", str(error)) from error


def _limit(limit: int) -> int:
    return max(1, min(limit, MAX_PAGE))


def _bound_to(selection: Selection) -> bytes:
    return fingerprint("log", selection.types, selection.subject, selection.correlation, selection.key)


def _event_page(slice: LogSlice, selection: Selection) -> EventPage:
    cursor = encode_cursor(_bound_to(selection), slice.reached)
    return EventPage(slice.records, next_cursor=cursor if slice.more else None, tail_cursor=cursor)
