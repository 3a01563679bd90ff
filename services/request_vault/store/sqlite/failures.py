"""SQLite's errors in the bus's words: a disk that is full or gone is Unavailable, everything else is a
mistake of this program.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from bus.errors import BusError, Unavailable

_OWN_MISTAKES = (
    sqlite3.IntegrityError,
    sqlite3.ProgrammingError,
    sqlite3.DataError,
    sqlite3.NotSupportedError,
)


def unavailable(error: sqlite3.Error) -> BusError | None:
    """What the callers are told; None when the error is not the database's condition but the statement's."""
    if isinstance(error, _OWN_MISTAKES):
        return None
    name = getattr(error, "sqlite_errorname", "") or type(error).__name__
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return Unavailable(f"the vault's database is damaged ({error}); restore it from a backup")
    if name.startswith("SQLITE_FULL"):
        return Unavailable("the disk that holds the vault is full")
    if name in ("SQLITE_ERROR", "SQLITE_MISUSE"):
        return None
    return Unavailable(f"the vault's database cannot be used: {error} ({name})")


@contextmanager
def translated() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise unavailable(error) or error from error


UNREADABLE = (sqlite3.DatabaseError, msgspec.MsgspecError, ValueError, TypeError)
"""What reading rows raises when the file holds what was never written to it."""


@contextmanager
def readable(what: str) -> Iterator[None]:
    """Raises Unavailable, naming what was read, for a file that is damaged."""
    try:
        yield
    except UNREADABLE as error:
        raise Unavailable(f"{what} cannot be read: {error}") from error
