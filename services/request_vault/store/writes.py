"""What is to be written: observations in batches, decisions with an expected version.

A job is checked, hashed and encoded before it waits for its turn (`Recording`, `Appending`). `apply` then
decides what it does to the log, over what the engine knows of the log (`Known`), and gives the engine what is
to be added (`Additions`); a job that is refused leaves nothing. Called by the engines inside a transaction;
nothing here talks to a database.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import msgspec

from bus import codec
from bus.errors import BusError, Refused, Reject
from bus.event import Event
from schemas.request_vault import ANY_VERSION, Appended, Position, StreamWrite
from schemas.traffic_gateway import CallCaptured
from services.request_vault.domain.calls import CallEntry, call_entry
from services.request_vault.domain.marking import RowChange, change_of
from services.request_vault.domain.recording import (
    DECISIONS,
    Write,
    check_recordable,
    checked_writes,
    conflict,
    content_hash,
    forgotten,
    partition_of,
    stream_of,
    to_us,
)
from services.request_vault.store.port import Ingested

Identity = tuple[str, str]


class Seen(NamedTuple):
    """Where an identity was recorded first, as the engine writes places, and its content's hash."""

    place: int
    content: bytes


class StreamHead(NamedTuple):
    """version: the newest."""

    version: int
    decided: bool


class Known(Protocol):
    """seen: the identities of the job that were recorded before. decided: by place, the stream and version of
    those among them that are decisions. decisions: the newest number of partition 0. floor_us: what is older
    and unknown may have been here once."""

    @property
    def seen(self) -> Mapping[Identity, Seen]: ...

    @property
    def decided(self) -> Mapping[int, tuple[str, int]]: ...

    @property
    def decisions(self) -> int: ...

    @property
    def floor_us(self) -> int: ...

    def stream(self, name: str) -> StreamHead | None:
        """One that the job adds to, what was added before included."""


class Addition(msgspec.Struct, kw_only=True):
    """An event that is to be added: content is its hash. call: of an observation that is one. category: of a
    decision, None for an observation. change: of a call's row, by a decision."""

    event: Event
    encoded: bytes = b""
    content: bytes
    partition: int
    stream: str
    call: CallEntry | None = None
    category: str | None = None
    change: RowChange | None = None


class Additions(Protocol):
    def add(self, addition: Addition) -> int:
        """The number that the event was given."""


class Fresh(Addition, kw_only=True):
    """An observation that may be new. error: why it cannot be recorded, if it is new."""

    index: int
    error: BusError | None = None


class Recording:
    """A batch of observations."""

    def __init__(self, events: Sequence[Event], partitions: int) -> None:
        self.refused: list[tuple[int, BusError]] = []
        self.stamped: list[tuple[int, Event]] = []
        self.repeated = 0
        self.fresh: dict[Identity, Fresh] = {}
        for index, event in enumerate(events):
            self._take(index, event, partitions)

    def _take(self, index: int, event: Event, partitions: int) -> None:
        try:
            if event.stamp is not None:
                self.stamped.append((index, event))
                return
            check_recordable(event)
        except BusError as error:
            self.refused.append((index, error))
            return
        content = content_hash(event)
        first = self.fresh.get((event.id, event.source))
        if first is None:
            fresh = Fresh(
                index=index,
                event=event,
                content=content,
                partition=partition_of(event.key, partitions),
                stream=stream_of(event),
            )
            self.fresh[event.id, event.source] = _encoded(fresh)
        elif first.content == content:
            self.repeated += 1
        else:
            self.refused.append((index, conflict(event)))

    @property
    def partitions(self) -> set[int]:
        return {fresh.partition for fresh in self.fresh.values()}

    @property
    def streams(self) -> set[str]:
        return {fresh.stream for fresh in self.fresh.values()}

    @property
    def identities(self) -> list[Identity]:
        return list(self.fresh)

    @property
    def types(self) -> set[str]:
        return {fresh.event.type for fresh in self.fresh.values()}

    def apply(self, known: Known, added: Additions) -> Ingested:
        """`Store.record`."""
        refused = self.refused.copy()
        repeated = self.repeated
        for index, event in self.stamped:
            if (error := _stamp_error(event, known)) is None:
                repeated += 1
            else:
                refused.append((index, error))
        calls: dict[str, tuple[int, Position]] = {}
        recorded = 0
        for identity, fresh in self.fresh.items():
            event = fresh.event
            before = known.seen.get(identity)
            if before is not None:
                if before.content == fresh.content:
                    repeated += 1
                else:
                    refused.append((fresh.index, conflict(event)))
                continue
            why = fresh.error or _forgotten_error(event, known) or _decided_error(fresh, known)
            if why is not None:
                refused.append((fresh.index, why))
                continue
            number = added.add(fresh)
            recorded += 1
            if fresh.call is not None:
                count = calls.get(event.key, (0,))[0] + 1
                calls[event.key] = (count, (fresh.partition, number))
        return Ingested(recorded, repeated, calls, sorted(refused, key=lambda each: each[0]))


