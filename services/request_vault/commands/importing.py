"""`trunkline vault import`: takes in what `export` wrote, at exactly the same positions, into an empty vault
or one that has the beginning of it. This is how a vault moves from one engine to another.

What is there already is compared and passed over, so an import that was cut off is taken up by repeating it.
Everything is proved on its way in, and the vault as a whole at the end.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from bus.clock import Clock, SystemClock
from schemas.request_vault import BodyChunk
from services.chassis.config import Loaded
from services.request_vault.commands import streams
from services.request_vault.commands.errors import ExportInvalid, ExportTorn
from services.request_vault.commands.lines import Lines, Numbered
from services.request_vault.commands.loading import Batches
from services.request_vault.commands.place import Place, place_of
from services.request_vault.commands.proving import Proof, prove
from services.request_vault.commands.running import run
from services.request_vault.commands.telling import Teller, counted
from services.request_vault.domain import ndjson
from services.request_vault.domain.links import Anchor, Gone, Kept, Seal
from services.request_vault.domain.ndjson import Begun, BodyPiece, Ended
from services.request_vault.store.bodies import DirectoryBodies
from services.request_vault.store.port import Archive, Store


def import_(loaded: Loaded, file: Path, *, as_json: bool) -> None:
    """Raises ExportTorn, ExportInvalid, LinksDiffer, VaultInUse."""
    place = place_of(loaded)
    file = Path(str(file).strip())
    name = "standard input" if file == streams.STANDARD else str(file)
    teller = Teller(as_json=as_json)
    with streams.source(file) as source:
        importing = _Importing(place, name, teller, SystemClock())
        proof = run(loaded, importing.run(source))
    held = f"{counted(proof.events, 'event')}, {counted(importing.bodies, 'body', 'bodies')}"
    new = importing.new
    document = {
        "vault": place.shown,
        "file": str(file),
        "lines": importing.lines,
        "events": proof.events,
        "erased": proof.erased,
        "trimmed": proof.trimmed,
        "bodies": importing.bodies,
        "new": new,
    }
    were = "" if new == sum(importing.reached.values()) else f" {counted(new, 'position')} of it new."
    teller.answer(document, f"Imported {name} into {place.shown}: {held}, verified.{were}")


class _Importing:
    """reached: how far each partition goes now. new: how many positions of these were not there before."""

    def __init__(self, place: Place, name: str, teller: Teller, clock: Clock) -> None:
        self._place = place
        self._name = name
        self._teller = teller
        self._clock = clock
        self._before: dict[int, int] = {}
        self.lines = 0
        self.bodies = 0
        self.new = 0
        self.reached: dict[int, int] = {}

    async def run(self, source: BinaryIO) -> Proof:
        lines = Lines(source, self._name)
        first = await lines.next()
        if not first:
            raise ExportInvalid(f"{self._name} is empty")
        (_, begun), *rest = first
        if not isinstance(begun, Begun):
            raise ExportInvalid(f"{self._name}: its first line is not that of an export")
        if begun.format != ndjson.FORMAT:
            raise ExportInvalid(
                f"{self._name} has format {begun.format}; this version of Trunkline reads {ndjson.FORMAT}"
            )
        self._place.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        async with self._place.store(self._clock, len(begun.ends) - 1) as store:
            self._before = {end.partition: end.number for end in await store.ends()}
            if len(self._before) != len(begun.ends):
                mine, theirs = (counted(len(ends) - 1, "partition") for ends in (self._before, begun.ends))
                raise ExportInvalid(
                    f"the vault {self._place.shown} keeps observations in {mine}, {self._name} in {theirs}: "
                    "import it into an empty vault"
                )
            await self._take_in(store, rest, lines, begun)
            self.reached = {end.partition: end.number for end in await store.ends()}
            self.new = sum(number - self._before[partition] for partition, number in self.reached.items())
            return await self._check(store, begun)

    async def _take_in(self, store: Store, rest: list[Numbered], lines: Lines, begun: Begun) -> None:
        """Raises ExportTorn when the last line is not there; what came before is in the vault then."""
        bodies = self._place.bodies(self._clock)
        links = Batches(store)
        ended: Ended | None = None
        self.lines = 1
        with self._teller.progress("the export", sum(end.number for end in begun.ends)) as advance:
            batch = [(0, begun), *rest]
            try:
                while batch:
                    for number, line in batch:
                        if ended is not None:
                            raise ExportInvalid(f"{self._name}, line {number}: it stands after the last one")
                        self.lines = max(number, 1)
                        match line:
                            case BodyPiece():
                                await self._put(bodies, number, line)
                            case Ended():
                                ended = line
                            case Begun() if number:
                                raise ExportInvalid(
                                    f"{self._name}, line {number}: an export begins here again"
                                )
                            case Kept() | Gone() | Anchor() | Seal():
                                await links.add(line)
                    advance(sum(not isinstance(line, BodyPiece) for _, line in batch))
                    batch = await lines.next()
            except (ExportTorn, OSError) as error:
                await links.flush()
                raise _told(error, self._place) from error
            await links.flush()
        if ended is None:
            raise _told(ExportTorn(f"{self._name} breaks off after line {self.lines}"), self._place)
        if (ended.lines, ended.bodies) != (self.lines, self.bodies):
            raise ExportInvalid(
                f"{self._name} has {self.lines} lines and {counted(self.bodies, 'body', 'bodies')}, but says "
                f"that it has {ended.lines} and {ended.bodies}: some are missing"
            )
        await store.mark_published(begun.published_to)
        await store.raise_floor(begun.floor_us or 0)

    async def _put(self, bodies: DirectoryBodies, number: int, piece: BodyPiece) -> None:
        chunk = BodyChunk(
            piece.bucket, piece.sha256, piece.index, piece.count, piece.size_bytes, piece.content
        )
        (error,) = await bodies.put([chunk])
        if error is not None:
            raise ExportInvalid(f"{self._name}, line {number}: {error}") from error
        if piece.index == piece.count - 1:
            if await bodies.missing(piece.bucket, [piece.sha256]):
                return  # retention took it while it was exported
            self.bodies += 1

    async def _check(self, store: Archive, begun: Begun) -> Proof:
        """What is in the vault now. Raises ExportInvalid unless it is what was exported."""
        for theirs, mine in zip(begun.ends, await store.ends(), strict=True):
            if mine.number < theirs.number or (mine.number == theirs.number and mine != theirs):
                raise ExportInvalid(
                    f"partition {mine.partition} of the vault ends at {mine.number}, not as it was exported: "
                    f"at {theirs.number}, with the same chain"
                )
        with self._teller.progress("what is there now", sum(self.reached.values())) as advance:
            proof = await prove(store, advance)
        if proof.problems:
            problem = proof.problems[0]
            raise ExportInvalid(f"after the import, position {problem.position}: {problem.what}")
        return proof


def _told(error: Exception, place: Place) -> ExportTorn:
    return ExportTorn(
        f"{error}; all that came before is in the vault {place.shown}, and importing the whole file goes on "
        "there"
    )
