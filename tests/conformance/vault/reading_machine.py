"""What the state machine reads: every read of the port, compared with the model. `test_machine.py` adds the
writing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from bus.event import Event
from bus.topics import Matcher
from schemas.request_vault import Recorded
from services.request_vault.domain.calls import CallQuery
from services.request_vault.domain.recording import to_us
from services.request_vault.store.port import Selection, Store
from tests.conformance.vault import moves
from tests.conformance.vault.model import Entry, Model
from tests.conformance.vault.vaults import Clock, Open, decoded

T = TypeVar("T")

PARTITIONS = 2
LIMITS = st.integers(1, 7) | st.just(500)
AFTERS = st.integers(0, 3) | st.integers(0, 12)


class ReadingMachine(RuleBasedStateMachine):
    """One vault, one event loop, one model."""

    def __init__(self, opens: Open, clock: Clock) -> None:
        super().__init__()
        self.opens = opens
        self.clock = clock
        self.latest_us = to_us(clock.now())
        self.model = Model(PARTITIONS)
        self.recorded_us: dict[tuple[int, int], int] = {}
        self.runner = asyncio.Runner()
        self.open()

    # A store is opened and closed by one task, as it is in a service.

    def open(self) -> None:
        loop = self.runner.get_loop()
        ready: asyncio.Future[Store] = loop.create_future()
        self.closing = asyncio.Event()
        self.holder = loop.create_task(self._hold(ready))
        self.store = self.run(self._opened(ready))

    async def _hold(self, ready: asyncio.Future[Store]) -> None:
        async with self.opens(partitions=PARTITIONS) as store:
            ready.set_result(store)
            await self.closing.wait()

    async def _opened(self, ready: asyncio.Future[Store]) -> Store:
        await asyncio.wait((ready, self.holder), return_when=asyncio.FIRST_COMPLETED)
        if not ready.done():
            await self.holder
        return ready.result()

    def close(self) -> None:
        self.closing.set()
        self.run(_until(self.holder))

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    def check_all(self) -> None:
        for backwards in (False, True):
            self.read_pages(Selection(), 5, backwards)
        for stream in moves.READ_STREAMS:
            self.read_stream(stream, 2, 500)
        for category in moves.CATEGORIES:
            self.read_decisions(category, 1, 500)
        for bucket in moves.BUCKETS:
            self.search_calls(bucket, 3, 0, newer=False)
        self.check_usage()

    def check_usage(self) -> None:
        usage = {each.bucket: each for each in self.run(self.store.stats()).usage}
        observations = self.model.observations()
        assert usage.keys() == {entry.event.key for entry in observations}
        for key, used in usage.items():
            entries = self.model.observations(key)
            held = (len(entries), sum(e.is_call for e in entries), sum(e.event_bytes for e in entries))
            assert (used.records, used.calls, used.bytes) == held

    @rule(stream=st.sampled_from(moves.READ_STREAMS), after=AFTERS, limit=LIMITS)
    def read_stream(self, stream: str, after: int, limit: int) -> None:
        """In both directions from a version."""
        entries = self.model.stream(stream)
        page = self.run(self.store.read_stream(stream, after, limit))
        expected = [entry for entry in entries if entry.version > after][:limit]
        self.check_records(page.records, expected)
        assert page.next_after == (expected[-1].version if expected else after)
        assert page.head == self.model.version(stream)
        page = self.run(self.store.read_stream(stream, after, limit, backwards=True))
        expected = [entry for entry in entries[::-1] if not after or entry.version < after][:limit]
        self.check_records(page.records[::-1], expected[::-1])
        assert page.next_after == (expected[-1].version if expected else after)
        assert page.head == self.model.version(stream)

    @rule(category=st.sampled_from(moves.CATEGORIES), after=AFTERS, limit=LIMITS)
    def read_decisions(self, category: str, after: int, limit: int) -> None:
        """Of a category, and of all."""
        page = self.run(self.store.read_category(category, after, limit))
        expected = [e for e in self.model.category(category) if e.position[1] > after][:limit]
        self.check_records(page.records, expected)
        assert page.next_after == (expected[-1].position[1] if expected else after)
        assert page.head == self.model.heads.get(category, 0)
        page = self.run(self.store.read_decisions(after, limit))
        expected = [entry for entry in self.model.partition(0) if entry.position[1] > after][:limit]
        self.check_records(page.records, expected)
        assert page.head == self.model.sizes[0]

    @rule(
        selection=st.sampled_from(
            (
                Selection(),
                Selection(types=("shop.order.#",)),
                Selection(types=("traffic.call.captured", "shop.*.decided")),
                Selection(subject="a"),
                Selection(key="eu"),
                Selection(correlation="o-0"),
            )
        ),
        limit=LIMITS,
        backwards=st.booleans(),
    )
    def read_pages(self, selection: Selection, limit: int, backwards: bool) -> None:
        """Every page of the log from one end to the other; within a page and a partition, in order."""
        found: list[list[Recorded]] = [[] for _ in range(PARTITIONS + 1)]
        reached: dict[int, int] = {}
        more = True
        while more:
            page = self.run(self.store.read_log(selection, reached, limit, backwards=backwards))
            assert len(page.records) <= limit
            order = [(record.recorded_at, record.position) for record in page.records]
            assert order == sorted(order, reverse=backwards)
            for record in page.records:
                found[record.position[0]].append(record)
            assert page.reached != reached or not page.more, "a page that goes nowhere"
            reached, more = page.reached, page.more
        for number, records in enumerate(found):
            expected = self.model.partition(number, _matches(selection))
            self.check_records(records[::-1] if backwards else records, expected)

    @rule(bucket=st.sampled_from(moves.BUCKETS), limit=LIMITS, number=AFTERS, newer=st.booleans())
    def search_calls(self, bucket: str, limit: int, number: int, newer: bool) -> None:
        """Every page of a bucket's calls, from `number` on: the newer ones, or the older ones (0: all)."""
        query = CallQuery(bucket, limit=limit)
        calls = self.model.calls(bucket)
        if newer:
            expected = [entry for entry in calls if entry.position[1] > number]
        else:
            expected = [entry for entry in calls if not number or entry.position[1] < number][::-1]
        found: list[tuple[int, int]] = []
        more = True
        while more:
            ends = {"after": number} if newer else {"before": number or None}
            page = self.run(self.store.search_calls(query, **ends))
            assert len(page.calls) <= limit
            found += [call.position for call in page.calls]
            assert page.reached != number or not page.more, "a page that goes nowhere"
            more, number = page.more, page.reached
        assert found == [entry.position for entry in expected]

    @rule(number=st.sampled_from(moves.CALLS), deleted=st.booleans())
    def get_call(self, number: int, deleted: bool) -> None:
        found = self.run(self.store.get_call(f"o-{number}", None, deleted=deleted))
        calls = self.model.calls(moves.observed(number).key, deleted=deleted)
        expected = [entry for entry in calls if entry.event.subject == f"o-{number}"]
        assert (found.position if found else None) == (expected[0].position if expected else None)
        if found is not None:
            marks = self.model.marks_of(expected[0])
            told = found.marks
            said = (told.starred, told.share, told.deleted) if told else (False, None, False)
            assert said == (marks.starred, marks.share, marks.deleted_us is not None)

    def check_records(self, records: Sequence[Recorded], expected: Sequence[Entry]) -> None:
        assert [(r.position, r.stream, r.version, r.prev) for r in records] == [
            (e.position, e.stream, e.version, e.prev) for e in expected
        ]
        assert [decoded(record) for record in records] == [entry.event for entry in expected]
        for record in records:
            at_us = to_us(record.recorded_at)
            assert self.recorded_us.setdefault(record.position, at_us) == at_us <= self.latest_us
        times = [record.recorded_at for record in records]
        assert times == sorted(times)


async def _until(task: asyncio.Task[None]) -> None:
    await task


def _matches(selection: Selection) -> Callable[[Event], bool]:
    types = Matcher(selection.types) if selection.types else None
    return lambda event: (
        (types is None or types(event.type))
        and selection.subject in (None, event.subject)
        and selection.key in (None, event.key)
        and selection.correlation in (None, event.correlationid)
    )
