"""What a job adds to the log: records with their numbers, digests and rows, and the heads they lead to. Runs
inside the writer's transaction.
"""

from __future__ import annotations

import os
import sqlite3
from typing import Any

from bus.event import Event
from services.request_vault.domain import chain
from services.request_vault.domain.calls import CallEntry
from services.request_vault.domain.links import Kept, Seal, kept
from services.request_vault.domain.marking import RowChange
from services.request_vault.store.sqlite.known import Known
from services.request_vault.store.sqlite.ledger import Ledger
from services.request_vault.store.sqlite.models import NewRows
from services.request_vault.store.sqlite.places import NUMBER_MASK, PARTITION_SHIFT
from services.request_vault.store.sqlite.rows import insert_rows
from services.request_vault.store.writes import Addition

_RECORD_WIDTH = 12
_SEEN_WIDTH = 4
_SEAL_WIDTH = 3
_ADD_USAGE = """
INSERT INTO usage VALUES (?, ?, ?, ?) ON CONFLICT (key) DO UPDATE
SET records = records + excluded.records, calls = calls + excluded.calls, bytes = bytes + excluded.bytes
"""


class Additions:
    """The rows of one job, flat, as `insert_rows` takes them. As `writes.Additions`, over `known` and
    `ledger`, which it keeps true. most: how many events at most."""

    def __init__(
        self, connection: sqlite3.Connection, ledger: Ledger, known: Known, now_us: int, most: int
    ) -> None:
        self._connection = connection
        self._ledger = ledger
        self._known = known
        self._recorded_us = ledger.tick(now_us)
        self._salts = os.urandom(most * chain.SALT_BYTES)
        self._records: list[object] = []
        self._seen: list[object] = []
        self._seals: list[Any] = []
        self._usage: dict[str, list[int]] = {}
        self._models = NewRows(ledger.generations)

    def add(self, addition: Addition) -> int:
        ledger = self._ledger
        partition, category, stream = addition.partition, addition.category, addition.stream
        number = ledger.numbers[partition] + 1
        version = self._known.next_version(stream, decided=category is not None)
        prev = None if category is None else ledger.categories.get(category)
        at = len(self._seen) // _SEEN_WIDTH * chain.SALT_BYTES
        salt = self._salts[at : at + chain.SALT_BYTES]
        event = addition.event
        record = kept(
            event, addition.encoded, partition, number, stream, version, category, prev, self._recorded_us,
            salt,
        )  # fmt: skip
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
        ledger = self._ledger
        partition, number = record.partition, record.number
        place = partition << PARTITION_SHIFT | number
        ledger.numbers[partition] = number
        if record.category is not None:
            ledger.categories[record.category] = number
        self.chain_on(partition, number, record.digest)
        self._records += (
            place,
            record.stream,
            record.version,
            record.category,
            record.prev,
            record.key,
            record.time_us,
            record.recorded_us,
            record.checksum,
            record.salt,
            record.digest,
            record.event,
        )
        self._seen += (event.id, event.source, place, content)
        type_number = ledger.types.get(event.type) or ledger.type_number(self._connection, event.type)
        self._models.add(place, event, type_number, call, change)
        if record.category is None:
            usage = self._usage.setdefault(event.key, [0, 0, 0])
            usage[0] += 1
            usage[1] += call is not None
            usage[2] += len(record.event)

    def insert(self) -> None:
        insert_rows(self._connection, "record", _RECORD_WIDTH, self._records)
        insert_rows(self._connection, "seen (id, source, place, content)", _SEEN_WIDTH, self._seen)
        insert_rows(self._connection, "seal", _SEAL_WIDTH, self._seals)
        self._models.insert(self._connection)
        for key, (records, calls, bytes_) in self._usage.items():
            self._connection.execute(_ADD_USAGE, (key, records, calls, bytes_))

    def chain_on(self, partition: int, number: int, digest: bytes) -> None:
        """One more digest; the segment is sealed when it is full."""
        running = chain.run_on(self._ledger.runnings[partition], digest)
        if chain.ends_segment(number):
            self.seal(partition, number, running)
        else:
            self._ledger.runnings[partition] = running

    def seal(self, partition: int, number: int, running: bytes) -> None:
        ledger = self._ledger
        ledger.chains[partition] = chain.sealed(ledger.chains[partition], running)
        ledger.runnings[partition] = chain.START
        self._seals += (partition << PARTITION_SHIFT | number, running, ledger.chains[partition])

    def sealed(self, partition: int) -> Seal | None:
        """The newest seal among these rows, which is of this partition."""
        if not self._seals:
            return None
        place, running, chained = self._seals[-_SEAL_WIDTH:]
        return Seal(partition, place & NUMBER_MASK, running, chained)
