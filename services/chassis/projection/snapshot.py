"""A projection's snapshot on disk: MAGIC, the format as one byte, the SHA-256 of what follows, and `Saved` as
msgpack.

Read at a follower's start and written beside its work; losing it costs a reading of the log and nothing else.
"""

from __future__ import annotations

import hashlib
import os
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from services.chassis.projection.fold import Fold, Folded

FORMAT = 1
MAGIC = b"trunkline projection\n"

S = TypeVar("S")


class Saved(msgspec.Struct, array_like=True):
    """A snapshot's content. New fields go at the end, with a default."""

    category: str
    fold: int
    position: int
    last_id: str
    complete_at: datetime | None
    streams: dict[str, tuple[int, msgspec.Raw]]


def encode(saved: Saved) -> bytes:
    content = msgspec.msgpack.encode(saved)
    return MAGIC + bytes((FORMAT,)) + hashlib.sha256(content).digest() + content


def decode(content: bytes, fold: Fold[S]) -> tuple[Saved, dict[str, Folded[S]]]:
    """A snapshot's content and its streams. Raises ValueError saying why it is of no use."""
    head, body = content[: len(MAGIC) + 33], content[len(MAGIC) + 33 :]
    if not head.startswith(MAGIC) or len(head) < len(MAGIC) + 33:
        raise ValueError("it is no snapshot of a projection")
    if head[len(MAGIC)] != FORMAT:
        raise ValueError(f"it has format {head[len(MAGIC)]}; this version reads format {FORMAT}")
    if hashlib.sha256(body).digest() != head[len(MAGIC) + 1 :]:
        raise ValueError("its checksum is wrong: it is damaged")
    saved = msgspec.msgpack.decode(body, type=Saved)
    if (saved.category, saved.fold) != (fold.category, fold.version):
        raise ValueError(
            f"it is of {saved.category} fold {saved.fold}, not {fold.category} fold {fold.version}"
        )
    state: Any = fold.state | None
    decoder = msgspec.msgpack.Decoder(state)
    streams = {
        stream: Folded(version, decoder.decode(raw)) for stream, (version, raw) in saved.streams.items()
    }
    return saved, streams


def write(file: Path, content: bytes) -> None:
    """All or nothing, also through a power cut: written beside, flushed to the disk, then put in its place.
    Its owner's alone to read: identity's holds people's addresses and what passwords are checked against."""
    file.parent.mkdir(parents=True, exist_ok=True)
    beside = file.with_name(f"{file.name}.{os.getpid()}.new")
    try:
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        beside.replace(file)
    finally:
        beside.unlink(missing_ok=True)
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
