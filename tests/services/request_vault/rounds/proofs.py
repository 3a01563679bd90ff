"""What is looked at after each round: the decisions and the observations that the log was seen to hold, the
stars, and the backups; and, after the last, what was published, and the bodies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from bus.event import Event, Stamp
from schemas.request_vault import CallsExpired, CallStarred, Position, Recorded
from schemas.traffic_gateway import CallCaptured
from services.request_vault.domain.calls import bodies_apart
from services.request_vault.store import open_archive
from services.request_vault.store.bodies import BodyName, DirectoryBodies
from services.request_vault.store.port import Selection, Store
from tests.conformance.vault.vaults import decoded
from tests.services.request_vault.rounds.workload import (
    DECISIONS_TOGETHER,
    KEPT,
    PASSING,
    names_decided,
    observation,
)

PAGE = 500


class Decisions:
    """Those that the log was seen to hold: it only grows."""

    def __init__(self) -> None:
        self._records: list[Recorded] = []
        self._events: list[Event] = []

    def __len__(self) -> int:
        return len(self._records)

    @property
    def ever_starred(self) -> set[str]:
        return {event.read(CallStarred).id for event in self._events if event.type == CallStarred.TYPE}

    @property
    def told_gone(self) -> int:
        """Of how many observations the log says that they went."""
        told = [event.read(CallsExpired) for event in self._events if event.type == CallsExpired.TYPE]
        return sum(each.records for each in told)

    async def look(self, store: Store, decided: int) -> None:
        """decided: every append below was promised; each is there, once."""
        while (page := await store.read_decisions(len(self), PAGE)).records:
            self._records += page.records
            self._events += map(decoded, page.records)
        numbers = range(1, len(self) + 1)
        assert [record.position for record in self._records] == [(0, number) for number in numbers]
        newest: dict[str, int] = {}
        for number, record in zip(numbers, self._records, strict=True):
            category = record.stream.partition(".")[0]
            assert record.prev == newest.get(category), record
            newest[category] = number
        counted = Counter(event.id for event in self._events)
        assert {name for number in range(decided) for name in names_decided(number)} <= counted.keys()
        assert set(counted.values()) <= {1}

    def check_published(self, heard: Sequence[Event]) -> None:
        """What was published is what was recorded, in its order; some of it more than once."""
        told: dict[str, Event] = {}
        for event in heard:
            assert told.setdefault(event.id, event) == event, "published twice, and not the same"
        recorded = [
            (event.id, Stamp(record.stream, record.version, record.position, record.prev))
            for event, record in zip(self._events, self._records, strict=True)
        ]
        assert {id: event.stamp for id, event in told.items()} == dict(recorded)
        shop = {event.id for event in self._events if event.source == "shop"}
        assert [id for id in told if id in shop] == [id for id, _ in recorded if id in shop]


class Sightings:
    """Where each observation was seen, also when it went later."""

    def __init__(self) -> None:
        self._reached: dict[int, int] = {}
        self._seen: dict[Position, tuple[str, str]] = {}
        self._passing: dict[Position, str] = {}
        self._calls: set[Position] = set()

    async def look(self, store: Store) -> None:
        self._add(await read_observations(store, self._reached))
        usage = {each.bucket: each.calls for each in (await store.stats()).usage}
        assert usage.get(PASSING, 0) >= min(KEPT, len(self._calls)), "retention took too much"

    def check(self, held: Sequence[Recorded], newest: int, observed: int, starred: set[str]) -> int:
        """held: the observations that are there, of one partition whose newest number is `newest`; observed:
        how many were promised; starred: calls that were at any time. What went are the oldest of PASSING, and
        nothing else did; how many."""
        self._add(held)
        assert set(Counter(self._seen.values()).values()) == {1}, "recorded again after it had gone"
        held_at = {record.position for record in held}
        gone_at = {(1, number) for number in range(1, newest + 1)} - held_at
        identities = {self._seen[position] for position in held_at}
        promised = [observation(number) for number in range(observed)]
        missing = [event for event in promised if event.identity not in identities]
        assert {event.key for event in missing} <= {PASSING}
        assert len(missing) <= len(gone_at)
        assert gone_at & self._seen.keys() <= self._passing.keys()
        kept = {position for position, subject in self._passing.items() if subject not in starred} & held_at
        assert max(gone_at, default=(0, 0)) < min(kept), "a newer one went before an older one"
        return len(gone_at)

    def _add(self, records: Iterable[Recorded]) -> None:
        for record in records:
            event = decoded(record)
            assert self._seen.setdefault(record.position, event.identity) == event.identity
            if event.key == PASSING:
                self._passing[record.position] = event.subject or ""
                if event.type == CallCaptured.TYPE:
                    self._calls.add(record.position)


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


async def check_stars(store: Store, starred: Iterable[str]) -> None:
    """These calls were promised to stay."""
    for id in starred:
        call = await store.get_call(id, PASSING)
        assert call is not None, f"{id} was starred, and went"
        assert call.marks is not None
        assert call.marks.starred


async def check_bodies(bodies: DirectoryBodies, held: Iterable[Event]) -> int:
    """Those that calls name are there, whole, and no other is; how many."""
    calls = [event for event in held if event.type == CallCaptured.TYPE]
    named = {
        BodyName(event.key, sha256) for event in calls for sha256 in bodies_apart(event.read(CallCaptured))
    }
    assert {name async for name in bodies.names()} == named
    assert [damage async for damage in bodies.verify()] == []
    return len(named)


async def check_backups(folder: Path, decisions: int, backed_up: int | None) -> int:
    """Whatever has a backup's name is whole; how many these are. They are removed then. decisions: how many
    the log holds. backed_up: the newest that was promised."""
    whole = [path for path in folder.iterdir() if not path.name.startswith(".")]
    assert backed_up is None or folder / f"{backed_up}.db" in whole
    for path in whole:
        async with open_archive(f"sqlite:{path}", folder) as archive:
            assert await archive.check() == []
            newest = (await archive.ends())[0].number
        assert int(path.stem) * DECISIONS_TOGETHER <= newest <= decisions
        path.unlink()
    return len(whole)
