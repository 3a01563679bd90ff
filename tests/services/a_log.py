"""A log in memory that answers the vault's asks of decisions over a real bus, for tests of those who decide
and follow."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from bus import codec, topics
from bus.connect import Bus
from bus.errors import Refused, Unavailable
from bus.event import Event, Stamp
from bus.message import Fact
from bus.router import Delivery, Router
from schemas.request_vault import (
    ANY_VERSION,
    Append,
    Appended,
    CategoryHeads,
    DecisionPage,
    LogPage,
    ReadCategory,
    ReadDecisions,
    ReadStream,
    Recorded,
)


class ALog:
    """Keeps the vault's contract for decisions. Publishes what it records only when it is told to, so that a
    test decides what is lost on the way."""

    def __init__(self, bus: Bus) -> None:
        self.records: list[Recorded] = []
        self.reads = 0
        self.answers_to_lose = 0  # of appends: recorded, and not answered
        self._bus = bus.as_source("request_vault")
        self._told = 0

    def router(self) -> Router:
        router = Router("request_vault.asks")
        router.answers(Append, self.answer_append)
        router.answers(ReadCategory, self.answer_read_category)
        router.answers(ReadStream, self.answer_read_stream)
        router.answers(ReadDecisions, self.answer_read_decisions)
        return router

    def record(self, fact: Fact, stream: str, *, source: str = "identity", id: str | None = None) -> Event:
        """Append one decision, unchecked."""
        event = self._bus.as_source(source).envelop(fact, id=id)
        self._record(stream, event)
        return event

    async def tell(self) -> None:
        """Publish what is recorded and was not published, in order."""
        for event in self.untold():
            await self._bus.emit(event, ordered=True)

    def untold(self) -> Iterator[Event]:
        """The recorded events not published yet, as the vault would publish them; they count as published."""
        while self._told < len(self.records):
            recorded = self.records[self._told]
            self._told += 1
            stamp = Stamp(recorded.stream, recorded.version, recorded.position, recorded.prev)
            yield msgspec.structs.replace(_event(recorded), stamp=stamp)

    async def beat(self) -> None:
        heads = {_category(recorded.stream): recorded.position[1] for recorded in self.records}
        await self._bus.signal(CategoryHeads(heads))

    def version(self, stream: str) -> int:
        return sum(recorded.stream == stream for recorded in self.records)

    async def answer_append(self, ask: Append, delivery: Delivery) -> Appended:
        events = [codec.decode_event(encoded) for encoded in ask.events]
        known = {_event(recorded).identity: recorded for recorded in self.records}
        repeated = [known[event.identity] for event in events if event.identity in known]
        if repeated:
            for event, before in zip(events, repeated, strict=True):
                had = _event(before)
                if (had.type, bytes(had.data)) != (event.type, bytes(event.data)):
                    raise Refused("event-conflict", f"event {event.id} is there with other content")
            return Appended(
                ask.stream, repeated[-1].version, tuple(before.position for before in repeated), repeated=True
            )
        version = self.version(ask.stream)
        if ask.expected_version not in (ANY_VERSION, version):
            raise Refused("version-conflict", f"{ask.stream} has version {version}")
        positions = tuple(self._record(ask.stream, event).position for event in events)
        if self.answers_to_lose:
            self.answers_to_lose -= 1
            raise Unavailable("the answer got lost")
        return Appended(ask.stream, self.version(ask.stream), positions)

    async def answer_read_category(self, ask: ReadCategory, delivery: Delivery) -> LogPage:
        self.reads += 1
        mine = [recorded for recorded in self.records if _category(recorded.stream) == ask.category]
        head = mine[-1].position[1] if mine else 0
        page = tuple(recorded for recorded in mine if recorded.position[1] > ask.after)[: ask.limit]
        return LogPage(page, page[-1].position[1] if page else ask.after, head)

    async def answer_read_stream(self, ask: ReadStream, delivery: Delivery) -> LogPage:
        mine = [recorded for recorded in self.records if recorded.stream == ask.stream]
        page = tuple(recorded for recorded in mine if recorded.version > ask.after)[: ask.limit]
        return LogPage(page, page[-1].version if page else ask.after, len(mine))

    async def answer_read_decisions(self, ask: ReadDecisions, delivery: Delivery) -> DecisionPage:
        matches = topics.Matcher(ask.types or ("#",))
        found = [
            recorded
            for recorded in reversed(self.records)
            if (not ask.before or recorded.position[1] < ask.before)
            and matches(_event(recorded).type)
            and (not ask.keys or _event(recorded).key in ask.keys)
        ]
        page = tuple(found[: ask.limit])
        return DecisionPage(page, page[-1].position[1] if len(found) > ask.limit else 0)

    def _record(self, stream: str, event: Event) -> Recorded:
        category = _category(stream)
        before = [each.position[1] for each in self.records if _category(each.stream) == category]
        number = self.records[-1].position[1] + 1 if self.records else 1
        recorded = Recorded(
            position=(0, number),
            stream=stream,
            version=self.version(stream) + 1,
            recorded_at=self._bus.clock.now(),
            event=codec.encode_event(event),
            prev=before[-1] if before else None,
        )
        self.records.append(recorded)
        return recorded


def _event(recorded: Recorded) -> Event:
    return codec.decode_event(recorded.event)


def _category(stream: str) -> str:
    return stream.partition(".")[0]
