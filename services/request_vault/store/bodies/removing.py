"""How bodies go: some, a bucket, or what nothing names any more. Called by `directory`, in threads.

Each function holds the folder's lock alone, but briefly: a bucket is moved aside under the lock and removed
after it, a sweep looks and asks without it. What it then removes it looks at once more.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from services.request_vault.store.bodies import files
from services.request_vault.store.bodies.chunks import BUCKET
from services.request_vault.store.bodies.layout import DELETED, Entry, Layout, count, entries
from services.request_vault.store.bodies.port import Removed

STEP = 256


def remove_bodies(layout: Layout, bucket: str, hashes: Sequence[str]) -> Removed:
    """These bodies in both forms, and their chunks; gone from the disk when it returns."""
    removed = Removed()
    by_shard: dict[Path, set[str]] = {}
    for sha256 in hashes:
        by_shard.setdefault(layout.plain(bucket, sha256).parent, set()).add(sha256)
    for shard, wanted in by_shard.items():
        with files.locked(layout.folder, alone=True):
            found = [entry for entry in entries(shard) if entry.sha256 in wanted]
            removed = removed.and_also(_remove(shard, found))
    return removed


def remove_bucket(layout: Layout, bucket: str) -> Removed:
    """The bucket's folder, and what an earlier removal that was cut off has left of it."""
    if not BUCKET.fullmatch(bucket):
        return Removed()
    folder, aside = layout.folder / bucket, layout.folder / DELETED
    with files.locked(layout.folder, alone=True):
        if folder.is_dir():
            files.make_directory(aside)
            folder.rename(Path(tempfile.mkdtemp(prefix=f"{bucket}.", dir=aside)) / bucket)
            files.sync_directory(layout.folder)
    return _finish(layout, f"{bucket}.*")


def finish_removals(layout: Layout) -> Removed:
    """What removals of buckets that were cut off have left."""
    return _finish(layout, "*")


def old_entries(shard: Path, horizon: float, hashes: Collection[str] | None = None) -> list[list[Entry]]:
    """What nobody has put since `horizon` (seconds of the epoch), of these bodies or of all; in steps of at
    most STEP."""
    old = [
        entry
        for entry in entries(shard)
        if entry.kind is not None and (hashes is None or entry.sha256 in hashes) and _is_old(entry, horizon)
    ]
    return [old[at : at + STEP] for at in range(0, len(old), STEP)]


def sweep_entries(layout: Layout, step: Sequence[Entry], named: Collection[str], horizon: float) -> Removed:
    """Of a step, all of one shard: what is still old and of no use. Chunks of a body that is named, and what
    was set aside of it, are of use until it is whole."""
    shard = step[0].path.parent
    with files.locked(layout.folder, alone=True):
        whole = {entry.sha256 for entry in entries(shard) if entry.kind == "body"}
        waited_for = set(named) - whole
        useful = {"body": set(named), "chunks": waited_for, "damaged": waited_for, "unfinished": set[str]()}
        found = [
            entry
            for entry in step
            if entry.kind is not None and entry.sha256 not in useful[entry.kind] and _is_old(entry, horizon)
        ]
        removed = _remove(shard, found)
        for folder in (shard, shard.parent):
            with suppress(OSError):  # it is not empty
                folder.rmdir()
    return removed


def _remove(shard: Path, found: Iterable[Entry]) -> Removed:
    bodies: set[str] = set()
    body_bytes = leftover_bytes = 0
    for entry in found:
        if entry.kind == "body":
            bodies.add(entry.sha256)
            body_bytes += files.remove(entry.path)
        elif entry.kind == "chunks":
            leftover_bytes += files.remove_tree(entry.path)
        else:
            leftover_bytes += files.remove(entry.path)
    if shard.is_dir():
        files.sync_directory(shard)
    return Removed(len(bodies), body_bytes, leftover_bytes)


def _finish(layout: Layout, pattern: str) -> Removed:
    aside = layout.folder / DELETED
    removed = Removed()
    for folder in aside.glob(pattern):
        bodies, body_bytes = count(Layout(folder))
        freed = files.remove_tree(folder)
        removed = removed.and_also(Removed(bodies, body_bytes, freed - body_bytes))
    if aside.is_dir():
        files.sync_directory(aside)
    return removed


def _is_old(entry: Entry, horizon: float) -> bool:
    try:
        return entry.path.lstat().st_mtime <= horizon
    except FileNotFoundError:
        return False
