"""What is looked at after each round: the observations that the log was seen to hold, and the backups."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from schemas.request_vault import Position, Recorded
from services.request_vault.store import open_archive
from services.request_vault.store.port import Selection, Store
from tests.conformance.vault.vaults import decoded
from tests.services.request_vault.rounds.workload import DECISIONS_TOGETHER, KEPT, PASSING, observation

PAGE = 500


class Sightings:
    """Where each observation was seen, also when it went later."""

    def __init__(self) -> None:
        self._reached: dict[int, int] = {}
        self._seen: dict[Position, tuple[str, str]] = {}
        self._passing: set[Position] = set()

    async def look(self, store: Store) -> None:
        self._add(await read_observations(store, self._reached))
        usage = {each.bucket: each.records for each in (await store.stats()).usage}
        assert usage.get(PASSING, 0) >= min(KEPT, len(self._passing)), "retention took too much"

    def check(self, held: Sequence[Recorded], newest: int, observed: int) -> int:
        """held: the observations that are there, of one partition whose newest number is `newest`; observed:
        how many were promised. What went are the oldest of PASSING, and nothing else did; how many."""
        self._add(held)
        assert set(Counter(self._seen.values()).values()) == {1}, "recorded again after it had gone"
        held_at = {record.position for record in held}
        gone_at = {(1, number) for number in range(1, newest + 1)} - held_at
        identities = {self._seen[position] for position in held_at}
        promised = [observation(number) for number in range(observed)]
        missing = [event for event in promised if event.identity not in identities]
        assert {event.key for event in missing} <= {PASSING}
        assert len(missing) <= len(gone_at)
        assert gone_at & self._seen.keys() <= self._passing
        kept = held_at & self._passing
        assert max(gone_at, default=(0, 0)) < min(kept), "a newer one went before an older one"
        return len(gone_at)

    def _add(self, records: Iterable[Recorded]) -> None:
        for record in records:
            event = decoded(record)
            assert self._seen.setdefault(record.position, event.identity) == event.identity
            if event.key == PASSING:
                self._passing.add(record.position)


async def read_observations(store: Store, reached: dict[int, int]) -> list[Recorded]:
    """Those after `reached`, which moves on to the end."""
    found: list[Recorded] = []
    more = True
    while more:
        page = await store.read_log(Selection(), reached, PAGE)
        found += (record for record in page.records if record.position[0] > 0)
        reached |= page.reached
        more = page.more
    return found


async def check_backups(folder: Path, decisions: int, backed_up: int | None) -> int:
    """Whatever has a backup's name is whole; how many these are. They are removed then. decisions:
    how many the log holds. backed_up: the newest that was promised."""
    whole = [path for path in folder.iterdir() if not path.name.startswith(".")]
    assert backed_up is None or folder / f"{backed_up}.db" in whole
    for path in whole:
        async with open_archive(f"sqlite:{path}", folder) as archive:
            assert await archive.check() == []
            newest = (await archive.ends())[0].number
        assert int(path.stem) * DECISIONS_TOGETHER <= newest <= decisions
        path.unlink()
    return len(whole)
