"""What the tables say of the events, streams and partitions that a transaction touches.

Read by `Known.load` at the beginning of the transaction, under the lock on the partitions' heads, which is
held until the commit: so numbers are given in the order of commits, and a reader that has seen N has seen
all below it. `Additions` keeps it true while jobs of the same transaction are added.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from services.request_vault.domain.recording import DECISIONS
from services.request_vault.store.postgres.connections import Connection
from services.request_vault.store.postgres.places import DECIDED
from services.request_vault.store.writes import Seen, StreamHead

_LONGEST_KEY_BYTES = 1024
_KEPT_CHARS = 128

_HEADS = """
SELECT partition, number, running, chain, last_us, changes FROM head WHERE partition = ANY ($1::integer[])
ORDER BY partition FOR UPDATE
"""
_SEEN = "SELECT id, source, place, content FROM seen WHERE id = ANY ($1::text[])"
_STREAMS = "SELECT name, version, decided FROM stream WHERE name = ANY ($1::text[]) ORDER BY name FOR UPDATE"
_CATEGORIES = "SELECT name, number FROM category WHERE name = ANY ($1::text[])"
_DECIDED = f"""
SELECT place, stream, version FROM record WHERE class = {DECIDED} AND place = ANY ($1::bigint[])
UNION ALL SELECT place, stream, version FROM tombstone WHERE place = ANY ($1::bigint[])
"""


class Head:
    """Of a partition."""

    __slots__ = ("chain", "changes", "last_us", "number", "running")

    def __init__(self, number: int, running: bytes, chain: bytes, last_us: int, changes: int) -> None:
        self.number = number
        self.running = running
        self.chain = chain
        self.last_us = last_us
        self.changes = changes


class Known:
    """As `writes.Known`. streams: by `stream_key`. stored: the streams that have a row. changes: as in the
    heads (`schema`)."""

    def __init__(self, decisions: int) -> None:
        self.heads: dict[int, Head] = {}
        self.seen: dict[tuple[str, str], Seen] = {}
        self.streams: dict[str, StreamHead] = {}
        self.stored: set[str] = set()
        self.categories: dict[str, int] = {}
        self.decided: dict[int, tuple[str, int]] = {}
        self.decisions = decisions
        self.floor_us = 0
        self.changes = 0

    def stream(self, name: str) -> StreamHead | None:
        return self.streams.get(stream_key(name))

    @classmethod
    async def load(
        cls,
        connection: Connection,
        *,
        partitions: Iterable[int],
        identities: set[tuple[str, str]],
        streams: Iterable[str],
        categories: Iterable[str],
        decisions: int,
        stamped_to: int,
    ) -> Known:
        """decisions: as many are known to be committed. stamped_to: the largest number that a stamp names."""
        known = cls(decisions)
        for partition, *head in await connection.fetch(_HEADS, list(partitions)):
            known.heads[partition] = Head(*head)
            known.changes = max(known.changes, known.heads[partition].changes)
        if DECISIONS in known.heads:
            known.decisions = known.heads[DECISIONS].number
        elif stamped_to > decisions:
            known.decisions = await connection.fetchval(
                "SELECT number FROM head WHERE partition = $1", DECISIONS
            )
        for id, source, place, content in await connection.fetch(_SEEN, list({id for id, _ in identities})):
            if (id, source) in identities:
                known.seen[id, source] = Seen(place, content)
        if keys := list({stream_key(stream) for stream in streams}):
            for name, version, is_decided in await connection.fetch(_STREAMS, keys):
                known.streams[name] = StreamHead(version, is_decided)
            known.stored = set(known.streams)
        if DECISIONS in known.heads:
            await known._load_decided(connection, list(categories))
        return known

    async def _load_decided(self, connection: Connection, categories: list[str]) -> None:
        self.categories = dict([tuple(row) for row in await connection.fetch(_CATEGORIES, categories)])
        places = [seen.place for seen in self.seen.values()]
        if places:
            for place, stream, version in await connection.fetch(_DECIDED, places):
                self.decided[place] = (stream, version)


def stream_key(stream: str) -> str:
    """The name that a stream has a row under: its own, or one that an index can hold and nothing else has."""
    if len(stream) * 4 <= _LONGEST_KEY_BYTES or len(encoded := stream.encode()) <= _LONGEST_KEY_BYTES:
        return stream
    return f"{stream[:_KEPT_CHARS]}\x1f{hashlib.sha256(encoded).hexdigest()}"
