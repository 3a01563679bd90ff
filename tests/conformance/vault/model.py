"""The vault as plain lists and dictionaries: what every engine must be indistinguishable from.

Called by `test_machine.py`. `apply` does to the model what an operation does to a store and answers what the
store must have answered; it is written one event after the other, so that it shows what an engine's set-based
statements mean. Nothing here is durable, concurrent or fast.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from bus import codec
from bus.event import Event
from schemas.request_vault import (
    ANY_VERSION,
    CallDeleted,
    CallRestored,
    CallShared,
    CallStarred,
    CallUnshared,
    CallUnstarred,
    Position,
)
from schemas.traffic_gateway import CallCaptured
from services.request_vault.domain.recording import (
    DECISIONS,
    category_of,
    content_hash,
    partition_of,
    stream_of,
    to_us,
)

Identity = tuple[str, str]


@dataclass(frozen=True)
class Write:
    """What one stream is to be given."""

    stream: str
    expected_version: int
    events: tuple[Event, ...]


@dataclass(frozen=True)
class Appending:
    """`Store.append` of one write, `Store.append_all` of several."""

    writes: tuple[Write, ...]


@dataclass(frozen=True)
class Recording:
    """`Store.record` of these events."""

    events: tuple[Event, ...]


Operation = Appending | Recording


@dataclass(frozen=True)
class Taken:
    """An append that was answered: of each write the stream's version, the positions, and whether it was
    repeated."""

    writes: tuple[tuple[int, tuple[Position, ...], bool], ...]


@dataclass(frozen=True)
class Refusal:
    """An append that was refused, and its reason's slug."""

    reason: str


@dataclass(frozen=True)
class Ingest:
    """What `record` must answer. refused: indices that must be refused. either: indices of later copies of
    an event whose first copy in this batch was refused: they may be called refused or repeated, and are not
    recorded (the batch failed, and the bus tries each of its events alone)."""

    events: int
    recorded: int
    refused: frozenset[int]
    either: frozenset[int]
    calls: tuple[tuple[str, int, Position], ...]


Outcome = Taken | Refusal | Ingest


@dataclass(frozen=True)
class Entry:
    """One record. prev: as in `schemas.request_vault.Recorded`."""

    position: Position
    stream: str
    version: int
    event: Event
    prev: int | None

    @property
    def is_call(self) -> bool:
        return self.event.type == CallCaptured.TYPE

    @property
    def event_bytes(self) -> int:
        return len(codec.encode_event(self.event))


@dataclass(frozen=True)
class Marks:
    """What was said of a call."""

    starred: bool = False
    share: str | None = None
    deleted_us: int | None = None


def marked(marks: Marks, event: Event) -> Marks:
    """After a decision about a call."""
    match event.type:
        case CallStarred.TYPE | CallUnstarred.TYPE:
            return replace(marks, starred=event.type == CallStarred.TYPE)
        case CallShared.TYPE:
            return replace(marks, share=event.read(CallShared).share)
        case CallUnshared.TYPE:
            return replace(marks, share=None)
        case CallDeleted.TYPE:
            return replace(marks, deleted_us=to_us(event.time))
        case CallRestored.TYPE:
            return replace(marks, deleted_us=None)
    return marks


