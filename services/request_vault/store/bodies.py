"""Bodies of calls in a directory, content-addressed within a bucket: `<folder>/<bucket>/<aa>/<sha256>`.

A body comes in chunks, in any order, each more than once. A chunk of several is kept beside the place of
its body, in `<sha256>.<size>-<count>/<index>`, until all are there; then they are put together, the hash
is checked, and the body takes its name. What `put` returned without an error is on disk, its directories
included.

Bodies never change, so a name that exists is the body. Left for later: sweeping what no event names,
compression, another engine.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import re
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from bus.errors import BusError, Reject, Unavailable
from schemas.identity import MAX_BODY_CAP_BYTES
from schemas.request_vault import BODY_PART_BYTES, BodyChunk, BodyPart

MAX_BODY_BYTES = MAX_BODY_CAP_BYTES

_BUCKET = re.compile(r"[A-Za-z0-9_-]{1,200}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class Bodies:
    """One folder of bodies. Its methods may be called by any number of tasks; what touches the disk runs
    in threads."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writing = asyncio.Lock()
        self._totals: tuple[int, int] | None = None

    async def put(self, chunks: Sequence[BodyChunk]) -> list[BusError | None]:
        """Keep these chunks; for each, why it was not kept, or None. Raises Unavailable when the disk is
        full or gone; some may have been kept then, and repeating all of them is right."""
        async with self._writing:
            outcomes, added = await asyncio.to_thread(self._put, chunks)
            if self._totals is not None:
                self._totals = (self._totals[0] + len(added), self._totals[1] + sum(added))
        return outcomes

    async def read(self, bucket: str, sha256: str, offset: int) -> BodyPart | None:
        """Up to BODY_PART_BYTES from `offset` on; None when there is no such body."""
        return await asyncio.to_thread(self._read, bucket, sha256, offset)

    async def missing(self, bucket: str, hashes: Iterable[str]) -> set[str]:
        """Those of these hashes whose bodies are not here."""
        return await asyncio.to_thread(self._missing, bucket, list(hashes))

    async def totals(self) -> tuple[int, int]:
        """How many bodies there are, and their bytes. Counted once, then kept up."""
        async with self._writing:
            if self._totals is None:
                self._totals = await asyncio.to_thread(self._count)
            return self._totals

    def _put(self, chunks: Sequence[BodyChunk]) -> tuple[list[BusError | None], list[int]]:
        outcomes: list[BusError | None] = []
        added: list[int] = []
        try:
            for chunk in chunks:
                try:
                    _check(chunk)
                    if self._put_one(chunk):
                        added.append(chunk.size_bytes)
                except Reject as error:
                    outcomes.append(error)
                else:
                    outcomes.append(None)
        except OSError as error:
            raise Unavailable(
                f"a body could not be written below {self._folder}: {error.strerror}"
            ) from error
        return outcomes, added

    def _put_one(self, chunk: BodyChunk) -> bool:
        """Whether the body became whole."""
        body = self._path(chunk.bucket, chunk.sha256)
        if body.exists():
            return False
        if chunk.count == 1:
            _check_hash(chunk, [chunk.data])
            _write(body, [chunk.data])
            return True
        pieces = body.with_name(f"{chunk.sha256}.{chunk.size_bytes}-{chunk.count}")
        # A piece that is there is written again: it may be a wrong one, which its sender repairs by
        # sending it once more.
        _write(pieces / str(chunk.index), [chunk.data])
        files = [pieces / str(index) for index in range(chunk.count)]
        if not all(file.exists() for file in files):
            return False
        contents = [file.read_bytes() for file in files]
        _check_hash(chunk, contents)
        _write(body, contents)
        shutil.rmtree(pieces)
        return True

    def _read(self, bucket: str, sha256: str, offset: int) -> BodyPart | None:
        if not _is_name(bucket, sha256):
            return None
        try:
            with self._path(bucket, sha256).open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                file.seek(min(max(offset, 0), size))
                return BodyPart(file.read(BODY_PART_BYTES), size)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Unavailable(f"a body could not be read below {self._folder}: {error.strerror}") from error

    def _missing(self, bucket: str, hashes: list[str]) -> set[str]:
        return {
            sha256
            for sha256 in hashes
            if not _is_name(bucket, sha256) or not self._path(bucket, sha256).exists()
        }

    def _count(self) -> tuple[int, int]:
        sizes = [file.stat().st_size for file in self._folder.glob("*/??/*") if _SHA256.fullmatch(file.name)]
        return len(sizes), sum(sizes)

    def _path(self, bucket: str, sha256: str) -> Path:
        return self._folder / bucket / sha256[:2] / sha256


def _is_name(bucket: str, sha256: str) -> bool:
    return bool(_BUCKET.fullmatch(bucket) and _SHA256.fullmatch(sha256))


def _check(chunk: BodyChunk) -> None:
    """Raises Reject unless the chunk can be a piece of the body that it names."""
    name = f"body chunk {chunk.index} of {chunk.count} of {chunk.sha256[:80]!r}"
    if not _is_name(chunk.bucket, chunk.sha256):
        raise Reject(f"{name}: bucket {chunk.bucket[:80]!r} or hash is none")
    if not 0 <= chunk.index < chunk.count:
        raise Reject(f"{name}: there is no such chunk")
    if not 1 <= chunk.size_bytes <= MAX_BODY_BYTES:
        raise Reject(f"{name}: a body of {chunk.size_bytes} bytes; it has 1 to {MAX_BODY_BYTES}")
    if not 1 <= len(chunk.data) <= BODY_PART_BYTES or chunk.count > chunk.size_bytes:
        raise Reject(f"{name}: {len(chunk.data)} bytes; a chunk has 1 to {BODY_PART_BYTES}")


def _check_hash(chunk: BodyChunk, contents: list[bytes]) -> None:
    digest = hashlib.sha256()
    for content in contents:
        digest.update(content)
    size = sum(map(len, contents))
    if digest.hexdigest() != chunk.sha256 or size != chunk.size_bytes:
        raise Reject(
            f"body {chunk.sha256} in bucket {chunk.bucket}: its {chunk.count} chunks make {size} bytes "
            f"(it has {chunk.size_bytes}) with hash {digest.hexdigest()}"
        )


def _write(path: Path, contents: list[bytes]) -> None:
    """The file under its name, whole, on disk; or not at all."""
    _make_directory(path.parent)
    unfinished = path.with_name(path.name + ".tmp")
    with unfinished.open("wb") as file:
        file.writelines(contents)
        file.flush()
        _sync(file.fileno())
    unfinished.rename(path)
    _sync_directory(path.parent)


def _make_directory(path: Path) -> None:
    if not path.is_dir():
        _make_directory(path.parent)
        path.mkdir(exist_ok=True)
        _sync_directory(path.parent)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync(descriptor: int) -> None:
    whole = getattr(fcntl, "F_FULLFSYNC", None)  # macOS: fsync alone does not reach the platter
    if whole is None:
        os.fsync(descriptor)
    else:
        fcntl.fcntl(descriptor, whole)
