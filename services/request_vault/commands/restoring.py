"""`trunkline vault restore`: a backup becomes a vault again: a SQLite file as it was, any other engine link
by link, at exactly the same positions."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

from bus.clock import Clock, SystemClock
from services.chassis.config import Loaded
from services.request_vault.commands import disk, manifest
from services.request_vault.commands.errors import BackupDamaged, VaultNotEmpty
from services.request_vault.commands.loading import load_all
from services.request_vault.commands.manifest import Manifest
from services.request_vault.commands.place import BODIES, ERASURES, Place, place_in, place_of
from services.request_vault.commands.proving import prove
from services.request_vault.commands.running import run
from services.request_vault.commands.telling import Teller, counted, first_of
from services.request_vault.store import DATABASE, open_archive
from services.request_vault.store.bodies import DirectoryBodies
from services.request_vault.store.port import Archive
from services.request_vault.store.sqlite.schema import locked


def restore(loaded: Loaded, folder: Path, to: str | None, *, as_json: bool) -> None:
    """Raises BackupDamaged, VaultNotEmpty, VaultInUse, NoRoom."""
    place = _place(loaded, to)
    teller = Teller(as_json=as_json)
    made = run(loaded, _restore(folder.absolute(), place, teller, SystemClock()))
    teller.answer(
        {
            "vault": place.shown,
            "backup": str(folder),
            "made_at": made.made_at.isoformat().replace("+00:00", "Z"),
            "events": made.events,
            "bodies": made.bodies,
            "bodies_missing": list(made.bodies_missing),
        },
        f"Restored {place.shown} from {folder}, as it was at {made.made_at:%Y-%m-%d %H:%M:%S} UTC: "
        f"{counted(made.events, 'event')}, {counted(made.bodies, 'body', 'bodies')}.",
    )


def _place(loaded: Loaded, to: str | None) -> Place:
    own = place_of(loaded)
    if to is None:
        return own
    if "://" in to or to.startswith("sqlite:"):
        return Place(to, own.folder, own.config)
    return place_in(Path(to).expanduser().absolute(), own.config)


async def _restore(folder: Path, place: Place, teller: Teller, clock: Clock) -> Manifest:
    made = manifest.read(folder)
    await asyncio.to_thread(_check_files, folder, made)
    bodies = DirectoryBodies(folder / BODIES, clock)
    async with open_archive(f"sqlite:{folder / DATABASE}", folder) as backup:
        await _verify(folder, made, backup, bodies, teller)
        await _check_empty(place)
        stored = made.files[DATABASE].bytes + (await bodies.totals())[1]
        disk.check_room(place.folder, stored)
        with disk.writing(place.folder):
            place.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            disk.copy_files(folder / ERASURES, place.folder / ERASURES)
        if place.file is None:
            await _load(backup, made, place, bodies, teller, clock)
        else:
            with disk.writing(place.file):
                place.file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with locked(place.file):
                await _check_empty(place)
                with teller.progress("the bodies", made.bodies):
                    await bodies.copy_to(place.folder / BODIES, bodies.names())
                with teller.progress("the database"), disk.writing(place.file):
                    await asyncio.to_thread(_put, folder / DATABASE, place.file)
    return made


async def _verify(
    folder: Path, made: Manifest, backup: Archive, bodies: DirectoryBodies, teller: Teller
) -> None:
    """Raises BackupDamaged unless the backup is what was written."""
    ends = await backup.ends()
    with teller.progress("the backup", sum(end.number for end in ends)) as advance:
        proof = await prove(backup, advance)
    problems = [f"{problem.position}: {problem.what}" for problem in proof.problems]
    problems += [f"{damage.place}: {damage.reason}" async for damage in bodies.verify()]
    if problems:
        raise BackupDamaged(f"{folder} is damaged: {first_of(problems)}")
    count, _ = await bodies.totals()
    if (tuple(map(manifest.head_of, ends)), proof.events, count) != (made.heads, made.events, made.bodies):
        held = f"{proof.events} of {made.events} events and {count} of {made.bodies} bodies"
        raise BackupDamaged(f"{folder} does not hold what {manifest.MANIFEST} says: it has {held}")


def _check_files(folder: Path, made: Manifest) -> None:
    for name, file in made.files.items():
        try:
            there = manifest.describe(folder / name)
        except OSError as error:
            raise BackupDamaged(f"{folder / name} cannot be read: {error.strerror}") from error
        if there != file:
            raise BackupDamaged(f"{folder / name} is not what was written: its size or hash is another")


async def _check_empty(place: Place) -> None:
    """Raises VaultNotEmpty, and what keeps a vault that is there from being read."""
    if place.file is not None and not (place.file.exists() and place.file.stat().st_size):
        return
    if place.file is None:
        return  # `_load` looks, when it has the store
    async with place.archive() as archive:
        held = sum(end.number for end in await archive.ends())
    if held:
        raise VaultNotEmpty(f"the vault {place.shown} holds {counted(held, 'event')}")


def _put(source: Path, target: Path) -> None:
    """The file under its name, whole, on disk. The text index of a vault that was here is made anew."""
    beside = target.with_name(f".{target.name}.restoring")
    shutil.copyfile(source, beside)
    beside.chmod(0o600)
    disk.sync(beside)
    for suffix in ("-wal", "-shm"):
        target.with_name(target.name + suffix).unlink(missing_ok=True)
    beside.rename(target)
    disk.sync(target.parent)


async def _load(
    backup: Archive, made: Manifest, place: Place, bodies: DirectoryBodies, teller: Teller, clock: Clock
) -> None:
    async with place.store(clock, len(made.heads) - 1) as store:
        held = sum(end.number for end in await store.ends())
        if held:
            raise VaultNotEmpty(f"the vault {place.shown} holds {counted(held, 'event')}")
        with teller.progress("the bodies", made.bodies):
            await bodies.copy_to(place.folder / BODIES, bodies.names())
        with teller.progress("the log", sum(head.number for head in made.heads)) as advance:
            await load_all(backup, store, advance)
        await store.mark_published(made.published_to)
