"""The lines of an export, read some at a time, and what is wrong with one of them."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from typing import BinaryIO

import zstandard

from bus.errors import BusError
from services.request_vault.commands.errors import ExportInvalid, ExportTorn
from services.request_vault.domain import ndjson
from services.request_vault.domain.ndjson import Line

TORN = (EOFError, zlib.error, zstandard.ZstdError, gzip.BadGzipFile)
"""What a compressed file that breaks off raises."""

BATCH_LINES = 250
BATCH_BYTES = 4 * 1024 * 1024

Numbered = tuple[int, Line]


class Lines:
    """The lines of an export with their numbers, from 1, some at a time. What is wrong is raised after all
    that came before it was given out.
    name: of the file, for people."""

    def __init__(self, source: BinaryIO, name: str) -> None:
        self._source = source
        self._name = name
        self._number = 0
        self._wrong: Exception | None = None

    async def next(self) -> list[Numbered]:
        """Empty at the end. Raises ExportTorn, ExportInvalid, OSError."""
        return await asyncio.to_thread(self._next)

    def _next(self) -> list[Numbered]:
        batch: list[Numbered] = []
        size = 0
        while self._wrong is None and len(batch) < BATCH_LINES and size < BATCH_BYTES:
            try:
                text = self._source.readline(ndjson.MAX_LINE_BYTES)
                if not text:
                    break
                self._number += 1
                size += len(text)
                if not text.isspace():
                    batch.append((self._number, self._decoded(text)))
            except TORN as error:
                self._wrong = ExportTorn(f"{self._name} breaks off after line {self._number}: {error}")
            except (ExportTorn, ExportInvalid, OSError) as error:
                self._wrong = error
        if self._wrong is not None and not batch:
            raise self._wrong
        return batch

    def _decoded(self, text: bytes) -> Line:
        try:
            return ndjson.decode(text)
        except BusError as error:
            if text.endswith(b"\n"):
                raise ExportInvalid(f"{self._name}, line {self._number}: {error}") from error
            if len(text) == ndjson.MAX_LINE_BYTES:
                raise ExportInvalid(
                    f"{self._name}, line {self._number}: it is longer than any line of an export"
                ) from error
            raise ExportTorn(f"{self._name} breaks off in line {self._number}") from error
