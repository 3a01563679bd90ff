"""What running erasures still have to do, one file each, so that a crash does not stop them.

<folder>/<id>.json    mode 0600, written whole and synced; removed when the erasure has finished

The values that are looked for stand here and nowhere else: the log would keep them.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import msgspec
import structlog

from bus.errors import Unavailable
from services.request_vault.domain.erasing import Work

FORMAT = 1
UNFINISHED = ".tmp"

T = TypeVar("T")

_NAME = re.compile(r"[0-9A-Za-z_-]{1,100}")
_log = structlog.get_logger("request_vault")


class _Kept(msgspec.Struct, frozen=True):
    format: int
    work: Work


class Erasures:
    """One folder, made with the first file. Raises Unavailable when the disk is full or gone."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def keep(self, work: Work) -> None:
        """On disk when it returns."""
        await self._in_thread(lambda: self._keep(work))

    async def remove(self, id: str) -> None:
        await self._in_thread(lambda: self._remove(id))

    async def all(self) -> list[Work]:
        """What was going on when the vault ended. A file that cannot be read is left where it is, and
        told."""
        return await self._in_thread(self._all)

    def _keep(self, work: Work) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._path(work.order.id)
        unfinished = path.with_suffix(UNFINISHED)
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(msgspec.json.encode(_Kept(FORMAT, work)))
                file.flush()
                os.fsync(file.fileno())
            unfinished.rename(path)
        except BaseException:
            with suppress(OSError):
                unfinished.unlink()
            raise
        self._sync()

    def _remove(self, id: str) -> None:
        self._path(id).unlink(missing_ok=True)
        if self._folder.is_dir():
            self._sync()

    def _all(self) -> list[Work]:
        if not self._folder.is_dir():
            return []
        for left in self._folder.glob(f"*{UNFINISHED}"):
            left.unlink()
        found = []
        for path in sorted(self._folder.glob("*.json")):
            try:
                kept = msgspec.json.decode(path.read_bytes(), type=_Kept)
            except (msgspec.DecodeError, UnicodeDecodeError):
                _log.error("an erasure cannot be taken up: its file is damaged", file=str(path))
                continue
            if kept.format != FORMAT:
                _log.error("an erasure was begun by another version", file=str(path), format=kept.format)
                continue
            found.append(kept.work)
        return found

    def _path(self, id: str) -> Path:
        assert _NAME.fullmatch(id), "ids of erasures are derived"
        return self._folder / f"{id}.json"

    def _sync(self) -> None:
        descriptor = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.to_thread(work)
        except OSError as error:
            raise Unavailable(f"{self._folder} cannot be used: {error.strerror or error}") from error
