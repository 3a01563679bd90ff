"""The file that an export goes to or comes from: plain, .gz or .zst, or standard output and input."""

from __future__ import annotations

import gzip
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol, cast

import zstandard

from services.request_vault.commands import disk
from services.request_vault.commands.errors import CannotWrite, ExportExists

STANDARD = Path("-")
LEVEL_GZIP, LEVEL_ZSTD = 6, 3


class Sink(Protocol):
    def write(self, data: bytes, /) -> int: ...


@contextmanager
def sink(file: Path, *, force: bool) -> Iterator[Sink]:
    """Where to write. A file appears under its name when it is whole and on disk, or not at all. Raises
    ExportExists, CannotWrite."""
    if file == STANDARD:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    if file.exists() and not force:
        raise ExportExists(f"{file} exists")
    beside = file.with_name(f".{file.name}.{os.getpid()}.new")
    try:
        with disk.writing(file):
            # Whoever may read the vault may read this, and nobody else.
            with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
                with _compressing(out, file.suffix) as writes:
                    yield writes
                out.flush()
                os.fsync(out.fileno())
            beside.replace(file)
            disk.sync(file.absolute().parent)
    finally:
        beside.unlink(missing_ok=True)


@contextmanager
def source(file: Path) -> Iterator[BinaryIO]:
    """Where to read. Raises CannotWrite when it cannot be opened. What is compressed and ends in the middle
    raises the decompressor's own errors while it is read."""
    try:
        if file == STANDARD:
            yield sys.stdin.buffer
            return
        with file.open("rb") as raw, _expanding(raw, file.suffix) as reads:
            yield reads
    except OSError as error:
        raise CannotWrite(f"{error.filename or file} cannot be read: {error.strerror or error}") from error


@contextmanager
def _compressing(out: BinaryIO, suffix: str) -> Iterator[Sink]:
    if suffix == ".gz":
        with gzip.GzipFile(fileobj=out, mode="wb", compresslevel=LEVEL_GZIP, mtime=0) as writes:
            yield writes
    elif suffix == ".zst":
        with zstandard.ZstdCompressor(level=LEVEL_ZSTD).stream_writer(out, closefd=False) as compressed:
            yield compressed
    else:
        yield out


@contextmanager
def _expanding(raw: BinaryIO, suffix: str) -> Iterator[BinaryIO]:
    if suffix == ".gz":
        with gzip.GzipFile(fileobj=raw, mode="rb") as reads:
            yield cast(BinaryIO, reads)
    elif suffix == ".zst":
        with zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True) as expanded:
            yield io.BufferedReader(expanded, 256 * 1024)
    else:
        yield raw
