"""What is written to the journal and read from it: SQL, and nothing else. Called by `broker` (through
`committer`).

Functions that take a `Connection` run on the journal's thread, inside the transaction of their group; they
hold no state. What a frame is on disk says `format`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from sqlite3 import Connection
from typing import Any

import msgspec

from bus.embedded.format import PAYLOAD_COLUMNS, frame_of
from bus.message import Subscription
from bus.transport import Frame

INSERT_ROWS = 32  # rows a statement: the thread needs the GIL once a statement
KEPT_PRUNE_ROWS = 100
KEEP_PAGES = 2048  # unused ones, for what comes next: 32 MiB
VACUUM_PAGES = 1024
_FRAME_VALUES = 10
_PAYLOAD_VALUES = 7
_SELECT_ROW = f"SELECT id, routes, offered, {PAYLOAD_COLUMNS} FROM frame"


class Row(msgspec.Struct, frozen=True):
    """A frame as it was read back."""

    id: int
    routes: tuple[int, ...]
    offered: tuple[int, ...]
    frame: Frame


class Delayed(msgspec.Struct, frozen=True):
    """A frame that is due: for one subscription, or (None) for those that the exchange's bindings say."""

    id: int
    exchange: str
    subscription: int | None
    frame: Frame


class Changes(msgspec.Struct):
    """What consumers did since the last flush.

    cursors: (read_to, mark, subscription). held: (subscription, frame, returned). settled: (subscription,
    frame), no longer held. gone: frames that nobody needs any more. suspects_gone, suspects_back: (id,) and
    (returned, id).
    """

    cursors: list[tuple[int, int, int]] = []
    held: list[tuple[int, int, int]] = []
    settled: list[tuple[int, int]] = []
    gone: list[int] = []
    suspects_gone: list[tuple[int]] = []
    suspects_back: list[tuple[int, int]] = []


def routes_text(numbers: Sequence[int]) -> str:
    """`,1,4,`: a subscription's number can be looked for between commas."""
    return f",{','.join(map(str, numbers))}," if numbers else ""


def numbers_of(text: str) -> tuple[int, ...]:
    return tuple(map(int, text[1:-1].split(","))) if text else ()


