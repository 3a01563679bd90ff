"""The engine on a directory (`layout`), which vault instances may share.

A body comes in chunks, in any order, each more than once; they are kept until all are there, then put
together, checked against the hash, compressed if that takes off a tenth, and given their name. `put` holds
the folder's lock with others, what removes holds it alone (`removing`): so a body that `put` found there, and
made young, is not removed by somebody who saw it old. `put` does not read what is there: that it is not as it
was written is found by who reads it, who sets it aside, and then the next `put` writes it anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import ParamSpec, TypeVar

import structlog

from bus.clock import Clock
from bus.errors import BusError, Refused, Reject, Unavailable
from schemas.request_vault import BodyChunk, BodyPart
from services.request_vault.store.bodies import copying, files, frames, reading, removing, verifying
from services.request_vault.store.bodies.chunks import BUCKET, check_body, check_chunk, is_name
from services.request_vault.store.bodies.layout import Layout, count, entries
from services.request_vault.store.bodies.port import BodyName, Copied, Damage, Referenced, Removed

RECOUNT_S = 600.0
LARGEST_SHARE = 0.9
COPIED_AT_ONCE = 64

Parameters = ParamSpec("Parameters")
Answer = TypeVar("Answer")

_log = structlog.get_logger("request_vault")


class DirectoryBodies:
    """One folder of bodies, made with the first. What touches the disk runs in threads. compress: for what
    is put from now on; both forms are read. mend: set aside what is found damaged when it is read."""

    def __init__(self, folder: Path, clock: Clock, *, compress: bool = True, mend: bool = False) -> None:
        self._layout = Layout(folder)
        self._clock = clock
        self._compress = compress
        self._mend = mend
        self._changing = asyncio.Lock()  # so that the folder's lock blocks one thread of ours at most
        self._totals: tuple[int, int] = (0, 0)
        self._counted_at: float | None = None

    async def put(self, chunks: Sequence[BodyChunk]) -> list[BusError | None]:
        async with self._changing:
            outcomes, added = await self._in_thread("written", self._put, chunks)
            self._count_up(len(added), sum(added))
        return outcomes

    async def read(self, bucket: str, sha256: str, offset: int) -> BodyPart | None:
        if not is_name(bucket, sha256):
            return None
        try:
            return await self._in_thread(
                "read", reading.read_part, self._layout, bucket, sha256, max(offset, 0)
            )
        except reading.NotAsWritten as damaged:
            if self._mend and await self._set_aside(bucket, sha256, str(damaged)):
                with suppress(Refused):  # of its other form, if there is one
                    return await self.read(bucket, sha256, offset)
            raise Refused(
                "body-damaged",
                f"body {sha256} of bucket {bucket} is damaged on disk: {damaged}; "
                "`trunkline vault verify` lists all that are",
            ) from damaged

    async def missing(self, bucket: str, hashes: Iterable[str]) -> set[str]:
        return await self._in_thread("looked for", self._missing, bucket, list(hashes))

    async def totals(self) -> tuple[int, int]:
        async with self._changing:
            now = self._clock.monotonic()
            if self._counted_at is None or now - self._counted_at > RECOUNT_S:
                self._totals = await self._in_thread("counted", count, self._layout)
                self._counted_at = now
            return self._totals

    async def delete(self, bucket: str, hashes: Iterable[str]) -> Removed:
        names = [sha256 for sha256 in hashes if is_name(bucket, sha256)]
        return await self._remove(removing.remove_bodies, self._layout, bucket, names)

    async def delete_bucket(self, bucket: str) -> Removed:
        return await self._remove(removing.remove_bucket, self._layout, bucket)

    async def sweep(
        self,
        referenced: Referenced,
        older_than_s: float,
        now: datetime,
        *,
        bucket: str | None = None,
        hashes: Collection[str] | None = None,
    ) -> Removed:
        horizon = now.timestamp() - older_than_s
        removed = Removed()
        if bucket is None:
            removed = await self._remove(removing.finish_removals, self._layout)
            buckets = await self._in_thread("listed", self._layout.buckets)
        else:
            buckets = [bucket] if BUCKET.fullmatch(bucket) else []
        for each in buckets:
            for shard in await self._in_thread("listed", self._layout.shards, each):
                if hashes is not None and not any(sha256.startswith(shard.name) for sha256 in hashes):
                    continue
                for step in await self._in_thread("listed", removing.old_entries, shard, horizon, hashes):
                    kept = await referenced(each, list(dict.fromkeys(entry.sha256 for entry in step)))
                    swept = await self._remove(removing.sweep_entries, self._layout, step, kept, horizon)
                    removed = removed.and_also(swept)
        return removed

    async def names(self, bucket: str | None = None) -> AsyncIterator[BodyName]:
        buckets = await self._in_thread("listed", self._layout.buckets) if bucket is None else [bucket]
        for each in buckets:
            if BUCKET.fullmatch(each):
                for shard in await self._in_thread("listed", self._layout.shards, each):
                    found = await self._in_thread("listed", entries, shard)
                    for sha256 in dict.fromkeys(entry.sha256 for entry in found if entry.kind == "body"):
                        yield BodyName(each, sha256)

    async def verify(self) -> AsyncIterator[Damage]:
        for path in await self._in_thread("listed", self._layout.strangers):
            yield Damage(str(path), None, verifying.STRANGER)
        for bucket in await self._in_thread("listed", self._layout.buckets):
            for shard in await self._in_thread("listed", self._layout.shards, bucket):
                for entry in await self._in_thread("listed", entries, shard):
                    damage = await self._in_thread("read", verifying.examine, bucket, entry)
                    if damage is not None:
                        yield damage

    async def copy_to(self, target: Path, names: AsyncIterable[BodyName] | Iterable[BodyName]) -> Copied:
        there = Layout(target)
        copied = Copied(0, 0, ())
        async for step in _steps(names):
            with _translated(target, "copied"):
                done = await asyncio.to_thread(copying.copy, self._layout, there, step)
            copied = copied.and_also(done)
        return copied

    def _put(self, chunks: Sequence[BodyChunk]) -> tuple[list[BusError | None], list[int]]:
        outcomes: list[BusError | None] = []
        added: list[int] = []
        with files.locked(self._layout.folder, alone=False):
            for chunk in chunks:
                try:
                    check_chunk(chunk)
                    added.append(self._put_one(chunk))
                except Reject as error:
                    outcomes.append(error)
                else:
                    outcomes.append(None)
        return outcomes, [size for size in added if size]

    def _put_one(self, chunk: BodyChunk) -> int:
        """The bytes that the body takes, if it became whole; else 0."""
        if self._is_there(chunk):
            return 0
        if chunk.count == 1:
            return self._keep(chunk, [chunk.data])
        folder = self._layout.chunks(chunk)
        # A chunk that is there is written again: it may be a wrong one, which its sender repairs by sending
        # it once more.
        files.write(folder / str(chunk.index), [chunk.data])
        paths = [folder / str(index) for index in range(chunk.count)]
        if not all(path.exists() for path in paths):
            return 0
        try:
            contents = [path.read_bytes() for path in paths]
        except FileNotFoundError:
            if self._is_there(chunk):  # another instance got the last one too, and was quicker
                return 0
            raise
        size = self._keep(chunk, contents)
        _discard(folder)
        return size

    def _is_there(self, chunk: BodyChunk) -> bool:
        """Whether the body is whole already; it is young again then."""
        there = [path for path in self._layout.forms(chunk.bucket, chunk.sha256) if path.exists()]
        for path in there:
            files.refresh(path)
        return bool(there)

    def _keep(self, chunk: BodyChunk, contents: list[bytes]) -> int:
        check_body(chunk, contents)
        if self._compress:
            smaller = frames.compressed(contents, int(chunk.size_bytes * LARGEST_SHARE))
            if smaller is not None:
                files.write(self._layout.compressed(chunk.bucket, chunk.sha256), smaller)
                return sum(map(len, smaller))
        files.write(self._layout.plain(chunk.bucket, chunk.sha256), contents)
        return chunk.size_bytes

    async def _set_aside(self, bucket: str, sha256: str, why: str) -> bool:
        """Whether something was; not when nothing may be written here."""
        with suppress(Unavailable):
            if (await self._remove(reading.set_aside, self._layout, bucket, sha256)).bodies:
                _log.error("a damaged body was set aside", bucket=bucket, sha256=sha256, error=why)
                return True
        return False

    def _missing(self, bucket: str, hashes: list[str]) -> set[str]:
        return {
            sha256
            for sha256 in hashes
            if not is_name(bucket, sha256)
            or not any(path.exists() for path in self._layout.forms(bucket, sha256))
        }

    async def _remove(
        self, remove: Callable[Parameters, Removed], *arguments: Parameters.args, **named: Parameters.kwargs
    ) -> Removed:
        async with self._changing:
            removed = await self._in_thread("removed", remove, *arguments, **named)
            self._count_up(-removed.bodies, -removed.body_bytes)
        return removed

    async def _in_thread(
        self,
        done: str,
        work: Callable[Parameters, Answer],
        *arguments: Parameters.args,
        **named: Parameters.kwargs,
    ) -> Answer:
        with _translated(self._layout.folder, done):
            return await asyncio.to_thread(work, *arguments, **named)

    def _count_up(self, bodies: int, stored_bytes: int) -> None:
        counted, counted_bytes = self._totals
        self._totals = (counted + bodies, counted_bytes + stored_bytes)


@contextmanager
def _translated(folder: Path, done: str) -> Iterator[None]:
    """A disk that is full, gone, read-only or broken is Unavailable; the message says which folder."""
    try:
        yield
    except OSError as error:
        raise Unavailable(f"a body could not be {done} below {folder}: {error.strerror or error}") from error


async def _steps(names: AsyncIterable[BodyName] | Iterable[BodyName]) -> AsyncIterator[list[BodyName]]:
    step: list[BodyName] = []
    if isinstance(names, AsyncIterable):
        async for name in names:
            step.append(name)
            if len(step) == COPIED_AT_ONCE:
                yield step
                step = []
    else:
        for name in names:
            step.append(name)
            if len(step) == COPIED_AT_ONCE:
                yield step
                step = []
    if step:
        yield step


def _discard(folder: Path) -> None:
    """Remove chunks that are put together. Another instance may be writing one of them once more: what stays
    is swept."""
    with suppress(OSError):
        files.remove_tree(folder)
