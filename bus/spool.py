"""Keeps on disk what the bus cannot take yet, in order, and gives it back when it can.

Used by edges through `services.chassis.relay`. A spool is a folder of segments; a segment is a stream of
msgpack records `[FORMAT, crc32, exchange, body]`, the body a batch (`bus.codec`). `put` returns once the
records are on disk (fsync, shared by what arrives meanwhile). A torn last record, left by a crash, was never
acknowledged and is dropped; a damaged record in the middle ends its segment's reading with an error in the
log, and the segment is set aside as `*.damaged`, not deleted.

Order: records come back as they went in. Duplication: a segment is deleted when all of it was taken, so a
crash repeats what was taken of it; event ids make that harmless. Loss: none below `max_bytes`; above it `put`
raises SpoolFull and keeps nothing.

Several instances of one service spool side by side, each in `<root>/<n>`, held by a lock; one that finds a
folder nobody holds adopts it.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import BinaryIO, TypeVar

import msgpack
import structlog

from bus import codec
from bus.errors import Malformed, SpoolFull, Unavailable
from bus.event import Event
from bus.message import Exchange
from bus.tasks import task_group

FORMAT = 1
SEGMENT_BYTES = 8 * 1024 * 1024

T = TypeVar("T")
Take = Callable[[list[Event], Exchange], Awaitable[None]]
Record = tuple[Exchange, bytes]

_log = structlog.get_logger("bus.spool")


class Spool:
    """Made by `Spool.open`. All file work runs on one thread of its own."""

    def __init__(
        self, root: Path, folder: Path, lock: BinaryIO, max_bytes: int, disk: ThreadPoolExecutor
    ) -> None:
        self._root = root
        self._folder = folder
        self._lock = lock
        self._max_bytes = max_bytes
        self._disk = disk
        self._loop = asyncio.get_running_loop()
        self._segment: BinaryIO | None = None
        self._segment_bytes = 0
        self._next_number = 1
        self._waiting: list[tuple[list[bytes], asyncio.Future[None]]] = []
        self._writing: list[asyncio.Future[None]] = []
        self._closed = False
        self._work = asyncio.Event()
        self.size_bytes = 0
        self.filled = asyncio.Event()

    @classmethod
    @asynccontextmanager
    async def open(cls, root: Path, *, max_bytes: int = 1024**3) -> AsyncIterator[Spool]:
        """The first folder below `root` that nobody holds; what it holds from before comes back first."""
        with ThreadPoolExecutor(1, "spool") as disk:
            loop = asyncio.get_running_loop()
            folder, lock = await loop.run_in_executor(disk, _claim, root)
            spool = cls(root, folder, lock, max_bytes, disk)
            try:
                await spool._on_disk(spool._find_segments)
                await spool.adopt()
                async with task_group() as tasks:
                    writer = tasks.create_task(spool._write())
                    try:
                        yield spool
                    finally:
                        spool._closed = True
                        writer.cancel()
            finally:
                spool._refuse_waiting()
                await spool._on_disk(spool._close)

    @property
    def empty(self) -> bool:
        """Whether nothing is kept here, on disk or on its way to it."""
        return not self.filled.is_set()

    async def put(self, events: Sequence[Event], exchange: Exchange = "events") -> None:
        """Return once these are on disk. Raises SpoolFull, or Unavailable when the disk refuses."""
        if self._closed:
            raise Unavailable(f"the spool {self._folder} is closed")
        records = [
            msgpack.packb([FORMAT, zlib.crc32(body), exchange, body])
            for body in map(codec.join_batch, _batches(events))
        ]
        size = sum(map(len, records))
        if self.size_bytes + size > self._max_bytes:
            raise SpoolFull(
                f"the spool {self._folder} holds {self.size_bytes} of at most {self._max_bytes} bytes"
            )
        self.size_bytes += size
        self.filled.set()
        kept = self._loop.create_future()
        self._waiting.append((records, kept))
        self._work.set()
        await kept

    async def _write(self) -> None:
        while True:
            await self._work.wait()
            self._work.clear()
            group, self._waiting = self._waiting, []
            records = [record for some, _ in group for record in some]
            error: Unavailable | None = None
            self._writing = [kept for _, kept in group]
            try:
                await self._on_disk(partial(self._append, records))
            except Unavailable as refusal:
                self.size_bytes -= sum(map(len, records))
                error = refusal
            for kept in self._writing:
                if kept.done():
                    continue
                if error is None:
                    kept.set_result(None)
                else:
                    kept.set_exception(error)
            self._writing = []

    def _refuse_waiting(self) -> None:
        """Nobody writes any more: whoever still waits is told so."""
        for kept in (*self._writing, *(kept for _, kept in self._waiting)):
            if not kept.done():
                kept.set_exception(Unavailable(f"the spool {self._folder} was closed"))

    async def drain(self, take: Take) -> None:
        """Hand everything to `take` in order, what arrives meanwhile included; return when nothing is left.
        What `take` raises ends it, as does a disk that refuses (Unavailable); nothing is lost, and draining
        again begins with the oldest segment that was not taken whole."""
        while True:
            segment = await self._on_disk(self._oldest)
            if segment is None:
                if self._waiting or self._writing:
                    await self._on_disk(_nothing)
                    continue
                self.size_bytes = 0
                self.filled.clear()
                return
            records, whole = await self._on_disk(partial(_read, segment))
            for exchange, body in records:
                try:
                    events = codec.decode_batch(body)
                except Malformed as error:  # it would hold back everything behind it for ever
                    _log.error("a spooled record cannot be read", segment=str(segment), error=str(error))
                    whole = False
                    continue
                await take(events, exchange)
            await self._on_disk(partial(self._forget, segment, whole))

    async def adopt(self) -> int:
        """Take over what siblings left behind that nobody holds; returns how many segments. Raises
        Unavailable when the disk refuses."""
        adopted = await self._on_disk(self._adopt)
        if adopted:
            _log.info("adopted segments of instances that are gone", count=adopted)
        return adopted

    async def _on_disk(self, work: Callable[[], T]) -> T:
        try:
            return await self._loop.run_in_executor(self._disk, work)
        except OSError as error:
            raise Unavailable(f"the spool {self._folder} cannot be used: {error}") from error

    # Below: on the disk's thread

    def _find_segments(self) -> None:
        names = [*_segments(self._folder), *self._folder.glob("*.damaged")]
        self._next_number = 1 + max((int(path.stem) for path in names), default=0)
        for segment in _segments(self._folder):
            self._loop.call_soon_threadsafe(self._grow, segment.stat().st_size)

    def _append(self, records: list[bytes]) -> None:
        if self._segment is None or self._segment_bytes >= SEGMENT_BYTES:
            self._finish_segment()
            self._segment = (self._folder / f"{self._next_number:010d}.spool").open("wb", buffering=0)
            self._next_number += 1
            self._segment_bytes = 0
            _sync_folder(self._folder)
        data = memoryview(b"".join(records))
        end = self._segment_bytes
        try:
            written = 0
            while written < len(data):  # a disk that gets full takes a part and says nothing
                written += self._segment.write(data[written:])
            os.fsync(self._segment.fileno())
        except OSError:
            # Half a record must not stand before later ones: it is cut off, and if even that fails, it is
            # the last of its segment.
            with suppress(OSError):
                os.ftruncate(self._segment.fileno(), end)
            self._finish_segment()
            raise
        self._segment_bytes = end + len(data)

    def _finish_segment(self) -> None:
        if self._segment is not None:
            self._segment.close()
            self._segment = None

    def _oldest(self) -> Path | None:
        segments = _segments(self._folder)
        if not segments:
            return None
        if self._segment is not None and segments[0] == Path(self._segment.name):
            self._finish_segment()  # what comes now goes into the next one
        return segments[0]

    def _forget(self, segment: Path, whole: bool) -> None:
        size = segment.stat().st_size
        if whole:
            segment.unlink()
        else:
            segment.rename(segment.with_suffix(".damaged"))
        self._loop.call_soon_threadsafe(self._shrink, size)

    def _grow(self, size: int) -> None:
        self.size_bytes += size
        self.filled.set()

    def _shrink(self, size: int) -> None:
        self.size_bytes = max(0, self.size_bytes - size)

    def _adopt(self) -> int:
        adopted = 0
        for sibling in sorted(self._root.iterdir()):
            if sibling == self._folder or not sibling.is_dir() or not _segments(sibling):
                continue
            lock = _try_lock(sibling)
            if lock is None:
                continue
            with lock:
                for segment in _segments(sibling):
                    self._finish_segment()
                    size = segment.stat().st_size
                    segment.rename(self._folder / f"{self._next_number:010d}.spool")
                    self._loop.call_soon_threadsafe(self._grow, size)
                    self._next_number += 1
                    adopted += 1
                _sync_folder(self._folder)
        return adopted

    def _close(self) -> None:
        self._finish_segment()
        self._lock.close()


def _batches(events: Sequence[Event]) -> Iterator[list[bytes]]:
    """Encoded events in batches that the reader's buffer holds."""
    batch: list[bytes] = []
    size = 0
    for event in events:
        encoded = codec.encode_event(event)
        if batch and (len(batch) == codec.MAX_BATCH_EVENTS or size + len(encoded) > SEGMENT_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(encoded)
        size += len(encoded)
    if batch:
        yield batch


def _nothing() -> None:
    """A turn of the disk's thread."""


def _claim(root: Path) -> tuple[Path, BinaryIO]:
    root.mkdir(parents=True, exist_ok=True)
    number = 0
    while True:
        folder = root / str(number)
        folder.mkdir(exist_ok=True)
        lock = _try_lock(folder)
        if lock is not None:
            return folder, lock
        number += 1


def _try_lock(folder: Path) -> BinaryIO | None:
    lock = (folder / "lock").open("wb")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        return None
    return lock


def _segments(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.spool"))


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read(segment: Path) -> tuple[list[Record], bool]:
    """A segment's records, and whether it could be read to its end (a torn last record does not count)."""
    records: list[Record] = []
    with segment.open("rb") as file:
        unpacker = msgpack.Unpacker(file, raw=False, max_buffer_size=4 * SEGMENT_BYTES)
        try:
            for record in unpacker:
                version, checksum, exchange, body = record
                if version != FORMAT or zlib.crc32(body) != checksum:
                    raise ValueError(f"record {len(records) + 1} is damaged or of another version")
                records.append((exchange, body))
        except (ValueError, TypeError, msgpack.UnpackException) as error:
            _log.error("a spool segment is damaged and set aside", segment=str(segment), error=str(error))
            return records, False
    return records, True
