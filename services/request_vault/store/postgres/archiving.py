"""Putting links of another log onto the end of this one, at exactly their positions. Runs inside an upkeep
transaction that holds the heads.

Each record is proved before it is put in, each seal against the chain that was computed here. What is here
already is compared (`domain.comparing`). So loading again what was loaded before, in part or whole, changes
nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import asyncpg

from bus import codec
from bus.errors import BusError
from bus.event import Event
from schemas.traffic_gateway import CallCaptured
from services.request_vault.domain.calls import call_entry
from services.request_vault.domain.comparing import Comparing, Going, LinksDiffer, New, Outcome, Run, check
from services.request_vault.domain.cursors import Vector
from services.request_vault.domain.links import Gone, Identity, Kept, Link, Seal, last_number
from services.request_vault.domain.marking import change_of
from services.request_vault.domain.recording import DECISIONS, content_hash
from services.request_vault.store.postgres import linking
from services.request_vault.store.postgres.additions import Additions
from services.request_vault.store.postgres.connections import Connection
from services.request_vault.store.postgres.known import Known
from services.request_vault.store.postgres.ledger import Ledger
from services.request_vault.store.postgres.places import (
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

    def __init__(self, links: Sequence[Link], ledger: Ledger, loaded_to: Vector) -> None:
        check(links, ledger.partitions)
        self._ledger = ledger
        self._links = links
        self._loaded_to = loaded_to
        self.events = {
            first_place(link.partition) | link.number: _event_of(link)
            for link in links
            if isinstance(link, Kept)
        }

    @property
    def types(self) -> set[str]:
        return {event.type for event in self.events.values()}

    @property
    def leaves(self) -> set[Leaf]:
        kept = [link for link in self._links if isinstance(link, Kept)]
        classes = [self._ledger.class_of(link.key, link.category) for link in kept]
        return {leaf_of(of, day_of(of, link.recorded_us)) for of, link in zip(classes, kept, strict=True)}

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
            theirs = [link for link in self._links if link.partition == partition]
            await putting.partition(theirs, self._loaded_to.get(partition, 0))
        try:
            await additions.write(connection)
        except asyncpg.UniqueViolationError as error:
            raise _elsewhere(error) from error
        return additions


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

    async def partition(self, theirs: Sequence[Link], loaded_to: int) -> None:
        partition = theirs[0].partition
        head = self._known.heads[partition].number
        outcome = await self._compare(partition, Comparing(theirs, head, loaded_to))
        for going in outcome.going:
            await self._remove(partition, going)
        for link in outcome.new:
            await self._put(partition, link)

    async def _compare(self, partition: int, comparing: Comparing) -> Outcome:
        after, last = comparing.reach
        while after < last and (page := await linking.links(self._connection, partition, after, _PAGE)):
            comparing.here(page)
            after = last_number(page[-1])
        return comparing.outcome()

    async def _remove(self, partition: int, going: Going) -> None:
        rows = await self._connection.fetch(
            "SELECT class, day, place FROM record WHERE place = ANY ($1::bigint[])",
            [first_place(partition) | number for number in going.numbers],
        )
        located = [Located(*row) for row in rows]
        generations = self._ledger.generations
        if going.erased is None:
            await remove(self._connection, generations, located, self._ledger.last_us)
        else:
            why = (going.erased.by, going.erased.why)
            await remove(self._connection, generations, located, going.erased.gone_us, erased=why)

    async def _put(self, partition: int, link: New) -> None:
        additions = self._additions
        match link:
            case Seal():
                if additions.sealed(partition) != link:
                    raise LinksDiffer(f"the chain here differs from the seal at {(partition, link.number)}")
            case Kept():
                self._put_kept(link)
            case Gone():
                last_us = self._known.heads[partition].last_us
                additions.chain_on(partition, link.number, last_us, link.digest)
                additions.version(link.stream, link.version, decided=partition == DECISIONS)
                if link.category is not None:
                    additions.head_of(link.category, link.number)
                await insert_tombstones(self._connection, [link])
                await self._leave(partition, () if link.identity is None else (link.identity,))
            case Run():
                await self._put_run(partition, link)

    def _put_kept(self, link: Kept) -> None:
        event = self._events[first_place(link.partition) | link.number]
        try:
            call = call_entry(event) if link.category is None and event.type == CallCaptured.TYPE else None
            change = change_of(event, link.category)
        except BusError as error:
            position = (link.partition, link.number)
            raise LinksDiffer(f"the record to be loaded at {position} cannot be read: {error}") from error
        self._additions.put(link, event, content_hash(event), call, change)

    async def _put_run(self, partition: int, run: Run) -> None:
        last_us, anchor = self._known.heads[partition].last_us, run.anchor
        for number, digest in enumerate(run.digests, run.first):
            self._additions.chain_on(partition, number, last_us, digest)
        if not run.digests:
            self._additions.seal(partition, anchor.last, last_us, run.running)
        base = first_place(partition)
        await self._connection.execute(
            "DELETE FROM anchor WHERE place >= $1 AND place <= $2", base | anchor.first, base | anchor.last
        )
        await insert_anchors(self._connection, [anchor])
        await self._leave(partition, anchor.identities)

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
