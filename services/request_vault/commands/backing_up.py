"""`trunkline vault backup`: a copy of the vault as of one moment, while it runs, verified before it has its
name.

Bodies that are there are copied first, then the database, then the bodies that it names and that came in
between. So none that it names is missed because retention took it while the others were copied. What it does
not name does not stay in the copy. Erasures that are going on come along, and go on after a restore. A backup
that was cut off is taken up by repeating it: what was copied of the bodies is not copied again."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import msgspec

from bus.clock import Clock, SystemClock
from services.chassis.config import Loaded
from services.request_vault.commands import disk, manifest
from services.request_vault.commands.errors import VaultUnsound
from services.request_vault.commands.manifest import File, Manifest
from services.request_vault.commands.place import BODIES, ERASURES, Place, place_of
from services.request_vault.commands.proving import Named, Proof, prove
from services.request_vault.commands.running import run
from services.request_vault.commands.telling import Teller, counted, first_of, size
from services.request_vault.domain.links import End, Kept
from services.request_vault.store import DATABASE, open_archive
from services.request_vault.store.bodies import BodyName, DirectoryBodies
from services.request_vault.store.port import Archive

STEP_BODIES = 256


def backup(loaded: Loaded, folder: Path, *, as_json: bool) -> None:
    """Raises BackupExists, NoRoom, VaultUnsound, and what keeps the vault from being read."""
    place, teller = place_of(loaded), Teller(as_json=as_json)
    with disk.partial_of(folder.absolute()) as partial:
        made = run(loaded, _backup(place, partial, teller, SystemClock()))
        with disk.writing(folder):
            partial.rename(folder)
            disk.sync(folder.absolute().parent)
    took = sum(file.bytes for file in made.files.values())
    document = {"folder": str(folder), **msgspec.to_builtins(made)}
    held = f"{counted(made.events, 'event')}, {counted(made.bodies, 'body', 'bodies')}, {size(took)}"
    lines = [f"Backed up {place.shown} to {folder}: {held}, verified."]
    if made.bodies_missing:
        missing = counted(len(made.bodies_missing), "body that a call names", "bodies that calls name")
        lines.append(f"The vault did not have {missing}; {manifest.MANIFEST} lists them.")
    teller.answer(document, *lines)


async def _backup(place: Place, partial: Path, teller: Teller, clock: Clock) -> Manifest:
    source = place.bodies(clock)
    target = DirectoryBodies(partial / BODIES, clock)
    database = partial / DATABASE
    async with place.archive() as archive:
        (count, bodies_bytes), stats = await source.totals(), await archive.stats()
        already = _size_bytes(partial / BODIES)
        disk.check_room(partial, stats.size_bytes + max(bodies_bytes - already, 0))
        _clear(partial)
        with teller.progress("the bodies", count):
            await source.copy_to(partial / BODIES, source.names())
        # Before and after: one that is begun or finished meanwhile is in the copied log or here, or both.
        with disk.writing(partial):
            disk.copy_files(place.folder / ERASURES, partial / ERASURES)
        with teller.progress("the database"):
            await archive.backup(database)
        with disk.writing(partial):
            disk.copy_files(place.folder / ERASURES, partial / ERASURES)
        published_to = archive.published_to()
    async with open_archive(f"sqlite:{database}", partial) as copy:
        ends = await copy.ends()
        proof, missing = await _prove(copy_of=copy, ends=ends, source=source, partial=partial, teller=teller)
        complaints = await copy.check()
        published_to = min(published_to, ends[0].number)
    problems = [f"{problem.position}: {problem.what}" for problem in proof.problems] + complaints
    with teller.progress("the copies of the bodies"):
        problems += [f"{damage.place}: {damage.reason} ({damage.name})" async for damage in target.verify()]
    if problems:
        shutil.rmtree(partial)
        raise VaultUnsound(f"{place.shown} is damaged: {first_of(problems)}")
    bodies, _ = await target.totals()
    made = Manifest(
        format=manifest.FORMAT,
        engine=place.engine,
        made_at=clock.now(),
        heads=tuple(map(manifest.head_of, ends)),
        events=proof.events,
        erased=proof.erased,
        trimmed=proof.trimmed,
        published_to=published_to,
        bodies=bodies,
        bodies_missing=tuple(missing),
        files=await asyncio.to_thread(_files, partial),
    )
    with disk.writing(partial):
        await asyncio.to_thread(manifest.write, partial, made)
        disk.sync(partial)
    return made


async def _prove(
    *, copy_of: Archive, ends: tuple[End, ...], source: DirectoryBodies, partial: Path, teller: Teller
) -> tuple[Proof, list[str]]:
    """The copied log, and the names of bodies that it names and that are nowhere. Afterwards the copies of
    bodies are those that it names."""
    named = Named()
    missing: list[str] = []

    async def copy(found: list[tuple[Kept, BodyName]]) -> None:
        new = [name for _, name in found if named.add(name)]
        if new:
            copied = await source.copy_to(partial / BODIES, new)
            for bucket in {name.bucket for name in copied.missing}:
                gone = [name.sha256 for name in copied.missing if name.bucket == bucket]
                # Copied before, and gone from the vault since: that is what the first copying is for.
                missing.extend(f"{bucket}/{sha256}" for sha256 in sorted(await target.missing(bucket, gone)))

    target = DirectoryBodies(partial / BODIES, SystemClock())
    with teller.progress("the copied log", sum(end.number for end in ends)) as advance:
        proof = await prove(copy_of, advance, copy)
    unnamed: dict[str, list[str]] = {}
    async for name in target.names():
        if name not in named:
            unnamed.setdefault(name.bucket, []).append(name.sha256)
    for bucket, hashes in unnamed.items():
        await target.delete(bucket, hashes)
    return proof, missing


def _clear(partial: Path) -> None:
    """What an earlier try has left, but for the bodies."""
    shutil.rmtree(partial / ERASURES, ignore_errors=True)
    for stale in (partial / manifest.MANIFEST, *partial.glob(".*"), *partial.glob(f"{DATABASE}*")):
        stale.unlink(missing_ok=True)


def _files(partial: Path) -> dict[str, File]:
    paths = [partial / DATABASE, *sorted((partial / ERASURES).glob("*.json"))]
    return {path.relative_to(partial).as_posix(): manifest.describe(path) for path in paths}


def _size_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) if folder.exists() else 0
