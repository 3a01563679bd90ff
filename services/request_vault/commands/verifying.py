"""`trunkline vault verify`: reads everything, and names what is not as it was written."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec

from bus.clock import Clock, SystemClock
from services.chassis.config import Loaded
from services.request_vault.commands.place import Place, place_of
from services.request_vault.commands.proving import Named, Proof, prove
from services.request_vault.commands.running import run
from services.request_vault.commands.telling import Teller, counted
from services.request_vault.domain.links import Kept
from services.request_vault.domain.recording import to_us
from services.request_vault.store.bodies import BodyName

SOUND, UNSOUND = 0, 1
UNDER_WAY_S = 600.0
"""A body may reach the vault a little after the event that names it: they come on two subscriptions."""

TOLD = 100


class Fault(msgspec.Struct, frozen=True):
    """what: a position (`1:42`), a body (`<bucket>/<sha256>`), a file, or `database`."""

    what: str
    why: str


def verify(loaded: Loaded, *, bodies: bool, models: bool, as_json: bool) -> int:
    """The exit code. Raises VaultDamaged when the database cannot even be opened."""
    place, teller = place_of(loaded), Teller(as_json=as_json)
    proof, faults, bodies_seen = run(
        loaded, _verify(place, teller, SystemClock(), bodies=bodies, models=models)
    )
    found = proof.found + len(faults) - len(proof.problems)
    document: dict[str, Any] = {
        "sound": not found,
        "vault": place.shown,
        "events": proof.events,
        "erased": proof.erased,
        "trimmed": proof.trimmed,
        "bodies": bodies_seen,
        "found": found,
        "problems": [msgspec.to_builtins(fault) for fault in faults],
    }
    lines = [f"{fault.what}: {fault.why}" for fault in faults[:TOLD]]
    if found > len(lines):
        lines.append(f"and {counted(found - len(lines), 'more problem')}; --json tells of the first 1 000")
    held = [counted(proof.events, "event")]
    held += [f"{counted(proof.erased, 'record')} erased"] if proof.erased else []
    held += [f"{counted(proof.trimmed, 'record')} trimmed"] if proof.trimmed else []
    held += [counted(bodies_seen, "body", "bodies")] if bodies_seen is not None else []
    if found:
        lines.append(f"{counted(found, 'problem')} in {place.shown} ({', '.join(held)}).")
    else:
        lines.append(f"Sound: {place.shown} ({', '.join(held)}).")
    teller.answer(document, *lines)
    return UNSOUND if found else SOUND


async def _verify(
    place: Place, teller: Teller, clock: Clock, *, bodies: bool, models: bool
) -> tuple[Proof, list[Fault], int | None]:
    faults: list[Fault] = []
    under_way_us = to_us(clock.now() - timedelta(seconds=UNDER_WAY_S))
    kept_bodies = place.bodies(clock)
    named = Named()
    missing: list[Fault] = []

    async def look_for(found: list[tuple[Kept, BodyName]]) -> None:
        wanted: dict[str, dict[str, Kept]] = {}
        for kept, name in found:
            if kept.recorded_us < under_way_us and named.add(name):
                wanted.setdefault(name.bucket, {})[name.sha256] = kept
        for bucket, hashes in wanted.items():
            for sha256 in sorted(await kept_bodies.missing(bucket, hashes)):
                kept = hashes[sha256]
                why = f"it is not there, but the call at {kept.partition}:{kept.number} names it"
                missing.append(Fault(f"{bucket}/{sha256}", why))

    async with place.archive() as archive:
        total = sum(end.number for end in await archive.ends())
        with teller.progress("the log", total) as advance:
            proof = await prove(archive, advance, look_for if bodies else None)
        faults += [Fault("{}:{}".format(*problem.position), problem.what) for problem in proof.problems]
        if models:
            with teller.progress("the database"):
                faults += [Fault("database", complaint) for complaint in await archive.check()]
    seen = None
    if bodies:
        count, _ = await kept_bodies.totals()
        with teller.progress("the bodies", count):
            faults += missing
            async for damage in kept_bodies.verify():
                what = f"{damage.name.bucket}/{damage.name.sha256}" if damage.name else damage.place
                faults.append(Fault(what, damage.reason))
        seen = count
    return proof, faults, seen