class Appending:
    """Decisions of one or several streams. Raises Refused when they cannot be read."""

    def __init__(self, writes: Sequence[StreamWrite]) -> None:
        try:
            self.writes: list[Write] = checked_writes(writes)
            self._additions = [_decided(write) for write in self.writes]
        except BusError as error:
            raise Refused("event-malformed", str(error)) from error

    @property
    def partitions(self) -> set[int]:
        return {DECISIONS}

    @property
    def streams(self) -> set[str]:
        return {write.stream for write in self.writes}

    @property
    def identities(self) -> list[Identity]:
        return [(event.id, event.source) for write in self.writes for event in write.events]

    @property
    def types(self) -> set[str]:
        return {event.type for write in self.writes for event in write.events}

    @property
    def categories(self) -> set[str]:
        return {write.category for write in self.writes}

    def apply(self, known: Known, added: Additions) -> tuple[Appended, ...]:
        """`Store.append_all`. Everything is checked before anything is added."""
        before = {identity: known.seen[identity] for identity in self.identities if identity in known.seen}
        if before:
            return tuple(_repeated(write, before, known) for write in self.writes)
        for write in self.writes:
            _check_version(write, known)
        done = []
        for write, additions in zip(self.writes, self._additions, strict=True):
            numbers = [added.add(addition) for addition in additions]
            head = known.stream(write.stream)
            assert head is not None, "it was just added to"
            done.append(Appended(write.stream, head.version, tuple((DECISIONS, n) for n in numbers)))
        return tuple(done)


def _decided(write: Write) -> list[Addition]:
    return [
        Addition(
            event=event,
            encoded=codec.encode_event(event),
            content=content,
            partition=DECISIONS,
            stream=write.stream,
            category=write.category,
            change=change_of(event, write.category),
        )
        for event, content in zip(write.events, write.contents, strict=True)
    ]


def _encoded(fresh: Fresh) -> Fresh:
    try:
        if fresh.event.type == CallCaptured.TYPE:
            fresh.call = call_entry(fresh.event)
        fresh.encoded = codec.encode_event(fresh.event)
    except BusError as error:
        fresh.error = error
    return fresh


def _stamp_error(event: Event, known: Known) -> Reject | None:
    """None for what this vault published from its log. A stamp past the log's end means that the log is not
    the one it came from."""
    assert event.stamp is not None
    partition, number = event.stamp.position
    if partition == DECISIONS and number <= known.decisions:
        return None
    return Reject(
        f"event {event.id} ({event.type}) is stamped {event.stamp.position}, but this log ends at "
        f"{(DECISIONS, known.decisions)}: was the vault restored from an older backup?"
    )


def _decided_error(fresh: Fresh, known: Known) -> Reject | None:
    head = known.stream(fresh.stream)
    if head is None or not head.decided:
        return None
    return Reject(
        f"event {fresh.event.id} ({fresh.event.type}): stream {fresh.stream} holds decisions; "
        "they are appended, not published"
    )


def _forgotten_error(event: Event, known: Known) -> Reject | None:
    if not known.floor_us or to_us(event.time) > known.floor_us:
        return None
    return forgotten(event, known.floor_us)


def _check_version(write: Write, known: Known) -> None:
    head = known.stream(write.stream)
    if head is not None and not head.decided:
        raise Refused(
            "stream-observed", f"stream {write.stream} holds observations; nothing can be decided in it"
        )
    version = 0 if head is None else head.version
    if write.expected_version not in (ANY_VERSION, version):
        raise Refused(
            "version-conflict",
            f"stream {write.stream} is at version {version}, not {write.expected_version}: "
            "read it and decide again",
        )


def _repeated(write: Write, before: dict[Identity, Seen], known: Known) -> Appended:
    """The answer of the first time. Raises Refused unless these very events were appended to this stream."""
    found: list[Seen] = []
    for event, content in zip(write.events, write.contents, strict=True):
        seen = before.get((event.id, event.source))
        if seen is None or seen.content != content:
            what = (
                "is new, but others of this append were recorded before"
                if seen is None
                else "was recorded before with other content"
            )
            raise Refused("event-conflict", f"event {event.id} of {event.source} ({event.type}) {what}")
        found.append(seen)
    records = [known.decided.get(seen.place) for seen in found]
    versions = [record[1] for record in records if record is not None and record[0] == write.stream]
    if len(versions) < len(found):
        raise Refused(
            "event-conflict",
            f"these events were recorded before, but not as decisions of stream {write.stream}",
        )
    # Decisions are in partition 0: their places are their numbers.
    positions = tuple((DECISIONS, seen.place) for seen in found)
    return Appended(write.stream, max(versions), positions, repeated=True)
