"""Putting links of another log onto the end of this one, at exactly their positions. Runs inside the writer's
transaction; called by the engine, and by `migrating`.

Each record is proved before it is put in, each seal against the chain that was computed here. What is here
already is compared (`domain.comparing`). So loading again what was loaded before, in part or whole, changes
nothing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from bus import codec
from bus.errors import BusError
from schemas.traffic_gateway import CallCaptured
from services.request_vault.domain.calls import call_entry
from services.request_vault.domain.comparing import Comparing, Going, LinksDiffer, New, Outcome, Run, check
from services.request_vault.domain.cursors import Vector
from services.request_vault.domain.links import Gone, Identity, Kept, Link, Seal, last_number
from services.request_vault.domain.marking import change_of
from services.request_vault.domain.recording import content_hash
from services.request_vault.store.sqlite import linking
from services.request_vault.store.sqlite.additions import Additions
from services.request_vault.store.sqlite.known import Known
from services.request_vault.store.sqlite.ledger import Ledger
from services.request_vault.store.sqlite.places import PARTITION_SHIFT
from services.request_vault.store.sqlite.removing import insert_anchors, insert_tombstones, remove
from services.request_vault.store.sqlite.rows import insert_rows

_SEEN_WIDTH = 7
_PAGE = 500


def load(
    connection: sqlite3.Connection, ledger: Ledger, links: Sequence[Link], loaded_to: Vector | None = None
) -> None:
    """`Store.load`."""
    check(links, ledger.partitions)
    loading = _Loading(connection, ledger)
    for partition in sorted({link.partition for link in links}):
        theirs = [link for link in links if link.partition == partition]
        loading.partition(theirs, (loaded_to or {}).get(partition, 0))


class _Loading:
    def __init__(self, connection: sqlite3.Connection, ledger: Ledger) -> None:
        self._connection = connection
        self._ledger = ledger

    def partition(self, theirs: Sequence[Link], loaded_to: int) -> None:
        partition = theirs[0].partition
        head = self._ledger.numbers[partition]
        outcome = self._compare(partition, Comparing(theirs, head, loaded_to))
        for going in outcome.going:
            self._remove(partition, going)
        rows = Additions(self._connection, self._ledger, Known(self._ledger), 0, 0)
        try:
            for link in outcome.new:
                self._put(rows, partition, link)
            rows.insert()
        except sqlite3.IntegrityError as error:
            raise LinksDiffer(
                f"an event after {(partition, head)} is in this vault already, at another position ({error})"
            ) from error

    def _compare(self, partition: int, comparing: Comparing) -> Outcome:
        after, last = comparing.reach
        while after < last and (page := linking.links(self._connection, partition, after, _PAGE)):
            comparing.here(page)
            after = last_number(page[-1])
        return comparing.outcome()

    def _remove(self, partition: int, going: Going) -> None:
        places = [partition << PARTITION_SHIFT | number for number in going.numbers]
        if going.erased is None:
            remove(self._connection, self._ledger, places, self._ledger.last_us)
        else:
            why = (going.erased.by, going.erased.why)
            remove(self._connection, self._ledger, places, going.erased.gone_us, erased=why)

    def _put(self, rows: Additions, partition: int, link: New) -> None:
        ledger = self._ledger
        match link:
            case Seal():
                if rows.sealed(partition) != link:
                    raise LinksDiffer(f"the chain here differs from the seal at {(partition, link.number)}")
            case Kept():
                self._put_kept(rows, link)
            case Gone():
                ledger.numbers[partition] = link.number
                if link.category is not None:
                    ledger.categories[link.category] = link.number
                rows.chain_on(partition, link.number, link.digest)
                insert_tombstones(self._connection, [link])
                self._leave_identities(partition, () if link.identity is None else (link.identity,))
            case Run():
                self._put_run(rows, partition, link)

    def _put_kept(self, rows: Additions, link: Kept) -> None:
        try:
            event = codec.decode_event(link.event)
            is_call = link.category is None and event.type == CallCaptured.TYPE
            call = call_entry(event) if is_call else None
            rows.put(link, event, content_hash(event), call, change_of(event, link.category))
        except BusError as error:
            position = (link.partition, link.number)
            raise LinksDiffer(f"the record to be loaded at {position} cannot be read: {error}") from error
        self._ledger.tick(link.recorded_us)

    def _put_run(self, rows: Additions, partition: int, run: Run) -> None:
        ledger, anchor = self._ledger, run.anchor
        for number, digest in enumerate(run.digests, run.first):
            ledger.numbers[partition] = number
            rows.chain_on(partition, number, digest)
        if not run.digests:
            ledger.numbers[partition] = anchor.last
            rows.seal(partition, anchor.last, run.running)
        base = partition << PARTITION_SHIFT
        self._connection.execute(
            "DELETE FROM anchor WHERE place BETWEEN ? AND ?", (base | anchor.first, base | anchor.last)
        )
        insert_anchors(self._connection, [anchor])
        self._leave_identities(partition, anchor.identities)

    def _leave_identities(self, partition: int, identities: Sequence[Identity]) -> None:
        flat: list[object] = []
        for each in identities:
            place = partition << PARTITION_SHIFT | each.number
            flat += (each.id, each.source, place, each.content, each.gone_us, each.time_us, each.checksum)
        insert_rows(self._connection, "seen", _SEEN_WIDTH, flat)
