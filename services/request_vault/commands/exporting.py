"""`trunkline vault export`: the whole vault as lines (`domain.ndjson`), while it runs.

What is in the vault when it begins is what is written: where the log ends is read first, then come all
bodies, which are there before the events that name them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import msgspec

from bus.clock import Clock, SystemClock
from bus.errors import Malformed
from schemas.request_vault import BODY_PART_BYTES
from services.chassis.config import Loaded
from services.request_vault.commands import streams
from services.request_vault.commands.errors import ErasureRunning, VaultUnsound
from services.request_vault.commands.loading import in_loading_order
from services.request_vault.commands.place import ERASURES, Place, place_of
from services.request_vault.commands.proving import Proof, walk
from services.request_vault.commands.running import run
from services.request_vault.commands.streams import Sink
from services.request_vault.commands.telling import Advance, Teller, counted
from services.request_vault.domain import ndjson
from services.request_vault.domain.links import Damaged, Kept, Link, checksum_of, digest_of
from services.request_vault.domain.ndjson import Begun, BodyPiece, Ended
from services.request_vault.store.bodies import BodyName, DirectoryBodies
from services.request_vault.store.port import Archive


def export(loaded: Loaded, file: Path, *, bodies: bool, force: bool, as_json: bool) -> None:
    """Raises ErasureRunning, ExportExists, CannotWrite, VaultUnsound,
    and what keeps the vault from being read."""
    place = place_of(loaded)
    file = Path(str(file).strip())
    teller = Teller(as_json=as_json)
    if erasures := sorted((place.folder / ERASURES).glob("*.json")):
        raise ErasureRunning(f"{counted(len(erasures), 'erasure')} not finished: {erasures[0]}")
    with streams.sink(file, force=force) as sink:
        ended = run(loaded, _export(place, sink, teller, SystemClock(), bodies=bodies))
    held = f"{counted(ended.events, 'event')}, {counted(ended.bodies, 'body', 'bodies')}"
    if file == streams.STANDARD:
        teller.note(f"Exported {place.shown}: {held}.")
    else:
        document = {
            "file": str(file),
            "size_bytes": file.stat().st_size,
            "lines": ended.lines,
            "events": ended.events,
            "erased": ended.erased,
            "trimmed": ended.trimmed,
            "bodies": ended.bodies,
        }
        teller.answer(document, f"Exported {place.shown} to {file}: {held}.")


async def _export(place: Place, sink: Sink, teller: Teller, clock: Clock, *, bodies: bool) -> Ended:
    out = _Out(sink)
    async with place.archive() as archive:
        ends = await archive.ends()
        published_to = min(archive.published_to(), ends[0].number)
        floor_us = await archive.floor_us() or msgspec.UNSET
        await out.write([Begun(ndjson.FORMAT, place.engine, ends, published_to, bodies, floor_us)])
        written = 0
        if bodies:
            kept = place.bodies(clock)
            with teller.progress("the bodies", (await kept.totals())[0]) as advance:
                written = await _write_bodies(kept, out, advance)
        with teller.progress("the log", sum(end.number for end in ends)) as advance:
            proof = await _write_log(archive, out, advance)
        ended = Ended(out.lines + 1, proof.events, proof.erased, proof.trimmed, written)
        await out.write([ended])
    return ended


async def _write_bodies(kept: DirectoryBodies, out: _Out, advance: Advance) -> int:
    written = 0
    async for name in kept.names():
        written += await _write_body(kept, name, out)
        advance(1)
    return written


async def _write_body(kept: DirectoryBodies, name: BodyName, out: _Out) -> bool:
    """Whether it was still there."""
    part = await kept.read(*name, 0)
    if part is None:
        return False
    count = max(1, -(-part.size_bytes // BODY_PART_BYTES))
    for index in range(count):
        if index:
            part = await kept.read(*name, index * BODY_PART_BYTES)
            if part is None:
                return False  # retention took it; what came of it is of no use, and does no harm
        await out.write([BodyPiece(*name, index, count, part.size_bytes, part.data)])
    return True


async def _write_log(archive: Archive, out: _Out, advance: Advance) -> Proof:
    proof = Proof()
    for end in in_loading_order(await archive.ends()):
        async for page in walk(archive, end):
            for link in page:
                proof.count(link)
            await out.write(page)
            advance(len(page))
    return proof


class _Out:
    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self.lines = 0

    async def write(self, lines: Sequence[ndjson.Line | Link]) -> None:
        await asyncio.to_thread(self._write, lines)

    def _write(self, lines: Sequence[ndjson.Line | Link]) -> None:
        encoded = []
        for line in lines:
            match line:
                case Damaged():
                    position = (line.partition, line.first)
                    raise VaultUnsound(f"position {position} of the vault cannot be read: {line.why}")
                case Kept() if checksum_of(line) != line.checksum or digest_of(line) != line.digest:
                    position = (line.partition, line.number)
                    raise VaultUnsound(f"the record at position {position} is not what was recorded")
            try:
                encoded.append(ndjson.encode(line))
            except Malformed as error:
                raise VaultUnsound(f"an event of the vault cannot be read: {error}") from error
        self._sink.write(b"".join(encoded))
        self.lines += len(lines)
