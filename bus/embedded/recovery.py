"""Opening a journal: what it held when it was left, and what its end meant. Called by `transport`, on the
journal's thread.

After an unclean end, what may have been in a consumer's hands counts as returned once more: every frame in
`held`, and every frame after the cursor that is not newer than the subscription's `mark` or was `offered` to
it as it was committed. Marks are raised at most a few hundred frames ahead of what was handed out, and
acknowledgements are flushed some tens of milliseconds after `done`, so a count may be too high by one, for
few frames, and a settled frame may come back. A suspect's count is exact.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any, cast

import msgspec

from bus.embedded.format import check, create, make_tables
from bus.embedded.journal import execute_all, numbers_of
from bus.errors import JournalDamaged
from bus.message import Exchange, Mode, Subscription

WAL_PAGES = 1024  # 16 MiB of log between checkpoints
WAL_KEEP_BYTES = 64 * 1024 * 1024
CACHE_KIB = 8192


class Stored(msgspec.Struct):
    """A durable subscription as the journal has it. suspects: (id, returned)."""

    number: int
    subscription: Subscription
    read_to: int
    mark: int
    held: dict[int, int] = {}
    suspects: list[tuple[int, int]] = []
    depth: int = 0
    waiting_bytes: int = 0


class Recovered(msgspec.Struct):
    last_id: int
    subscriptions: list[Stored]
    next_due_us: int | None
    clean: bool


def open_journal(path: Path | None, limit_bytes: int | None) -> tuple[sqlite3.Connection, Recovered]:
    """Connect to the journal at `path` (None: one in memory), making it if need be, with at most
    `limit_bytes` of pages. Raises CannotOpen; JournalDamaged and JournalVersion leave the file as it was."""
    if path is not None:
        wal = path.with_name(path.name + "-wal")
        if path.exists():
            check(path)
        elif wal.exists() and wal.stat().st_size:
            raise JournalDamaged(f"journal {path} is missing, but its log {wal.name} is there")
        else:
            create(path)
    connection = sqlite3.connect(path or ":memory:", isolation_level=None, timeout=5.0, cached_statements=256)
    try:
        if path is None:
            make_tables(connection)
        _configure(connection, limit_bytes)
        connection.execute("BEGIN IMMEDIATE")
        recovered = _recover(connection)
        connection.execute("COMMIT")
    except (sqlite3.Error, msgspec.MsgspecError) as error:
        connection.close()
        raise JournalDamaged(f"journal {path} cannot be recovered: {error}") from error
    return connection, recovered


def _configure(connection: sqlite3.Connection, limit_bytes: int | None) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA fullfsync = ON")  # on macOS fsync alone does not reach the disk
    connection.execute(f"PRAGMA wal_autocheckpoint = {WAL_PAGES}")
    connection.execute(f"PRAGMA journal_size_limit = {WAL_KEEP_BYTES}")
    connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    if limit_bytes is not None:
        page_bytes = connection.execute("PRAGMA page_size").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {max(1, limit_bytes // page_bytes)}")


def _recover(connection: sqlite3.Connection) -> Recovered:
    clean = bool(connection.execute("SELECT clean FROM journal").fetchone()[0])
    connection.execute("UPDATE journal SET clean = 0")
    if not clean:
        connection.execute("UPDATE held SET returned = returned + 1")
        connection.execute("UPDATE suspect SET returned = returned + 1, handed = 0 WHERE handed = 1")
    stored = {
        row[0]: _stored(row) for row in connection.execute("SELECT * FROM subscription ORDER BY number")
    }
    for number, frame, returned in connection.execute("SELECT * FROM held"):
        if number in stored:
            stored[number].held[frame] = returned
    for id, number, returned in connection.execute(
        "SELECT id, subscription, returned FROM suspect ORDER BY id"
    ):
        if number in stored:
            stored[number].suspects.append((id, returned))
            stored[number].depth += 1
    _count(connection, stored, clean)
    columns = ("frame.id", "suspect.id", "delayed.id", "kept.id", "subscription.read_to", "subscription.mark")
    maxima = " UNION ALL ".join(
        f"SELECT max({column}) AS n FROM {column.split('.')[0]}" for column in columns
    )
    last_id = connection.execute(f"SELECT ifnull(max(n), 0) FROM ({maxima})").fetchone()[0]
    next_due_us = connection.execute("SELECT min(due_us) FROM delayed").fetchone()[0]
    return Recovered(last_id, list(stored.values()), next_due_us, clean)


def _stored(row: tuple[Any, ...]) -> Stored:
    number, name, exchange, mode, patterns, read_to, mark = row
    subscription = Subscription(
        name=name,
        patterns=msgspec.json.decode(patterns, type=tuple[str, ...]),
        mode=cast(Mode, mode),
        exchange=cast(Exchange, exchange),
    )
    return Stored(number, subscription, read_to, mark)


def _count(connection: sqlite3.Connection, stored: dict[int, Stored], clean: bool) -> None:
    """Count what waits, turn into `held` what an unclean end returned, and delete what nobody needs."""
    orphans: list[tuple[int]] = []
    returned_to = {number: place.mark for number, place in stored.items()}
    for id, offered in connection.execute("SELECT id, offered FROM frame WHERE offered != '' ORDER BY id"):
        returned_to.update(
            (number, max(id, returned_to[number])) for number in numbers_of(offered) if number in stored
        )
    newer: dict[int, list[tuple[int, bool]]] = {number: [] for number in stored}
    for id, routes, offered, size in connection.execute(
        "SELECT id, routes, offered, length(body) FROM frame ORDER BY id"
    ):
        wanted = False
        offered_to = numbers_of(offered)
        for number in numbers_of(routes):
            if (place := stored.get(number)) is None or (id <= place.read_to and id not in place.held):
                continue
            wanted = True
            place.depth += 1
            place.waiting_bytes += size
            if not clean and place.read_to < id <= returned_to[number]:
                newer[number].append((id, id <= place.mark or number in offered_to))
        if not wanted:
            orphans.append((id,))
    connection.executemany("DELETE FROM frame WHERE id = ?", orphans)
    for number, frames in newer.items():
        _hold(connection, stored[number], frames)


def _hold(connection: sqlite3.Connection, place: Stored, frames: list[tuple[int, bool]]) -> None:
    """Move the cursor over the frames that came back, and over those between them that did not."""
    if not frames:
        return
    place.read_to = frames[-1][0]
    place.held.update({id: int(came_back) for id, came_back in frames})
    execute_all(
        connection,
        "INSERT INTO held VALUES (?, ?, ?)",
        [(place.number, id, int(back)) for id, back in frames],
    )
    connection.execute("UPDATE subscription SET read_to = ? WHERE number = ?", (place.read_to, place.number))
