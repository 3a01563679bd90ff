"""What the tables say of the events and streams that a job touches. Read inside the writer's transaction."""

from __future__ import annotations

import sqlite3

import msgspec

from services.request_vault.domain.recording import DECISIONS
from services.request_vault.store.sqlite.ledger import Ledger
from services.request_vault.store.sqlite.places import PARTITION_SHIFT
from services.request_vault.store.sqlite.rows import fetch, json_list, select
from services.request_vault.store.writes import Appending, Identity, Recording, Seen, StreamHead


class _Seen(msgspec.Struct, array_like=True):
    id: str
    source: str
    place: int
    content: str


class _Head(msgspec.Struct, array_like=True):
    stream: str
    version: int
    place: int


_seen_decoder = msgspec.json.Decoder(list[_Seen])
_head_decoder = msgspec.json.Decoder(list[_Head])

_SEEN = select(
    "s.id, s.source, s.place, hex(s.content)", "json_each(?) w CROSS JOIN seen s ON s.id = w.value"
)
_HEADS = select(
    "h.stream, max(coalesce(r.version, 0), coalesce(t.version, 0)), coalesce(h.place, h.erased)",
    """(
    SELECT w.value AS stream,
           (SELECT n.place FROM record n WHERE n.stream = w.value ORDER BY n.version DESC LIMIT 1) AS place,
           (SELECT t.place FROM tombstone t WHERE t.stream = w.value ORDER BY t.version DESC LIMIT 1)
               AS erased
    FROM json_each(?) w
    ) h LEFT JOIN record r ON r.place = h.place LEFT JOIN tombstone t ON t.place = h.erased
    WHERE h.place IS NOT NULL OR h.erased IS NOT NULL""",
)
_PLACES = select(
    "coalesce(r.stream, t.stream), coalesce(r.version, t.version), w.value",
    """json_each(?) w LEFT JOIN record r ON r.place = w.value LEFT JOIN tombstone t ON t.place = w.value
    WHERE r.place IS NOT NULL OR t.place IS NOT NULL""",
)


class Known:
    """As `writes.Known`."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._streams: dict[str, StreamHead] = {}
        self.seen: dict[Identity, Seen] = {}
        self.decided: dict[int, tuple[str, int]] = {}

    @classmethod
    def load(cls, connection: sqlite3.Connection, ledger: Ledger, job: Recording | Appending) -> Known:
        known = cls(ledger)
        wanted = set(job.identities)
        if ids := list({id for id, _ in wanted}):
            for row in fetch(connection, _SEEN, (json_list(ids),), _seen_decoder):
                if (row.id, row.source) in wanted:
                    known.seen[row.id, row.source] = Seen(row.place, bytes.fromhex(row.content))
        if streams := list(job.streams):
            for head in fetch(connection, _HEADS, (json_list(streams),), _head_decoder):
                decided = head.place >> PARTITION_SHIFT == DECISIONS
                known._streams[head.stream] = StreamHead(head.version, decided)
        if isinstance(job, Appending):
            known._load_decided(connection)
        return known

    def _load_decided(self, connection: sqlite3.Connection) -> None:
        places = [seen.place for seen in self.seen.values() if seen.place >> PARTITION_SHIFT == DECISIONS]
        if places:
            for row in fetch(connection, _PLACES, (json_list(places),), _head_decoder):
                self.decided[row.place] = (row.stream, row.version)

    @property
    def decisions(self) -> int:
        return self._ledger.numbers[DECISIONS]

    @property
    def floor_us(self) -> int:
        return self._ledger.floor_us

    def stream(self, name: str) -> StreamHead | None:
        return self._streams.get(name)

    def next_version(self, stream: str, *, decided: bool) -> int:
        """Of an event that is added to the stream now."""
        before = self._streams.get(stream)
        version = 1 if before is None else before.version + 1
        self._streams[stream] = StreamHead(version, decided)
        return version