def insert_frames(connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
    """Rows of (id, routes, offered, *payload)."""
    for start in range(0, len(rows), INSERT_ROWS):
        part = rows[start : start + INSERT_ROWS]
        connection.execute(_insert_statement(len(part)), [value for row in part for value in row])


@lru_cache(maxsize=INSERT_ROWS)
def _insert_statement(count: int) -> str:
    return "INSERT INTO frame VALUES " + ",".join([_places(_FRAME_VALUES)] * count)


def _places(count: int) -> str:
    return f"({','.join('?' * count)})"


def together(works: Iterable[Callable[[Connection], None]]) -> Callable[[Connection], None]:
    """One after the other, in one transaction."""
    parts = tuple(works)

    def work(connection: Connection) -> None:
        for part in parts:
            part(connection)

    return work


def probe(connection: Connection) -> None:
    """A write of some size that leaves nothing behind."""
    connection.execute("INSERT INTO frame (id, routes, offered, body) VALUES (-1, '', '', zeroblob(65536))")
    connection.execute("DELETE FROM frame WHERE id = -1")
    connection.execute("UPDATE journal SET clean = 0")


def save_subscription(connection: Connection, number: int, subscription: Subscription, read_to: int) -> None:
    """A new one begins after `read_to`; a known one keeps its place and gets new bindings."""
    connection.execute(
        "INSERT INTO subscription VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (number) DO UPDATE SET"
        " exchange = excluded.exchange, mode = excluded.mode, patterns = excluded.patterns",
        (
            number,
            subscription.name,
            subscription.exchange,
            subscription.mode,
            msgspec.json.encode(subscription.patterns).decode(),
            read_to,
            read_to,
        ),
    )


def apply(connection: Connection, changes: Changes) -> bool:
    """Move the cursors and delete what nobody needs any more, in one transaction: a frame is never gone while
    a cursor on disk still asks for it. Returns whether much of the file is unused now."""
    execute_all(
        connection,
        "UPDATE subscription SET read_to = ?, mark = max(mark, ?) WHERE number = ?",
        changes.cursors,
    )
    execute_all(connection, "DELETE FROM held WHERE subscription = ? AND frame = ?", changes.settled)
    execute_all(connection, "INSERT OR REPLACE INTO held VALUES (?, ?, ?)", changes.held)
    execute_all(connection, "DELETE FROM frame WHERE id BETWEEN ? AND ?", _runs(changes.gone))
    execute_all(connection, "DELETE FROM suspect WHERE id = ?", changes.suspects_gone)
    execute_all(connection, "UPDATE suspect SET handed = 0, returned = ? WHERE id = ?", changes.suspects_back)
    return _much_unused(connection)


def give_space(connection: Connection) -> bool:
    """Give some of the unused space back to the disk. Returns whether there is more. In no transaction."""
    # `execute` would step once, which is one page.
    connection.executescript(f"PRAGMA incremental_vacuum({VACUUM_PAGES})")
    return _much_unused(connection)


def _much_unused(connection: Connection) -> bool:
    pages: int = connection.execute("PRAGMA freelist_count").fetchone()[0]
    return pages > KEEP_PAGES


def execute_all(connection: Connection, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
    if rows:
        connection.executemany(statement, rows)


def _runs(ids: Iterable[int]) -> list[tuple[int, int]]:
    """Ids as inclusive ranges without gaps."""
    runs: list[tuple[int, int]] = []
    for id in sorted(ids):
        if runs and runs[-1][1] == id - 1:
            runs[-1] = (runs[-1][0], id)
        else:
            runs.append((id, id))
    return runs


def raise_mark(connection: Connection, number: int, mark: int) -> None:
    connection.execute("UPDATE subscription SET mark = max(mark, ?) WHERE number = ?", (mark, number))


def load_after(
    connection: Connection, number: int, after: int, limit: int, limit_bytes: int
) -> tuple[list[Row], bool]:
    """The next frames of a subscription, and whether these were the last."""
    found = connection.execute(
        f"{_SELECT_ROW} WHERE id > ? AND instr(routes, ?) ORDER BY id",
        (after, f",{number},"),
    )
    rows: list[Row] = []
    size_bytes = 0
    for values in found:
        rows.append(_row(values))
        size_bytes += len(values[-1])
        if len(rows) >= limit or size_bytes >= limit_bytes:
            found.close()
            return rows, False
    return rows, True


def load_these(connection: Connection, ids: Sequence[int]) -> list[Row]:
    """Those of the frames that are still there, in order."""
    found = connection.execute(f"{_SELECT_ROW} WHERE id IN {_places(len(ids))} ORDER BY id", ids)
    return [_row(values) for values in found]


def routes_after(
    connection: Connection, number: int, after: int, limit: int
) -> list[tuple[int, tuple[int, ...]]]:
    """(id, routes) of the next frames of a subscription, without their bodies."""
    found = connection.execute(
        "SELECT id, routes FROM frame WHERE id > ? AND instr(routes, ?) ORDER BY id LIMIT ?",
        (after, f",{number},", limit),
    )
    return [(id, numbers_of(routes)) for id, routes in found]


def _row(values: Sequence[Any]) -> Row:
    return Row(values[0], numbers_of(values[1]), numbers_of(values[2]), frame_of(values[3:]))


def insert_suspect(connection: Connection, id: int, number: int, payload: tuple[Any, ...]) -> None:
    connection.execute(
        f"INSERT INTO suspect VALUES {_places(4 + _PAYLOAD_VALUES)}", (id, number, 0, 0, *payload)
    )


def hand_suspect(connection: Connection, id: int) -> Frame | None:
    """Note that it will be in a consumer's hands. Committed before it is, so that a loss is counted
    exactly."""
    connection.execute("UPDATE suspect SET handed = 1 WHERE id = ?", (id,))
    values = connection.execute(f"SELECT {PAYLOAD_COLUMNS} FROM suspect WHERE id = ?", (id,)).fetchone()
    return None if values is None else frame_of(values, suspect=True)


def insert_delayed(
    connection: Connection,
    id: int,
    due_us: int,
    exchange: str,
    number: int | None,
    suspect: bool,
    payload: tuple[Any, ...],
) -> None:
    connection.execute(
        f"INSERT INTO delayed VALUES {_places(5 + _PAYLOAD_VALUES)}",
        (id, due_us, exchange, number, suspect, *payload),
    )


def due_by(connection: Connection, now_us: int, limit: int) -> tuple[list[Delayed], int | None]:
    """The frames that are due, the earliest first; when there are none, when the next one is."""
    found = connection.execute(
        f"SELECT id, exchange, subscription, suspect, {PAYLOAD_COLUMNS} FROM delayed WHERE due_us <= ?"
        " ORDER BY due_us, id LIMIT ?",
        (now_us, limit),
    ).fetchall()
    due = [
        Delayed(id, exchange, number, frame_of(values, suspect=bool(suspect)))
        for id, exchange, number, suspect, *values in found
    ]
    next_us = None if due else connection.execute("SELECT min(due_us) FROM delayed").fetchone()[0]
    return due, next_us


def delete_delayed(connection: Connection, id: int) -> None:
    connection.execute("DELETE FROM delayed WHERE id = ?", (id,))


def postpone(connection: Connection, id: int, due_us: int) -> None:
    connection.execute("UPDATE delayed SET due_us = ? WHERE id = ?", (due_us, id))


def keep(connection: Connection, id: int, now_us: int, oldest_us: int, payload: tuple[Any, ...]) -> None:
    """Keep a frame, and let go of some that were kept long enough."""
    connection.execute(f"INSERT INTO kept VALUES {_places(2 + _PAYLOAD_VALUES)}", (id, now_us, *payload))
    connection.execute(
        "DELETE FROM kept WHERE id IN (SELECT id FROM kept WHERE kept_at_us < ? ORDER BY id LIMIT ?)",
        (oldest_us, KEPT_PRUNE_ROWS),
    )


def kept_after(connection: Connection, after: int, oldest_us: int, limit: int) -> list[tuple[int, Frame]]:
    found = connection.execute(
        f"SELECT id, {PAYLOAD_COLUMNS} FROM kept WHERE id > ? AND kept_at_us >= ? ORDER BY id LIMIT ?",
        (after, oldest_us, limit),
    )
    return [(id, frame_of(values)) for id, *values in found]


def close_clean(connection: Connection, changes: Changes) -> None:
    """The last write of a journal that was closed properly."""
    apply(connection, changes)
    connection.execute("UPDATE journal SET clean = 1")
