"""What changes the file of the text index, each in one transaction, on its writer's thread."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import msgspec

from services.calls.words import Streams
from services.request_vault.store.port import CallText
from services.request_vault.store.sqlite.places import PARTITION_SHIFT, place_of
from services.request_vault.store.sqlite.rows import insert_rows
from services.request_vault.store.sqlite.text import late
from services.request_vault.store.sqlite.text.finding import mark_of, marked
from services.request_vault.store.sqlite.text.schema import COLUMNS, WORDS_VERSION, create_words, table
from services.request_vault.store.sqlite.text.shards import SHARD_CALLS, Range, Shard, State

_WORDS_WIDTH = 5

Proof = tuple[int, bytes]


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    if connection.in_transaction:  # a rollback that failed
        connection.execute("ROLLBACK")
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def add(
    connection: sqlite3.Connection,
    state: State,
    after: int,
    through: int,
    texts: Sequence[CallText],
    erased: int,
    proof: Proof | None,
) -> None:
    """Calls to the open shard of their partition, which is made if there is none. They are all of after <
    place <= through, but for those `erased`."""
    partition = through >> PARTITION_SHIFT
    with transaction(connection):
        shard = state.open_in(partition)
        number = None if shard is None else shard.number
        if texts:
            if number is None:
                number = _create_shard(connection, "open", after + 1, after + 1)
            _insert(connection, state.buckets, number, texts)
        if number is not None:
            calls = len(texts) + (0 if shard is None else shard.calls)
            connection.execute(
                """UPDATE shard SET state = ?, last = ?, until = ?, calls = ?, erased = erased + ?
                WHERE number = ?""",
                ("full" if calls >= SHARD_CALLS else "open", through, through, calls, erased, number),
            )
        proven, digest = proof or (0, b"")
        connection.execute(
            """INSERT INTO progress VALUES (?1, ?2, ?3, ?4) ON CONFLICT (partition) DO UPDATE
            SET place = ?2, proven = iif(?3, ?3, proven), digest = iif(?3, ?4, digest)""",
            (partition, through, proven, digest),
        )


def begin(connection: sqlite3.Connection, state: State, span: Range) -> None:
    """A shard that takes the place of those in `span`. An open one among them is open no more."""
    with transaction(connection):
        _abandon(connection, state)
        connection.execute(
            "UPDATE shard SET state = 'full' WHERE state = 'open' AND first >= ? AND last <= ?",
            (span.first, span.until),
        )
        _create_shard(connection, "building", span.first, span.until)


def abandon(connection: sqlite3.Connection, state: State) -> None:
    with transaction(connection):
        _abandon(connection, state)


def build(
    connection: sqlite3.Connection,
    state: State,
    building: Shard,
    through: int,
    texts: Sequence[CallText],
    erased: int,
) -> None:
    """Calls to the shard that is being built, which is whole up to `through` then. With its last it takes the
    place of the others."""
    with transaction(connection):
        _insert(connection, state.buckets, building.number, texts)
        calls = building.calls + len(texts)
        whole = through >= building.until
        if whole:
            for shard in state.replaced_by(building):
                _drop(connection, shard.number)
        if whole and not calls:
            _drop(connection, building.number)
        else:
            connection.execute(
                "UPDATE shard SET state = ?, last = ?, calls = ?, erased = erased + ? WHERE number = ?",
                ("full" if whole else "building", through, calls, erased, building.number),
            )


def replace(connection: sqlite3.Connection, state: State, texts: Sequence[CallText]) -> None:
    """Late calls, once more."""
    with transaction(connection):
        for text in texts:
            shard = late.forget(connection, state, text)
            if shard is not None:
                _insert(connection, state.buckets, shard, [text])


def name_buckets(connection: sqlite3.Connection, state: State, texts: Sequence[CallText]) -> State:
    """The state in which every bucket of these calls has a number."""
    new = {text.bucket for text in texts}.difference(state.buckets)
    if not new:
        return state
    buckets = dict(state.buckets)
    with transaction(connection):
        for name in sorted(new):
            buckets[name] = len(buckets) + 1
            connection.execute("INSERT INTO bucket VALUES (?, ?)", (buckets[name], name))
    return msgspec.structs.replace(state, buckets=buckets)


def merge(connection: sqlite3.Connection, shard: int) -> None:
    """A full shard in one run, which is smaller, and quicker to look into."""
    name = table(shard)
    with transaction(connection):
        connection.execute(f"INSERT INTO {name} ({name}) VALUES ('optimize')")
        connection.execute("UPDATE shard SET state = 'merged' WHERE number = ?", (shard,))


def outdate(connection: sqlite3.Connection) -> None:
    """Every shard is to be built anew."""
    with transaction(connection):
        connection.execute("UPDATE shard SET state = 'full' WHERE state = 'open'")
        connection.execute("UPDATE shard SET version = 0 WHERE version = ?", (WORDS_VERSION,))


def drop(connection: sqlite3.Connection, shard: int) -> None:
    with transaction(connection):
        _drop(connection, shard)


def give_back(connection: sqlite3.Connection, most_pages: int) -> bool:
    """Free pages to the file system; whether there were any."""
    (free,) = connection.execute("PRAGMA freelist_count").fetchone()
    if free:
        connection.execute(f"PRAGMA incremental_vacuum({most_pages})").fetchall()
    return bool(free)


def empty_log(connection: sqlite3.Connection) -> bool:
    """Overwrite what the write-ahead log still holds of old pages; whether no reader was in the way."""
    (busy, *_) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    return not busy


def _create_shard(connection: sqlite3.Connection, state: str, first: int, until: int) -> int:
    row = connection.execute(
        """INSERT INTO shard (state, first, last, until, calls, erased, version)
        VALUES (?, ?, ?, ?, 0, 0, ?) RETURNING number""",
        (state, first, first - 1, until, WORDS_VERSION),
    ).fetchone()
    create_words(connection, row[0])
    return int(row[0])


def _abandon(connection: sqlite3.Connection, state: State) -> None:
    if state.building is not None:
        _drop(connection, state.building.number)


def _drop(connection: sqlite3.Connection, shard: int) -> None:
    connection.execute(f"DROP TABLE {table(shard)}")
    connection.execute("DELETE FROM late WHERE shard = ?", (shard,))
    connection.execute("DELETE FROM shard WHERE number = ?", (shard,))


def _insert(
    connection: sqlite3.Connection, buckets: Mapping[str, int], shard: int, texts: Sequence[CallText]
) -> None:
    words: list[object] = []
    incomplete: list[tuple[CallText, late.Columns]] = []
    for text in texts:
        columns = _columns(text.streams, mark_of(buckets[text.bucket]))
        words += (place_of(text.position), *columns)
        if text.missing:
            incomplete.append((text, columns))
    insert_rows(connection, f"{table(shard)} (rowid, {COLUMNS})", _WORDS_WIDTH, words)
    if incomplete:
        late.remember(connection, shard, incomplete)


def _columns(streams: Streams, mark: str) -> late.Columns:
    return (
        marked(streams.url, mark),
        marked(streams.headers, mark),
        marked(streams.named, mark),
        marked(streams.bodies, mark),
    )
