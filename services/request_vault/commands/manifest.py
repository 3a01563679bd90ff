"""What a backup says of itself: `manifest.json` beside `vault.db` and `bodies/`."""

from __future__ import annotations

import hashlib
import os
from datetime import datetime
from pathlib import Path

import msgspec

from services.request_vault.commands.errors import BackupDamaged
from services.request_vault.domain.links import End

FORMAT = 1
MANIFEST = "manifest.json"
READ_BYTES = 1024 * 1024


class Head(msgspec.Struct, frozen=True):
    """`links.End`, its hashes as hex."""

    partition: int
    number: int
    running: str
    chain: str


class File(msgspec.Struct, frozen=True):
    bytes: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True):
    """engine: of the vault that was backed up; the copy is always a SQLite file. bodies_missing: names of
    bodies (`<bucket>/<sha256>`) that calls name and that the vault did not have."""

    format: int
    engine: str
    made_at: datetime
    heads: tuple[Head, ...]
    events: int
    erased: int
    trimmed: int
    published_to: int
    bodies: int
    bodies_missing: tuple[str, ...]
    files: dict[str, File]


def head_of(end: End) -> Head:
    return Head(end.partition, end.number, end.running.hex(), end.chain.hex())


def describe(path: Path) -> File:
    """Reads the whole file. Raises OSError."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while data := file.read(READ_BYTES):
            digest.update(data)
    return File(path.stat().st_size, digest.hexdigest())


def write(folder: Path, manifest: Manifest) -> None:
    """On disk when it returns. Raises OSError."""
    with (folder / MANIFEST).open("wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(manifest)) + b"\n")
        file.flush()
        os.fsync(file.fileno())


def read(folder: Path) -> Manifest:
    """Raises BackupDamaged."""
    path = folder / MANIFEST
    try:
        manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
    except (FileNotFoundError, NotADirectoryError):
        raise BackupDamaged(f"{folder} is no backup: it has no {MANIFEST}") from None
    except OSError as error:
        raise BackupDamaged(f"{path} cannot be read: {error.strerror}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BackupDamaged(f"{path} cannot be read: {error}") from error
    if manifest.format != FORMAT:
        raise BackupDamaged(
            f"{folder} has format {manifest.format}; this version of Trunkline reads format {FORMAT}"
        )
    return manifest
