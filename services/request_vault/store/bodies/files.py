"""Files that are there whole or not at all, also after a power loss, and the lock on a folder of them.

A file is written beside its place under a name of its own (`*.tmp`; several processes may write the same
body), synced, renamed, and its directory synced: rename(2) is atomic, and a name never precedes its bytes.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

LOCK = ".lock"
UNFINISHED = ".tmp"
STALE_S = 60.0


@contextmanager
def locked(folder: Path, *, alone: bool) -> Iterator[None]:
    """Hold the folder's lock; not alone: with others that put. Blocks the thread. flock(2) holds between
    threads, processes and containers that share the folder."""
    make_directory(folder)
    descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)


def write(path: Path, contents: Iterable[bytes], *, sync_parent: bool = True) -> None:
    """The file under its name, whole, on disk; or not at all."""
    make_directory(path.parent)
    descriptor, name = tempfile.mkstemp(UNFINISHED, f"{path.name}.", path.parent)
    unfinished = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.writelines(contents)
            file.flush()
            _sync(file.fileno())
        unfinished.rename(path)
    except BaseException:
        with suppress(OSError):
            unfinished.unlink()
        raise
    if sync_parent:
        sync_directory(path.parent)


def refresh(path: Path) -> None:
    """The file's modification time is now. After a power loss it is at most STALE_S before."""
    before = path.stat().st_mtime
    os.utime(path)
    if path.stat().st_mtime - before > STALE_S:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def make_directory(path: Path) -> None:
    if not path.is_dir():
        make_directory(path.parent)
        path.mkdir(exist_ok=True)
        sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_tree(path: Path) -> int:
    """Remove a folder and what is in it; returns the bytes of its files. What is not there is fine."""
    freed = 0
    with suppress(FileNotFoundError):
        for entry in os.scandir(path):
            if entry.is_dir(follow_symlinks=False):
                freed += remove_tree(Path(entry.path))
            else:
                freed += remove(Path(entry.path))
        path.rmdir()
    return freed


def remove(path: Path) -> int:
    """Remove a file; returns its bytes, 0 when it is not there."""
    try:
        size = path.lstat().st_size
        path.unlink()
    except FileNotFoundError:
        return 0
    return size


def _sync(descriptor: int) -> None:
    whole = getattr(fcntl, "F_FULLFSYNC", None)  # macOS: fsync alone does not reach the platter
    if whole is None:
        os.fsync(descriptor)
    else:
        fcntl.fcntl(descriptor, whole)
