"""What the state machine takes away, and what is said of calls so that it may not be: marks, retention,
erasure, and the rebuild of read models meanwhile. `test_machine.py` adds the writing.
"""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from bus.message import Fact
from schemas.request_vault import ANY_VERSION
from services.request_vault.domain.recording import to_us
from services.request_vault.store.port import Scope, Selection
from tests.conformance.vault import moves
from tests.conformance.vault.model import Appending, Entry, Model, Operation, Write
from tests.conformance.vault.reading_machine import ReadingMachine

KEYS = st.sampled_from((None, "eu", "us", "asia", *moves.BUCKETS))
EVERYTHING = 500


class RemovingMachine(ReadingMachine):
    """said: how many marks were made. changed: whether anything was, since the store was opened."""

    said = 0
    changed = False

    def do(self, operation: Operation) -> None:
        """Do it to the store and to the model, and compare."""
        raise NotImplementedError

    @precondition(lambda self: any(entry.is_call for entry in self.model.observations()))
    @rule(data=st.data(), what=moves.says)
    def mark(self, data: st.DataObject, what: type[Fact]) -> None:
        """A call that is there, as the vault's own handlers see to."""
        calls = [entry.event.subject for entry in self.model.observations() if entry.is_call]
        id = data.draw(st.sampled_from(sorted(filter(None, calls))))
        self.said += 1
        event = moves.said(what, int(id.removeprefix("o-")), f"said-{self.said}", self.clock.at_s)
        self.do(Appending((Write(f"vault.call-{id}", ANY_VERSION, (event,)),)))

    @rule(
        key=KEYS,
        ago_s=st.none() | st.sampled_from((0, 1, 30)),
        keeps=st.tuples(*[st.sampled_from((None, 0, 0, 3, 10))] * 2),
        keep_bytes=st.none() | st.just(4000),
        most=st.integers(1, 6) | st.just(EVERYTHING),
    )
    def trim(
        self,
        key: str | None,
        ago_s: int | None,
        keeps: tuple[int | None, int | None],
        keep_bytes: int | None,
        most: int,
    ) -> None:
        self.read_pages(
            Selection(), EVERYTHING, backwards=False
        )  # so that it is known when each was recorded
        before_us = None if ago_s is None else to_us(self.clock.now()) - ago_s * 1_000_000
        scope = Scope(key, before_us, *keeps, keep_bytes)
        self.expect_trimmed(scope, most, too_much(self.model, scope, self.recorded_us)[:most])

    @rule(key=st.sampled_from((None, *moves.BUCKETS)), ago_s=st.sampled_from((-1, 0, 30)))
    def trim_deleted(self, key: str | None, ago_s: int) -> None:
        before_us = to_us(self.clock.now()) - ago_s * 1_000_000
        found = [
            entry
            for entry in self.model.observations(key)
            if (at_us := self.model.marks_of(entry).deleted_us) is not None and at_us < before_us
        ]
        self.expect_trimmed(Scope(key, deleted_before_us=before_us), EVERYTHING, found)

    def expect_trimmed(self, scope: Scope, most: int, expected: list[Entry]) -> None:
        trimmed = self.run(self.store.trim(scope, most))
        positions = sorted(entry.position for entry in expected)
        assert (trimmed.first, trimmed.last) == ((positions[0], positions[-1]) if positions else (None, None))
        assert (trimmed.records, trimmed.calls, trimmed.bytes) == (
            len(expected),
            sum(entry.is_call for entry in expected),
            sum(entry.event_bytes for entry in expected),
        )
        self.model.remove(expected, erased=False)
        self.changed = True
        if not trimmed.more:
            assert self.run(self.store.trim(scope, EVERYTHING)).records == 0

    @rule(
        bucket=st.sampled_from(moves.BUCKETS),
        numbers=st.lists(st.sampled_from(moves.CALLS), min_size=1, max_size=4, unique=True),
    )
    def erase(self, bucket: str, numbers: list[int]) -> None:
        ids = [f"o-{number}" for number in numbers]
        streams = {f"{area}.call-{id}" for area in ("traffic", "vault") for id in ids}
        kept = self.model.kept(entry for partition in self.model.log for entry in partition)
        expected = [entry for entry in kept if entry.event.key == bucket and entry.stream in streams]
        erased = self.run(self.store.erase(bucket, ids, by="somebody", why="asked to"))
        assert sorted(erased.calls) == sorted({e.event.subject or "" for e in expected if e.is_call})
        assert erased.records == len(expected)
        self.model.remove(expected, erased=True)
        self.changed = True

    @rule(
        name=st.sampled_from(("calls", "events")),
        most=st.integers(1, 20),
        steps=st.integers(1, 4) | st.just(EVERYTHING),
    )
    def rebuild(self, name: str, most: int, steps: int) -> None:
        """Some steps of it or the whole, and as many of removing what it leaves."""
        for _ in range(steps):
            state = self.run(self.store.rebuild(name, most))
            assert state.name == name
            assert 0 <= state.done <= state.of
            if state.state == "ready":
                break
        for _ in range(steps):
            if not self.run(self.store.drop_old(most)):
                break
        self.run(self.store.reclaim(most))


def too_much(model: Model, scope: Scope, recorded_us: dict[tuple[int, int], int]) -> list[Entry]:
    """What retention takes, the oldest first. What survives counts, too."""
    held = model.observations(scope.key)
    records = len(held) - (len(held) if scope.keep_records is None else scope.keep_records)
    calls = 0 if scope.keep_calls is None else sum(entry.is_call for entry in held) - scope.keep_calls
    size = 0 if scope.keep_bytes is None else sum(entry.event_bytes for entry in held) - scope.keep_bytes
    taken: list[Entry] = []
    for entry in sorted(held, key=lambda each: (recorded_us[each.position], each.position)):
        marks = model.marks_of(entry)
        if marks.starred or marks.share is not None:
            continue
        old = scope.before_us is not None and recorded_us[entry.position] < scope.before_us
        if not (old or records > 0 or calls > 0 or size > 0):
            break
        taken.append(entry)
        records -= 1
        calls -= entry.is_call
        size -= entry.event_bytes
    return taken
