"""Reads parts of a body in either form, and proves the stored bytes first. Called by `directory`, in threads.

The proof is the file's own digest: the name of a plain body, the seal of a compressed one. Whoever reads
begins at offset 0 and is told there, before anything was given out; what follows is not proved again, which
would read the file once for each part.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path

from schemas.request_vault import BODY_PART_BYTES, BodyPart
from services.request_vault.store.bodies import files, frames
from services.request_vault.store.bodies.chunks import MAX_BODY_BYTES
from services.request_vault.store.bodies.layout import Layout, is_set_aside
from services.request_vault.store.bodies.port import Removed
from services.request_vault.store.bodies.verifying import reason_against


class NotAsWritten(Exception):
    """A body is there, but not as it was put."""


def read_part(layout: Layout, bucket: str, sha256: str, offset: int) -> BodyPart | None:
    """BODY_PART_BYTES from `offset` on, less at the end; None when there is no such body. Raises
    NotAsWritten."""
    plain, compressed = layout.forms(bucket, sha256)
    with suppress(FileNotFoundError):
        return _of_plain(plain, sha256, offset)
    with suppress(FileNotFoundError):
        return _of_compressed(compressed, offset)
    if is_set_aside(layout, bucket, sha256):
        raise NotAsWritten("it was found so before, and set aside")
    return None


def set_aside(layout: Layout, bucket: str, sha256: str) -> Removed:
    """Give what is damaged of a body another name, so that it is written anew when it is put again. Looks
    once more, under the lock alone: nobody puts it meanwhile and believes that it is there."""
    moved = Removed()
    with files.locked(layout.folder, alone=True):
        for path in layout.forms(bucket, sha256):
            if path.is_file() and reason_against(path, sha256) is not None:
                size = path.stat().st_size
                os.utime(path)  # it is kept for as long as if it had just come
                path.rename(layout.aside(path))
                files.sync_directory(path.parent)
                moved = moved.and_also(Removed(1, size))
    return moved


def _of_plain(path: Path, sha256: str, offset: int) -> BodyPart:
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if offset == 0:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            if digest != sha256:
                raise NotAsWritten(f"its bytes have the hash {digest}")
        file.seek(min(offset, size))
        return BodyPart(file.read(BODY_PART_BYTES), size)


def _of_compressed(path: Path, offset: int) -> BodyPart:
    try:
        with path.open("rb") as file:
            index = frames.read_index(file, MAX_BODY_BYTES)
            if offset == 0:
                frames.check_seal(file, index)
            data = frames.read_plain(file, index, offset, BODY_PART_BYTES)
            return BodyPart(data, frames.plain_bytes(index))
    except frames.FrameDamaged as error:
        raise NotAsWritten(str(error)) from error
