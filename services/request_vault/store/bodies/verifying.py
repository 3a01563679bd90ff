"""Whether what is on disk is what was put there. Called by `directory`, in threads, a name at a time."""

from __future__ import annotations

import hashlib
from pathlib import Path

from services.request_vault.store.bodies import frames
from services.request_vault.store.bodies.chunks import MAX_BODY_BYTES
from services.request_vault.store.bodies.layout import COMPRESSED, Entry, is_chunk
from services.request_vault.store.bodies.port import BodyName, Damage

STRANGER = "nothing of this name belongs here"
READ_BYTES = 256 * 1024


def examine(bucket: str, entry: Entry) -> Damage | None:
    """What is wrong with it; None when nothing is, or when it has gone meanwhile. Unfinished bodies cannot be
    wrong: they are checked when they become whole. Holds READ_BYTES or a frame at a time."""
    try:
        reason = _reason(entry)
    except FileNotFoundError:
        return None
    except OSError as error:
        reason = f"it cannot be read: {error.strerror or error}"
    if reason is None:
        return None
    name = BodyName(bucket, entry.sha256) if entry.kind in ("body", "damaged") else None
    return Damage(str(entry.path), name, reason)


def _reason(entry: Entry) -> str | None:
    path = entry.path
    if entry.kind is None:
        return STRANGER
    if entry.kind == "chunks":
        if path.is_symlink() or not path.is_dir():
            return STRANGER
        strangers = sorted(inner.name for inner in path.iterdir() if not is_chunk(inner.name))
        return f"{strangers[0]} does not belong in it" if strangers else None
    if path.is_symlink() or not path.is_file():
        return STRANGER if path.is_symlink() or path.exists() else None
    if entry.kind == "damaged":
        return None if _is_whole_again(entry) else "it was found damaged when it was read, and set aside"
    return None if entry.kind == "unfinished" else reason_against(path, entry.sha256)


def _is_whole_again(aside: Entry) -> bool:
    """Whether the body came once more; what it is like is said of its own file."""
    return any(aside.path.with_name(aside.sha256 + form).exists() for form in ("", COMPRESSED))


def reason_against(path: Path, sha256: str) -> str | None:
    """What is wrong with a body's file, all of which is read; None when nothing is."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        if path.suffix == COMPRESSED:
            try:
                frames.check(file, MAX_BODY_BYTES, digest.update)
            except frames.FrameDamaged as error:
                return str(error)
        else:
            while data := file.read(READ_BYTES):
                digest.update(data)
    if digest.hexdigest() != sha256:
        return f"its bytes have the hash {digest.hexdigest()}"
    return None
