"""Copies bodies from one folder to another, as they are kept. Called by `directory`, in threads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from services.request_vault.store.bodies import files
from services.request_vault.store.bodies.chunks import is_name
from services.request_vault.store.bodies.layout import Layout
from services.request_vault.store.bodies.port import BodyName, Copied

READ_BYTES = 256 * 1024


def copy(source: Layout, target: Layout, names: Sequence[BodyName]) -> Copied:
    """Whole files only, on disk when it returns; never hard links, which would share their damage."""
    stored_bytes = 0
    missing: list[BodyName] = []
    shards: set[Path] = set()
    for name in names:
        size = _copy_one(source, target, name, shards) if is_name(*name) else None
        if size is None:
            missing.append(name)
        else:
            stored_bytes += size
    for shard in shards:
        files.sync_directory(shard)
    return Copied(len(names) - len(missing), stored_bytes, tuple(missing))


def _copy_one(source: Layout, target: Layout, name: BodyName, shards: set[Path]) -> int | None:
    """The bytes of its file; None when there is none."""
    for path, place in zip(source.forms(*name), target.forms(*name), strict=True):
        try:
            size = path.stat().st_size
            if place.exists() and place.stat().st_size == size:
                return size
            with path.open("rb") as file:
                shards.add(place.parent)
                files.write(place, _contents(file), sync_parent=False)
        except FileNotFoundError:
            continue
        return size
    return None


def _contents(file: BinaryIO) -> Iterator[bytes]:
    while data := file.read(READ_BYTES):
        yield data
