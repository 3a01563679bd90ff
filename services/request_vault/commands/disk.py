"""Files and folders that verbs write: room for them, whole or not at all, and nobody else at the same
time."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from services.request_vault.commands.errors import BackupExists, CannotWrite, NoRoom
from services.request_vault.commands.telling import size

SPARE_BYTES = 16 * 1024 * 1024


def check_room(folder: Path, needed_bytes: int) -> None:
    """`folder` may not be there yet. Raises NoRoom."""
    there = folder
    while not there.exists():
        there = there.parent
    free = shutil.disk_usage(there).free
    if free < needed_bytes + SPARE_BYTES:
        raise NoRoom(f"{folder} needs {size(needed_bytes)} of disk, and {size(free)} are free there")


@contextmanager
def writing(what: Path) -> Iterator[None]:
    """The disk's errors, as CannotWrite or NoRoom."""
    try:
        yield
    except OSError as error:
        raise CannotWrite(f"{error.filename or what} cannot be written: {error.strerror or error}") from error


@contextmanager
def partial_of(folder: Path) -> Iterator[Path]:
    """A folder beside `folder` to work in, which an earlier try may have left with some of the work done.
    Raises BackupExists, also while somebody else works there."""
    if folder.exists() or folder.is_symlink():
        raise BackupExists(f"{folder} exists")
    partial = folder.with_name(f".{folder.name}.partial")
    with writing(folder):
        partial.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = partial.with_name(f"{partial.name}.lock")
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BackupExists(f"another backup to {folder} is going on") from None
        yield partial
    finally:
        lock.unlink(missing_ok=True)
        os.close(descriptor)


def sync(path: Path) -> None:
    """What was written to a file, or to a folder's list of names, is on disk when it returns."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def copy_files(source: Path, target: Path) -> list[Path]:
    """The files of a folder, if it is there, as the owner's only; the copies. One that goes meanwhile is left
    out, and one that is there already is written again."""
    copied = []
    for path in sorted(source.glob("*.json")):
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            continue
        target.mkdir(mode=0o700, parents=True, exist_ok=True)
        place = target / path.name
        place.unlink(missing_ok=True)
        with os.fdopen(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        copied.append(place)
    if copied:
        sync(target)
    return copied
