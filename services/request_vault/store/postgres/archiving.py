"""Putting links of another log onto the end of this one, at exactly their positions. Runs inside an upkeep
transaction that holds the heads.

Each record is proved before it is put in, each seal against the chain that was computed here. What is here
already is compared. So loading again what was loaded before, in part or whole, changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import asyncpg

from bus import codec
from bus.errors import BusError
from bus.event import Event
from schemas.traffic_gateway import CallCaptured
from services.request_vault.domain import chain
from services.request_vault.domain.calls import call_entry
from services.request_vault.domain.links import (
    Anchor,
    Damaged,
    Gone,
    Identity,
    Kept,
    Link,
    Seal,
    checksum_of,
    digest_of,
    last_number,
)
from services.request_vault.domain.marking import change_of
from services.request_vault.domain.recording import content_hash
from services.request_vault.store.errors import LinksDiffer
from services.request_vault.store.postgres import linking
from services.request_vault.store.postgres.additions import Additions
from services.request_vault.store.postgres.connections import Connection
from services.request_vault.store.postgres.known import Known
from services.request_vault.store.postgres.ledger import Ledger
from services.request_vault.store.postgres.places import (
    DECIDED,
    FOREVER,
    Leaf,
    day_of,
    first_place,
    leaf_of,
)
from services.request_vault.store.postgres.removing import Located, insert_anchors, insert_tombstones, remove
from services.request_vault.store.postgres.rows import copy

_IDENTITY = ("id", "source", "place", "content", "gone_us", "time_us", "checksum")
_PAGE = 500


class Loading:
    """Links that are to be loaded, their records read. Raises LinksDiffer for what can be loaded nowhere."""

    def __init__(self, links: Sequence[Link], ledger: Ledger) -> None:
        self._ledger = ledger
        self.events: dict[int, Event] = {}
        for link in links:
            if not 0 <= link.partition <= ledger.partitions:
                raise LinksDiffer(
                    f"partition {link.partition} is to be loaded, but this vault has {ledger.partitions} "
                    "for observations"
                )
            if isinstance(link, Damaged):
                raise LinksDiffer(
                    f"position {(link.partition, link.first)} cannot be read where it comes from: {link.why}"
                )
            if isinstance(link, Kept):
                self.events[first_place(link.partition) | link.number] = _event_of(link)
        self._links = links

    @property
    def types(self) -> set[str]:
        return {event.type for event in self.events.values()}

    @property
    def leaves(self) -> set[Leaf]:
        kept = [link for link in self._links if isinstance(link, Kept)]
        return {leaf_of(of, day_of(of, link.recorded_us)) for link in kept for of in (self._class_of(link),)}

    async def put(self, connection: Connection) -> Additions:
        """`Store.load`."""
        streams = {link.stream for link in self._links if isinstance(link, Kept | Gone)}
        partitions = sorted({link.partition for link in self._links})
        known = await Known.load(
            connection,
            partitions=partitions,
            identities=set(),
            streams=streams,
            categories={
                link.category for link in self._links if isinstance(link, Kept | Gone) and link.category
            },
            decisions=self._ledger.decisions,
            stamped_to=0,
        )
        if known.changes > self._ledger.changes:
            await self._ledger.reread(connection, known.changes)
        additions = Additions(known, self._ledger, 0, 0)
        putting = _Putting(connection, self._ledger, known, additions, self.events)
        for partition in partitions:
            await putting.partition([link for link in self._links if link.partition == partition])
        try:
            await additions.write(connection)
        except asyncpg.UniqueViolationError as error:
            raise _elsewhere(error) from error
        return additions

    def _class_of(self, link: Kept) -> int:
        return DECIDED if link.category is not None else self._ledger.classes.get(link.key, FOREVER)


class _Putting:
    def __init__(
        self,
        connection: Connection,
        ledger: Ledger,
        known: Known,
        additions: Additions,
        events: dict[int, Event],
    ) -> None:
        self._connection = connection
        self._ledger = ledger
        self._known = known
        self._additions = additions
        self._events = events

    async def partition(self, links: Sequence[Link]) -> None:
        partition = links[0].partition
        head = self._known.heads[partition].number
        old = [link for link in links if _first_number(link) <= head]
        if old:
            await self._compare(partition, old, head)
        new = [link for link in links if last_number(link) > head]
        for link, following in zip(new, [*new[1:], None], strict=False):  # nothing is new: nothing follows
            await self._put(link, following)

    async def _put(self, link: Link, following: Link | None) -> None:
        additions, partition = self._additions, link.partition
        head = self._known.heads[partition]
        if isinstance(link, Seal):
            if link.number != head.number or (additions.sealed(partition) or link) != link:
                raise LinksDiffer(f"the chain here differs from the seal at {(partition, link.number)}")
            return
        first = max(_first_number(link), head.number + 1) if isinstance(link, Anchor) else _first_number(link)
        if first != head.number + 1:
            raise LinksDiffer(
                f"position {(partition, first)} cannot follow {(partition, head.number)}, the end here"
            )
        match link:
            case Kept():
                self._put_kept(link)
            case Gone():
                additions.chain_on(partition, link.number, head.last_us, link.digest)
                additions.version(link.stream, link.version, decided=partition == 0)
                if link.category is not None:
                    additions.head_of(link.category, link.number)
                await insert_tombstones(self._connection, [link])
                await self._leave(partition, () if link.identity is None else (link.identity,))
            case Anchor():
                await self._put_anchor(link, following, first)

    def _put_kept(self, link: Kept) -> None:
        position = (link.partition, link.number)
        event = self._events[first_place(link.partition) | link.number]
        if checksum_of(link) != link.checksum or digest_of(link) != link.digest:
            raise LinksDiffer(f"the record to be loaded at {position} does not match its checksum and digest")
        try:
            call = call_entry(event) if link.category is None and event.type == CallCaptured.TYPE else None
            change = change_of(event, link.category)
        except BusError as error:
            raise LinksDiffer(f"the record to be loaded at {position} cannot be read: {error}") from error
        of_class = DECIDED if link.category is not None else self._ledger.classes.get(link.key, FOREVER)
        self._additions.put(link, of_class, event, content_hash(event), call, change)

    async def _put_anchor(self, link: Anchor, following: Link | None, first: int) -> None:
        """`first`: of the numbers that are not here yet."""
        partition = link.partition
        last_us = self._known.heads[partition].last_us
        if link.digests:
            skipped = (first - link.first) * chain.DIGEST_BYTES
            for number in range(first, link.last + 1):
                digest = link.digests[skipped : skipped + chain.DIGEST_BYTES]
                skipped += chain.DIGEST_BYTES
                self._additions.chain_on(partition, number, last_us, digest)
        else:
            if not isinstance(following, Seal) or following.number != link.last:
                raise LinksDiffer(
                    f"the trimmed segment at {(partition, link.first)} is to be loaded with its seal"
                )
            self._additions.seal(partition, link.last, last_us, following.running)
        base = first_place(partition)
        await self._connection.execute(
            "DELETE FROM anchor WHERE place >= $1 AND place <= $2", base | link.first, base | link.last
        )
        await insert_anchors(self._connection, [link])
        await self._leave(partition, [each for each in link.identities if each.number >= first])

    async def _leave(self, partition: int, identities: Sequence[Identity]) -> None:
        base = first_place(partition)
        rows = [
            (
                each.id,
                each.source,
                base | each.number,
                each.content,
                each.gone_us,
                each.time_us,
                each.checksum,
            )
            for each in identities
        ]
        try:
            await copy(self._connection, "seen", _IDENTITY, rows)
        except asyncpg.UniqueViolationError as error:
            raise _elsewhere(error) from error

    async def _compare(self, partition: int, theirs: Sequence[Link], head: int) -> None:
        """Raises LinksDiffer unless what is here is the same, or went later here or there."""
        digests: dict[int, bytes] = {}
        kept: dict[int, Kept] = {}
        seals: dict[int, Seal] = {}
        for own in await self._own(partition, _first_number(theirs[0]) - 1, last_number(theirs[-1])):
            match own:
                case Kept():
                    kept[own.number] = own
                case Gone():
                    digests[own.number] = own.digest
                case Anchor():
                    digests.update(_digests(own))
                case Seal():
                    seals[own.number] = own
        for link in theirs:
            match link:
                case Seal():
                    same = seals.get(link.number) == link
                case Kept():
                    mine = kept.get(link.number)
                    same = (
                        mine == link
                        if mine is not None
                        else digests.get(link.number, b"") in (link.digest, b"")
                    )
                case Gone():
                    same = await self._go_too(partition, {link.number: link.digest}, kept, digests, link)
                case Anchor():
                    numbers = dict.fromkeys(range(link.first, min(link.last, head) + 1), b"")
                    numbers |= {n: digest for n, digest in _digests(link).items() if n <= head}
                    same = await self._go_too(partition, numbers, kept, digests, None)
                case Damaged():
                    same = False
            if not same:
                raise LinksDiffer(
                    f"position {(partition, _first_number(link))} is here already, and is not what is to be "
                    "loaded"
                )

    async def _go_too(
        self,
        partition: int,
        gone: dict[int, bytes],
        kept: dict[int, Kept],
        digests: dict[int, bytes],
        erased: Gone | None,
    ) -> bool:
        """Whether these are the same records; those that are still here go."""
        for number, digest in gone.items():
            mine = kept[number].digest if number in kept else digests.get(number, b"")
            if digest and mine and mine != digest:
                return False
        places = [first_place(partition) | number for number in gone if number in kept]
        if places:
            rows = await self._connection.fetch(
                "SELECT class, day, place FROM record WHERE place = ANY ($1::bigint[])", places
            )
            why = None if erased is None else (erased.by, erased.why)
            at_us = self._ledger.last_us if erased is None else erased.gone_us
            located = [Located(*row) for row in rows]
            await remove(self._connection, self._ledger.generations, located, at_us, erased=why)
        return True

    async def _own(self, partition: int, after: int, last: int) -> list[Link]:
        found: list[Link] = []
        while after < last:
            page = await linking.links(self._connection, partition, after, _PAGE)
            if not page:
                break
            found += page
            after = last_number(page[-1])
        return found


def _event_of(link: Kept) -> Event:
    try:
        return codec.decode_event(link.event)
    except BusError as error:
        position = (link.partition, link.number)
        raise LinksDiffer(f"the record to be loaded at {position} cannot be read: {error}") from error


def _elsewhere(error: asyncpg.UniqueViolationError) -> LinksDiffer:
    return LinksDiffer(
        f"an event to be loaded is in this vault already, at another position ({error.detail})"
    )


def _first_number(link: Link) -> int:
    return link.first if isinstance(link, Anchor | Damaged) else link.number


def _digests(anchor: Anchor) -> dict[int, bytes]:
    """Empty for a whole segment."""
    step = chain.DIGEST_BYTES
    return {
        anchor.first + at // step: anchor.digests[at : at + step]
        for at in range(0, len(anchor.digests), step)
    }
