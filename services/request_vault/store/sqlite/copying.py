"""A copy of the file as of one moment, made while the writer goes on."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from bus.errors import Unavailable

STEP_PAGES = 256


def copy(connection: sqlite3.Connection, target: Path, going: Callable[[], bool]) -> None:
    """`Store.backup`, with a connection inside a transaction, whose moment it copies: what the writer commits
    meanwhile stays in the write-ahead log. going: False once nobody waits for it any more."""
    if target.exists():
        raise FileExistsError(f"{target} exists already; a backup is written to a new file")
    connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()  # here the moment begins
    partial = target.with_name(f".{target.name}.partial")
    partial.unlink(missing_ok=True)

    def go_on(status: int, remaining: int, total: int) -> None:
        if not going():
            raise InterruptedError("the backup was given up")

    try:
        copied = sqlite3.connect(partial, isolation_level=None)
        try:
            connection.backup(copied, pages=STEP_PAGES, progress=go_on)
            copied.execute("PRAGMA journal_mode=DELETE")  # one file, readable where nothing can be written
        finally:
            copied.close()
        sync(partial)
        partial.rename(target)
        sync(target.parent)
    except OSError as error:
        if isinstance(error, InterruptedError):
            raise Unavailable(str(error)) from error
        raise Unavailable(f"the backup cannot be written: {error}") from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """What was written to a file, or to a folder's list of names, is on disk when it returns."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
