"""The text index as the store uses it: what is to be indexed next, what was indexed, and which calls hold a
phrase.

What is next: calls that were erased leave the index before anything else is done; then new calls; and between
them, or when there are none, shards of an older version, and those of which retention has left little.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import structlog

from bus.clock import Clock
from bus.errors import Unavailable
from schemas.request_vault import ModelState, Position
from services.calls.query import Words
from services.request_vault.domain.recording import to_us
from services.request_vault.store.port import CallText, LateText, TextSource, TextStep
from services.request_vault.store.sqlite.ledger import Ledger
from services.request_vault.store.sqlite.places import PARTITION_SHIFT, place_of, position_of
from services.request_vault.store.sqlite.readers import Readers
from services.request_vault.store.sqlite.text import finding, late, shards, sources, writing
from services.request_vault.store.sqlite.text.file import TextFile
from services.request_vault.store.sqlite.text.schema import WORDS_VERSION
from services.request_vault.store.sqlite.text.shards import Range, Shard, State
from services.request_vault.store.sqlite.text.sources import Source

TEXT = "text"
"""The index's name among the read models."""

TEND_S = 1.0
GIVE_BACK_PAGES = 512
_NEW = 0
"""The target of a step: new calls; else the number of the shard that is being built."""

# Of a table that was dropped before, and after, its statement began to be prepared.
_GONE = ("no such table", "vtable constructor failed")

_log = structlog.get_logger("request_vault")


