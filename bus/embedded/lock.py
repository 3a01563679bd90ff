"""The lock that keeps a second process away from a journal. Taken by `transport` before the journal is
opened.

A journal `shop.db` has a lock file `shop.db.lock` beside it, held with flock(2) for as long as the journal is
open and naming the holder's process id. The kernel lets go of it when the holder dies, however it dies; the
file itself stays, because removing it would let two processes hold two files of one name.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType

from bus.errors import CannotOpen, InUse


class JournalLock:
    """`with JournalLock(path):` holds it. Raises InUse, naming the journal and the process that has it, and
    CannotOpen when the lock file cannot be made."""

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        self._path = journal.with_name(journal.name + ".lock")
        self._file = -1

    def __enter__(self) -> JournalLock:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise CannotOpen(
                f"journal {self._journal}: {self._path} cannot be opened: {error.strerror}"
            ) from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(file, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(file)
            raise InUse(f"journal {self._journal} is in use by process {holder}") from error
        os.ftruncate(file, 0)
        os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
        self._file = file
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.ftruncate(self._file, 0)
        os.close(self._file)
        self._file = -1
