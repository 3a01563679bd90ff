"""What a transaction adds to the log: records with their numbers, digests and rows, and the heads they lead
to."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from bus.event import Event
from services.request_vault.domain import chain
from services.request_vault.domain.calls import CallEntry
from services.request_vault.domain.links import Kept, Seal, kept
from services.request_vault.domain.marking import RowChange
from services.request_vault.store.postgres.connections import Connection
from services.request_vault.store.postgres.known import Known, stream_key
from services.request_vault.store.postgres.ledger import Ledger
from services.request_vault.store.postgres.models import NewRows
from services.request_vault.store.postgres.places import (
    NUMBER_MASK,
    Leaf,
    day_of,
    first_place,
    leaf_of,
)
from services.request_vault.store.postgres.rows import columns_of, copy
from services.request_vault.store.writes import Addition, Seen, StreamHead

_RECORD = (
    "class", "day", "place", "stream", "version", "category", "prev", "key", "time_us", "recorded_us",
    "checksum", "salt", "digest", "event",
)  # fmt: skip
_SEEN = ("id", "source", "place", "content")
_SEAL = ("place", "recorded_us", "running", "chain")
_STREAM = ("name", "decided", "version")
_SET_STREAMS = """
UPDATE stream s SET version = w.version
FROM unnest($1::text[], $2::bigint[]) w (name, version) WHERE s.name = w.name
"""
_SET_HEADS = """
UPDATE head h SET number = w.number, running = w.running, chain = w.chain, last_us = w.last_us
FROM unnest($1::integer[], $2::bigint[], $3::bytea[], $4::bytea[], $5::bigint[])
w (partition, number, running, chain, last_us) WHERE h.partition = w.partition
"""
_SET_CATEGORIES = """
INSERT INTO category SELECT * FROM unnest($1::text[], $2::bigint[])
ON CONFLICT (name) DO UPDATE SET number = excluded.number
"""
_ADD_USAGE = """
INSERT INTO usage AS u SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[])
ON CONFLICT (key) DO UPDATE SET records = u.records + excluded.records,
calls = u.calls + excluded.calls, bytes = u.bytes + excluded.bytes
"""


class LeafMissing(Exception):
    """A record belongs into a leaf that is not there yet."""

    def __init__(self, leaf: Leaf) -> None:
        super().__init__(leaf)
        self.leaf = leaf


class Additions:
    """As `writes.Additions`, over `known`, which it keeps true. Raises LeafMissing while adding."""

    def __init__(self, known: Known, ledger: Ledger, now_us: int, most: int) -> None:
        self._known = known
        self._ledger = ledger
        self._types: Mapping[str, int] = ledger.types
        self._salts = os.urandom(most * chain.SALT_BYTES)
        self._records: list[tuple[Any, ...]] = []
        self._seen: list[tuple[Any, ...]] = []
        self._seals: list[tuple[Any, ...]] = []
        self._usage: dict[str, list[int]] = {}
        self._streams: set[str] = set()
        self._models = NewRows()
        self._recorded_us = {partition: max(head.last_us, now_us) for partition, head in known.heads.items()}
        self._touched: set[int] = set()
        self.categories: dict[str, int] = {}

    def add(self, addition: Addition) -> int:
        known = self._known
        partition, category, stream = addition.partition, addition.category, addition.stream
        before = known.stream(stream)
        version = 1 if before is None else before.version + 1
        number = known.heads[partition].number + 1
        prev = None if category is None else known.categories.get(category)
        at = len(self._records) * chain.SALT_BYTES
        salt = self._salts[at : at + chain.SALT_BYTES]
        event, recorded_us = addition.event, self._recorded_us[partition]
        record = kept(
            event, addition.encoded, partition, number, stream, version, category, prev, recorded_us, salt
        )
        self.put(record, event, addition.content, addition.call, addition.change)
        return number

    def put(
        self,
        record: Kept,
        event: Event,
        content: bytes,
        call: CallEntry | None,
        change: RowChange | None,
    ) -> None:
        """A record, at the place that it has: the next one of its partition."""
        known = self._known
        partition, number = record.partition, record.number
        class_ = self._ledger.class_of(record.key, record.category)
        day = day_of(class_, record.recorded_us)
        if (leaf := leaf_of(class_, day)) not in self._ledger.leaves:
            raise LeafMissing(leaf)
        head = known.heads[partition]
        head.last_us = max(head.last_us, record.recorded_us)
        self.chain_on(partition, number, record.recorded_us, record.digest)
        self.version(record.stream, record.version, decided=record.category is not None)
        place = first_place(partition) | number
        self._records.append(
            (
                class_, day, place, record.stream, record.version, record.category, record.prev, record.key,
                record.time_us, record.recorded_us, record.checksum, record.salt, record.digest, record.event,
            )
        )  # fmt: skip
        self._seen.append((event.id, event.source, place, content))
        known.seen[event.id, event.source] = Seen(place, content)
        if record.category is not None:
            known.decided[place] = (record.stream, record.version)
            self.head_of(record.category, number)
        self._models.add(place, (class_, day), event, self._types[event.type], call, change)
        if record.category is None:
            usage = self._usage.setdefault(event.key, [0, 0, 0])
            usage[0] += 1
            usage[1] += call is not None
            usage[2] += len(record.event)

    def version(self, stream: str, version: int, *, decided: bool) -> None:
        """The newest version of a stream."""
        key = stream_key(stream)
        before = self._known.streams.get(key)
        newest = version if before is None else max(version, before.version)
        self._known.streams[key] = StreamHead(newest, decided)
        self._streams.add(key)

    def head_of(self, category: str, number: int) -> None:
        """The newest number of a category."""
        self._known.categories[category] = self.categories[category] = number
        self._known.decisions = number

    def chain_on(self, partition: int, number: int, recorded_us: int, digest: bytes) -> None:
        """One more number and its digest; the segment is sealed when it is full."""
        head = self._known.heads[partition]
        head.number = number
        self._touched.add(partition)
        running = chain.run_on(head.running, digest)
        if chain.ends_segment(number):
            self.seal(partition, number, recorded_us, running)
        else:
            head.running = running

    def seal(self, partition: int, number: int, recorded_us: int, running: bytes) -> None:
        head = self._known.heads[partition]
        head.number = number
        head.chain = chain.sealed(head.chain, running)
        head.running = chain.START
        self._touched.add(partition)
        self._seals.append((first_place(partition) | number, recorded_us, running, head.chain))

    def sealed(self, partition: int) -> Seal | None:
        """The newest seal among these rows, which is of this partition."""
        if not self._seals:
            return None
        place, _, running, chained = self._seals[-1]
        return Seal(partition, place & NUMBER_MASK, running, chained)

    async def write(self, connection: Connection) -> None:
        """All rows, inside the transaction."""
        if not self._touched:
            return
        known = self._known
        await copy(connection, "record", _RECORD, self._records)
        await copy(connection, "seen", _SEEN, self._seen)
        await copy(connection, "seal", _SEAL, self._seals)
        streams = [(name, known.streams[name]) for name in sorted(self._streams)]
        new = [(name, head.decided, head.version) for name, head in streams if name not in known.stored]
        await copy(connection, "stream", _STREAM, new)
        if grown := [(name, head.version) for name, head in streams if name in known.stored]:
            await connection.execute(_SET_STREAMS, *columns_of(grown, 2))
        await self._models.write(connection, self._ledger.generations)
        heads = [
            (partition, head.number, head.running, head.chain, head.last_us)
            for partition in self._touched
            for head in (known.heads[partition],)
        ]
        await connection.execute(_SET_HEADS, *columns_of(heads, 5))
        if self._usage:
            usage = [(key, *self._usage[key]) for key in sorted(self._usage)]
            await connection.execute(_ADD_USAGE, *columns_of(usage, 4))
        if self.categories:
            await connection.execute(_SET_CATEGORIES, *columns_of(list(self.categories.items()), 2))

    def commit(self) -> None:
        """Let the ledger know, once it is committed."""
        known = self._known
        last_us = max((known.heads[partition].last_us for partition in self._touched), default=0)
        decisions = known.decisions if self.categories else 0
        numbers = [(partition, known.heads[partition].number) for partition in self._touched]
        self._ledger.committed(decisions, self.categories.items(), last_us, numbers)