@dataclass
class Model:
    """log: every record ever made, by partition, number 1 first. seen: what each identity was recorded as.
    streams: the records of each by version, erased ones among them, trimmed ones not. gone: the positions of
    both. marks: what was said of calls, by their positions."""

    partitions: int
    log: list[list[Entry]] = field(default_factory=list)
    seen: dict[Identity, tuple[Entry, bytes]] = field(default_factory=dict)
    streams: dict[str, list[Entry]] = field(default_factory=dict)
    heads: dict[str, int] = field(default_factory=dict)
    gone: set[Position] = field(default_factory=set)
    marks: dict[Position, Marks] = field(default_factory=dict)
    published_to: int = 0

    def __post_init__(self) -> None:
        self.log = self.log or [[] for _ in range(self.partitions + 1)]

    def fork(self) -> Model:
        """A copy that goes its own way."""
        return Model(
            self.partitions,
            [partition.copy() for partition in self.log],
            self.seen.copy(),
            {stream: entries.copy() for stream, entries in self.streams.items()},
            self.heads.copy(),
            self.gone.copy(),
            self.marks.copy(),
            self.published_to,
        )

    def apply(self, operation: Operation) -> Outcome:
        """Do it, and say what a store answers."""
        if isinstance(operation, Appending):
            return self._append(operation)
        return self._record(operation.events)

    def _append(self, operation: Appending) -> Taken | Refusal:
        writes = operation.writes
        events = [event for write in writes for event in write.events]
        if (
            not all(write.events for write in writes)
            or len({write.stream for write in writes}) < len(writes)
            or len({event.identity for event in events}) < len(events)
        ):
            return Refusal("event-malformed")
        if any(event.identity in self.seen for event in events):
            return self._answer_again(writes)
        for write in writes:
            entries = self.streams.get(write.stream, [])
            if entries and entries[0].position[0] != DECISIONS:
                return Refusal("stream-observed")
            if write.expected_version not in (ANY_VERSION, self.version(write.stream)):
                return Refusal("version-conflict")
        added = [[self._add(event, DECISIONS, write.stream) for event in write.events] for write in writes]
        return Taken(
            tuple((entries[-1].version, tuple(e.position for e in entries), False) for entries in added)
        )

    def _answer_again(self, writes: Sequence[Write]) -> Taken | Refusal:
        answers: list[tuple[int, tuple[Position, ...], bool]] = []
        for write in writes:
            found: list[Entry] = []
            for event in write.events:
                entry, content = self.seen.get(event.identity, (None, b""))
                if entry is None or content != content_hash(event):
                    return Refusal("event-conflict")
                found.append(entry)
            if any(entry.stream != write.stream or entry.position[0] != DECISIONS for entry in found):
                return Refusal("event-conflict")
            version = max(entry.version for entry in found)
            answers.append((version, tuple(entry.position for entry in found), True))
        return Taken(tuple(answers))

    def _record(self, events: Sequence[Event]) -> Ingest:
        refused: set[int] = set()
        either: set[int] = set()
        first_of: dict[Identity, int] = {}
        added: list[Entry] = []
        for index, event in enumerate(events):
            if event.stamp is not None:
                if event.stamp.position[1] > len(self.log[DECISIONS]):
                    refused.add(index)
                continue
            first = first_of.setdefault(event.identity, index)
            if first in refused:
                either.add(index)
            elif (before := self.seen.get(event.identity)) is not None:
                if before[1] != content_hash(event):
                    refused.add(index)
            elif self._is_decided(stream_of(event)):
                refused.add(index)
            else:
                added.append(self._add(event, partition_of(event.key, self.partitions), stream_of(event)))
        calls: dict[str, tuple[int, Position]] = {}
        for entry in added:
            if entry.is_call:
                count = calls.get(entry.event.key, (0,))[0] + 1
                calls[entry.event.key] = (count, entry.position)
        counted = tuple(sorted((bucket, count, newest) for bucket, (count, newest) in calls.items()))
        return Ingest(len(events), len(added), frozenset(refused), frozenset(either), counted)

    def _is_decided(self, stream: str) -> bool:
        entries = self.streams.get(stream, [])
        return bool(entries) and entries[0].position[0] == DECISIONS

    def _add(self, event: Event, partition: int, stream: str) -> Entry:
        number = len(self.log[partition]) + 1
        prev = None
        if partition == DECISIONS:
            category = category_of(stream)
            prev = self.heads.get(category)
            self.heads[category] = number
        entries = self.streams.setdefault(stream, [])
        entry = Entry((partition, number), stream, self.version(stream) + 1, event, prev)
        entries.append(entry)
        if stream.startswith("vault.call-"):
            self._mark(event)
        self.log[partition].append(entry)
        self.seen[event.identity] = (entry, content_hash(event))
        return entry

    def _mark(self, event: Event) -> None:
        for entry in self.calls(event.key, deleted=True):
            if entry.event.subject == event.subject:
                self.marks[entry.position] = marked(self.marks.get(entry.position, Marks()), event)

    def remove(self, entries: Iterable[Entry], *, erased: bool) -> None:
        """Retention's doing, or erasure's: the versions of what was erased stay used."""
        for entry in entries:
            self.gone.add(entry.position)
            if not erased:
                self.streams[entry.stream].remove(entry)

    # What is to be read.

    def version(self, stream: str) -> int:
        entries = self.streams.get(stream)
        return entries[-1].version if entries else 0

    def kept(self, entries: Iterable[Entry]) -> list[Entry]:
        return [entry for entry in entries if entry.position not in self.gone]

    def stream(self, name: str) -> list[Entry]:
        return self.kept(self.streams.get(name, []))

    def category(self, name: str) -> list[Entry]:
        return self.kept(e for e in self.log[DECISIONS] if category_of(e.stream) == name)

    def partition(self, number: int, wanted: Callable[[Event], bool] = lambda event: True) -> list[Entry]:
        return self.kept(entry for entry in self.log[number] if wanted(entry.event))

    def observations(self, key: str | None = None) -> list[Entry]:
        """Of an event key or of all, partition by partition."""
        partitions = range(1, self.partitions + 1)
        found = [entry for number in partitions for entry in self.partition(number)]
        return [entry for entry in found if key in (None, entry.event.key)]

    def calls(self, bucket: str, *, deleted: bool = False) -> list[Entry]:
        """The calls of a bucket, oldest first."""
        found = [entry for entry in self.observations(bucket) if entry.is_call]
        return [entry for entry in found if deleted or self.marks_of(entry).deleted_us is None]

    def marks_of(self, entry: Entry) -> Marks:
        return self.marks.get(entry.position, Marks())

    @property
    def sizes(self) -> tuple[int, ...]:
        return tuple(len(partition) for partition in self.log)


def serial_order(
    model: Model, answered: Sequence[tuple[Operation, Callable[[Outcome], bool]]]
) -> Model | None:
    """The model after these operations in some order in which each was answered as it was (its predicate
    says so), or None when there is no such order."""
    if not answered:
        return model
    for index, (operation, agrees) in enumerate(answered):
        attempt = model.fork()
        if agrees(attempt.apply(operation)):
            found = serial_order(attempt, [*answered[:index], *answered[index + 1 :]])
            if found is not None:
                return found
    return None
