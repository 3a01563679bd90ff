"""Putting links of another log onto the end of this one, at exactly their positions. Runs inside the writer's
transaction; called by the engine, and by `migrating`.

Each record is proved before it is put in, each seal against the chain that was computed here. What is here
already is compared. So loading again what was loaded before, in part or whole, changes nothing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence

from bus import codec
from bus.errors import BusError
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
from services.request_vault.domain.recording import content_hash
from services.request_vault.store.errors import LinksDiffer
from services.request_vault.store.sqlite import linking
from services.request_vault.store.sqlite.ledger import Ledger
from services.request_vault.store.sqlite.places import PARTITION_SHIFT
from services.request_vault.store.sqlite.recording import Rows
from services.request_vault.store.sqlite.removing import insert_anchors, insert_tombstones, remove
from services.request_vault.store.sqlite.rows import insert_rows

_SEEN_WIDTH = 7
_SEAL_WIDTH = 3
_PAGE = 500


def load(connection: sqlite3.Connection, ledger: Ledger, links: Sequence[Link]) -> None:
    """`Store.load`."""
    loading = _Loading(connection, ledger)
    for link in links:
        if not 0 <= link.partition <= ledger.partitions:
            raise LinksDiffer(
                f"partition {link.partition} is to be loaded, but this vault has {ledger.partitions} for "
                "observations"
            )
        if isinstance(link, Damaged):
            raise LinksDiffer(
                f"position {(link.partition, link.first)} cannot be read where it comes from: {link.why}"
            )
    for partition in sorted({link.partition for link in links}):
        loading.partition([link for link in links if link.partition == partition])


class _Loading:
    def __init__(self, connection: sqlite3.Connection, ledger: Ledger) -> None:
        self._connection = connection
        self._ledger = ledger

    def partition(self, links: Sequence[Link]) -> None:
        partition = links[0].partition
        head = self._ledger.numbers[partition]
        old = [link for link in links if _first_number(link) <= head]
        if old:
            self._compare(partition, old, head)
        new = [link for link in links if last_number(link) > head]
        if not new:
            return
        rows = Rows(self._connection, self._ledger, 0, 0)
        try:
            for link, following in zip(new, [*new[1:], None], strict=True):
                self._put(rows, link, following)
            rows.insert()
        except sqlite3.IntegrityError as error:
            raise LinksDiffer(
                f"an event after {(partition, head)} is in this vault already, at another position ({error})"
            ) from error

    def _put(self, rows: Rows, link: Link, following: Link | None) -> None:
        ledger, partition = self._ledger, link.partition
        number = ledger.numbers[partition]
        if isinstance(link, Seal):
            if link.number != number or (rows.sealed(partition) or link) != link:
                raise LinksDiffer(f"the chain here differs from the seal at {(partition, link.number)}")
            return
        first = max(_first_number(link), number + 1) if isinstance(link, Anchor) else _first_number(link)
        if first != number + 1:
            raise LinksDiffer(
                f"position {(partition, first)} cannot follow {(partition, number)}, the end here"
            )
        match link:
            case Kept():
                self._put_kept(rows, link)
            case Gone():
                ledger.numbers[partition] = link.number
                if link.category is not None:
                    ledger.categories[link.category] = link.number
                rows.chain_on(partition, link.number, link.digest)
                insert_tombstones(self._connection, [link])
                self._leave_identities(partition, () if link.identity is None else (link.identity,))
            case Anchor():
                self._put_anchor(rows, link, following, first)

    def _put_kept(self, rows: Rows, link: Kept) -> None:
        position = (link.partition, link.number)
        if checksum_of(link) != link.checksum or digest_of(link) != link.digest:
            raise LinksDiffer(f"the record to be loaded at {position} does not match its checksum and digest")
        try:
            event = codec.decode_event(link.event)
            is_call = link.category is None and event.type == CallCaptured.TYPE
            rows.put(link, event, content_hash(event), call_entry(event) if is_call else None)
        except BusError as error:
            raise LinksDiffer(f"the record to be loaded at {position} cannot be read: {error}") from error
        self._ledger.tick(link.recorded_us)

    def _put_anchor(self, rows: Rows, link: Anchor, following: Link | None, first: int) -> None:
        """`first`: of the numbers that are not here yet."""
        ledger, partition = self._ledger, link.partition
        if link.digests:
            skipped = (first - link.first) * chain.DIGEST_BYTES
            for number in range(first, link.last + 1):
                digest = link.digests[skipped : skipped + chain.DIGEST_BYTES]
                skipped += chain.DIGEST_BYTES
                ledger.numbers[partition] = number
                rows.chain_on(partition, number, digest)
        else:
            if not isinstance(following, Seal) or following.number != link.last:
                raise LinksDiffer(
                    f"the trimmed segment at {(partition, link.first)} is to be loaded with its seal"
                )
            ledger.numbers[partition] = link.last
            rows.seal(partition, link.last, following.running)
        base = partition << PARTITION_SHIFT
        self._connection.execute(
            "DELETE FROM anchor WHERE place BETWEEN ? AND ?", (base | link.first, base | link.last)
        )
        insert_anchors(self._connection, [link])
        self._leave_identities(partition, [each for each in link.identities if each.number >= first])

    def _leave_identities(self, partition: int, identities: Sequence[Identity]) -> None:
        flat: list[object] = []
        for each in identities:
            place = partition << PARTITION_SHIFT | each.number
            flat += (each.id, each.source, place, each.content, each.gone_us, each.time_us, each.checksum)
        insert_rows(self._connection, "seen", _SEEN_WIDTH, flat)

    def _compare(self, partition: int, theirs: Sequence[Link], head: int) -> None:
        """Raises LinksDiffer unless what is here is the same, or went later here or there."""
        digests: dict[int, bytes] = {}
        kept: dict[int, Kept] = {}
        seals: dict[int, Seal] = {}
        for own in self._own(partition, _first_number(theirs[0]) - 1, last_number(theirs[-1])):
            match own:
                case Kept():
                    kept[own.number] = own
                case Gone():
                    digests[own.number] = own.digest
                case Anchor():
                    digests.update(_digests(own))
                case Seal():
                    seals[own.number] = own
                case Damaged():
                    raise LinksDiffer(f"position {(partition, own.first)} cannot be read here: {own.why}")
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
                    same = self._go_too(partition, {link.number: link.digest}, kept, digests, link)
                case Anchor():
                    numbers = dict.fromkeys(range(link.first, min(link.last, head) + 1), b"")
                    numbers |= {n: digest for n, digest in _digests(link).items() if n <= head}
                    same = self._go_too(partition, numbers, kept, digests, None)
                case Damaged():
                    same = False
            if not same:
                raise LinksDiffer(
                    f"position {(partition, _first_number(link))} is here already, and is not what is to be "
                    "loaded"
                )

    def _go_too(
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
        there = [number for number in gone if number in kept]
        if there:
            places = [partition << PARTITION_SHIFT | number for number in there]
            why = None if erased is None else (erased.by, erased.why)
            at_us = self._ledger.last_us if erased is None else erased.gone_us
            remove(self._connection, self._ledger, places, at_us, erased=why)
        return True

    def _own(self, partition: int, after: int, last: int) -> Iterator[Link]:
        while after < last:
            page = linking.links(self._connection, partition, after, _PAGE)
            if not page:
                return
            yield from page
            after = last_number(page[-1])


def _first_number(link: Link) -> int:
    return link.first if isinstance(link, Anchor | Damaged) else link.number


def _digests(anchor: Anchor) -> dict[int, bytes]:
    """Empty for a whole segment."""
    step = chain.DIGEST_BYTES
    return {
        anchor.first + at // step: anchor.digests[at : at + step]
        for at in range(0, len(anchor.digests), step)
    }