class TextIndex:
    """Made by `open`. One task indexes (`unindexed`, `index_texts`, ...); any number of threads look up
    (`reach`, `places`)."""

    def __init__(self, path: Path, readers: Readers, ledger: Callable[[], Ledger], clock: Clock) -> None:
        self._file = TextFile(path)
        self._readers = readers  # of the log
        self._ledger = ledger
        self._clock = clock
        self._passed: dict[tuple[int, int], int] = {}  # by file and partition: places behind without calls
        self._erased: set[int] = set()  # shards that hold erased calls
        self._source: Source | None = None  # of the step that was given last, and the file it was for
        self._source_of = 0
        self._tombs_checked = False
        self._log_emptied = True
        self._free_of_erased = asyncio.Event()
        self._gone: dict[int, int] = {}  # calls of a shard that are in the log no more
        self._uncounted: list[int] = []
        self._tended_at = clock.monotonic()
        self._went_on = asyncio.Event()
        self._new_first = True

    @classmethod
    async def open(
        cls, path: Path, readers: Readers, ledger: Callable[[], Ledger], clock: Clock
    ) -> TextIndex:
        """Never fails: an index that cannot be used is built anew, or says later why it cannot."""
        index = cls(path, readers, ledger, clock)
        try:
            proofs: list[tuple[int, bytes]] = []
            await index._file.run(
                lambda connection, state: proofs.extend(
                    connection.execute("SELECT proven, digest FROM progress WHERE proven > 0").fetchall()
                )
            )
            reach = index._file.state.reach
            if not await readers.run(lambda connection: sources.is_of(connection, reach, proofs)):
                await index._file.begin_anew("it is of another log")
        except Unavailable as error:
            _log.error("the text index cannot be used; calls are not found by their words", error=str(error))
        return index

    async def close(self) -> None:
        await self._file.close()

    def reach(self, partition: int) -> int:
        """`Texts.reach`."""
        start = partition << PARTITION_SHIFT
        passed = self._passed.get((self._file.generation, partition), start)
        return max(passed, self._file.state.reach.get(partition, start))

    def places(
        self, phrases: Sequence[Words], bucket: str, first: int, before: int, most: int, *, newest_first: bool
    ) -> list[int]:
        """`Texts.places`."""
        state = self._file.state
        if bucket not in state.buckets:
            return []

        def find(state: State) -> list[int]:
            number = state.buckets.get(bucket)
            if number is None:
                return []
            ours = state.shards.get(first >> PARTITION_SHIFT, ())
            match = finding.match_of(phrases, number)
            return finding.find(connection, ours, match, first, before, most, newest_first)

        with self._file.reading() as connection:
            try:
                return find(state)
            except sqlite3.OperationalError as error:
                if not str(error).startswith(_GONE):
                    raise
            # One of them has just been built anew: the shards as the file has them, all as of one moment.
            connection.execute("BEGIN")
            try:
                return find(shards.load(connection))
            finally:
                connection.execute("COMMIT")

    def behind(self) -> int:
        """`Store.texts_behind`."""
        numbers = self._ledger().numbers
        return sum(
            number - position_of(self.reach(partition))[1]
            for partition, number in enumerate(numbers)
            if partition > 0
        )

    def recheck(self) -> None:
        """Calls were erased."""
        self._tombs_checked = False
        self._free_of_erased.clear()

    async def purged(self) -> None:
        """`Store.texts_purged`."""
        await self._free_of_erased.wait()

    async def unindexed(self, limit: int) -> TextStep | None:
        """`Store.unindexed`."""
        if self._file.damaged:
            await self._file.run(lambda connection, state: None)
        await self._look_for_erased()
        if (span := shards.covering(self._file.state, sorted(self._erased))) is not None:
            return await self._next_of(span, limit)
        await self._tend()
        self._new_first = not self._new_first or self.behind() > 2 * limit
        if self._new_first and (step := await self._next_new(limit)) is not None:
            return step
        if (step := await self._next_rebuilt(limit)) is not None:
            return step
        return None if self._new_first else await self._next_new(limit)

    async def index(self, step: TextStep, through: Position, texts: Sequence[CallText]) -> None:
        """`Store.index_texts`."""
        source, place = self._source, place_of(through)
        whole = source is not None and source.through == place == place_of(step.through)
        erased = source.erased if source is not None and whole else 0
        digest = source.digest if source is not None and whole else None
        after = self.reach(place >> PARTITION_SHIFT)

        def put(connection: sqlite3.Connection, state: State) -> None:
            if self._file.generation != self._source_of:
                return
            named = writing.name_buckets(connection, state, texts)
            if step.target == _NEW:
                proof = None if digest is None else (place, digest)
                writing.add(connection, named, after, place, texts, erased, proof)
            elif state.building is not None and state.building.number == step.target:
                writing.build(connection, named, state.building, place, texts, erased)

        replaced = () if step.target == _NEW else self._replaced()
        await self._file.run(put)
        self._went_on.set()
        if replaced and self._file.state.building is None:
            if self._erased.intersection(replaced):
                self._log_emptied = False
                self.recheck()
            self._erased.difference_update(replaced)

    async def late(self, after: Position | None, limit: int) -> tuple[LateText, ...]:
        """`Store.late_texts`."""
        now_us = to_us(self._clock.now())
        found: list[LateText] = []
        start = 0 if after is None else place_of(after)
        await self._file.run(
            lambda connection, state: found.extend(late.read(connection, state, start, limit, now_us))
        )
        return tuple(found)

    async def sources(self, positions: Sequence[Position]) -> tuple[TextSource, ...]:
        """`Store.text_sources`."""
        places = [place_of(position) for position in positions]
        return await self._readers.run(
            lambda connection: sources.calls_at(connection, self._ledger().generations, places)
        )

    async def replace(self, texts: Sequence[CallText]) -> None:
        """`Store.replace_texts`."""

        def put(connection: sqlite3.Connection, state: State) -> None:
            writing.replace(connection, writing.name_buckets(connection, state, texts), texts)

        await self._file.run(put)

    def model(self) -> ModelState:
        current = total = 0
        for shard in self._file.state.all():
            total += shard.calls
            current += shard.calls if shard.version == WORDS_VERSION else 0
        state: Literal["ready", "rebuilding"] = "ready" if current == total else "rebuilding"
        return ModelState(TEXT, WORDS_VERSION, state, current, total)

    async def rebuild(self) -> ModelState:
        """Build every shard anew, one after the other; each answers until the new one does. Unlike other
        models', it is built by the task that indexes: asked again, this waits until that has come further."""
        if self.model().state == "ready":
            await self._file.run(lambda connection, state: writing.outdate(connection))
        else:
            self._went_on.clear()
            await self._went_on.wait()
        return self.model()

    def size_bytes(self) -> int:
        return self._file.size_bytes()

    async def _look_for_erased(self) -> None:
        if not self._tombs_checked:
            self._tombs_checked = True
            state = self._file.state
            building = state.building
            known = [
                *state.all(),
                *(() if building is None or building.last < building.first else [building]),
            ]
            counts = await self._readers.run(
                lambda connection: sources.tombstones(connection, [(each.first, each.last) for each in known])
            )
            wrong = {each.number for each, count in zip(known, counts, strict=True) if count != each.erased}
            if building is not None and building.number in wrong:
                wrong.remove(building.number)
                await self._file.run(writing.abandon)
            self._erased = wrong
        if self._erased or self._free_of_erased.is_set():
            return
        if not self._log_emptied:
            emptied: list[bool] = []
            await self._file.run(lambda connection, state: emptied.append(writing.empty_log(connection)))
            self._log_emptied = emptied[0]
        if self._log_emptied and self._tombs_checked:
            self._free_of_erased.set()

    async def _next_of(self, span: Range, limit: int) -> TextStep | None:
        """What the shard that takes the place of those in `span` lacks."""
        building = self._file.state.building
        if building is None or not (building.first <= span.first and span.until <= building.until):
            await self._file.run(lambda connection, state: writing.begin(connection, state, span))
            building = self._file.state.building
        return None if building is None else await self._next_built(building, limit)

    async def _next_rebuilt(self, limit: int) -> TextStep | None:
        state = self._file.state
        if state.building is not None:
            return await self._next_built(state.building, limit)
        span = shards.outdated(state) or shards.thin(state, self._gone)
        return None if span is None else await self._next_of(span, limit)

    async def _next_built(self, building: Shard, limit: int) -> TextStep:
        source = await self._read(building.last, building.until, limit)
        return TextStep(building.number, position_of(source.through), source.calls, more=True)

    async def _next_new(self, limit: int) -> TextStep | None:
        for partition, number in enumerate(self._ledger().numbers):
            after = self.reach(partition)
            if partition == 0 or position_of(after)[1] >= number:
                continue
            source = await self._read(after, None, limit)
            if source.calls or source.erased:
                return TextStep(_NEW, position_of(source.through), source.calls, source.more)
            self._passed[self._source_of, partition] = source.through
        return None

    async def _read(self, after: int, until: int | None, limit: int) -> Source:
        self._source_of = self._file.generation
        self._source = source = await self._readers.run(
            lambda connection: sources.calls_between(
                connection, self._ledger().generations, after, until, limit
            )
        )
        return source

    def _replaced(self) -> tuple[int, ...]:
        state = self._file.state
        if state.building is None:
            return ()
        return tuple(shard.number for shard in state.replaced_by(state.building))

    async def _tend(self) -> None:
        """Now and then: one shard that is full is merged, what of one is still there is counted, and some
        pages are given back."""
        now = self._clock.monotonic()
        if now - self._tended_at < TEND_S:
            return
        self._tended_at = now
        known = {shard.number: shard for shard in self._file.state.all()}
        full = next((shard for shard in known.values() if shard.state == "full"), None)
        self._uncounted = self._uncounted or list(known)
        shard = known.get(self._uncounted.pop()) if self._uncounted else None
        if shard is not None:
            first, last = shard.first, shard.last
            live = await self._readers.run(
                lambda connection: sources.live_calls(connection, self._ledger().generations, first, last)
            )
            self._gone = {number: gone for number, gone in self._gone.items() if number in known}
            self._gone[shard.number] = shard.calls - live

        def put_in_order(connection: sqlite3.Connection, state: State) -> None:
            if full is not None:
                writing.merge(connection, full.number)
            writing.give_back(connection, GIVE_BACK_PAGES)

        await self._file.run(put_in_order)
