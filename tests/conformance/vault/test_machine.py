"""Every engine, step by step beside the model (`model.py`): whatever order things happen in, a store answers
as plain lists and dictionaries do, and still does after it was closed and opened again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar, cast

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from bus import codec
from bus.errors import Refused, Reject
from bus.event import Stamp
from schemas.request_vault import ANY_VERSION, NO_STREAM, Appended, StreamWrite
from services.request_vault.domain.recording import to_us
from services.request_vault.store.port import Ingested
from tests.conformance.vault import moves
from tests.conformance.vault.model import (
    Appending,
    Ingest,
    Operation,
    Outcome,
    Recording,
    Refusal,
    Taken,
    Write,
    serial_order,
)
from tests.conformance.vault.removing_machine import RemovingMachine
from tests.conformance.vault.vaults import Clock, Open, stamped
from tests.effort import tries

T = TypeVar("T")

RUNS = tries(20)
STEPS = 30


class VaultMachine(RemovingMachine):
    """appended: every append that was tried, to be tried again."""

    def __init__(self, opens: Open, clock: Clock) -> None:
        super().__init__(opens, clock)
        self.appended: list[Appending] = []

    def teardown(self) -> None:
        with self.runner:
            try:
                self.check_all()
                assert self.run(self.store.check()) == []
            finally:
                self.close()

    # Writing.

    @rule(writes=moves.appendings)
    def append(self, writes: list[tuple[moves.Decided, str]]) -> None:
        self.do(self.appending(writes))

    @precondition(lambda self: self.appended)
    @rule(data=st.data(), expected=st.integers(-1, 5))
    def append_again(self, data: st.DataObject, expected: int) -> None:
        before = data.draw(st.sampled_from(self.appended))
        writes = tuple(Write(write.stream, expected, write.events) for write in before.writes)
        self.do(Appending(writes))

    @rule(operation=moves.recordings)
    def record(self, operation: Recording) -> None:
        self.do(operation)

    @rule(ahead=st.integers(-12, 3))
    def record_what_was_published(self, ahead: int) -> None:
        number = max(1, self.model.sizes[0] + ahead)
        event = moves.observed(4)
        if number <= self.model.sizes[0]:
            event = self.model.log[0][number - 1].event
        self.do(Recording((stamped(event, Stamp("shop.thing-a", 1, (0, number), None)), moves.observed(10))))

    @rule(writers=st.lists(moves.recordings | moves.appendings, min_size=2, max_size=4))
    def write_together(self, writers: list[Recording | list[tuple[moves.Decided, str]]]) -> None:
        operations = [
            writer if isinstance(writer, Recording) else self.appending(writer) for writer in writers
        ]
        answers = self.run(_together([self.perform(operation) for operation in operations]))
        answered = [
            (operation, _agrees_with(answer)) for operation, answer in zip(operations, answers, strict=True)
        ]
        found = serial_order(self.model, answered)
        assert found is not None, f"in no order do these operations give {answers}"
        self.model = found
        self.remember(operations)

    def appending(self, writes: list[tuple[moves.Decided, str]]) -> Appending:
        return Appending(tuple(self.write(*write) for write in writes))

    def write(self, events: moves.Decided, basis: str) -> Write:
        stream, decided = events
        version = self.model.version(stream)
        named = {"any": ANY_VERSION, "none": NO_STREAM, "behind": version - 1, "ahead": version + 1}
        return Write(stream, named.get(basis, version), decided)

    def do(self, operation: Operation) -> None:
        answer = self.run(self.perform(operation))
        expected = self.model.apply(operation)
        assert _agrees_with(answer)(expected), f"answered {answer}, expected {expected}"
        self.remember([operation])

    def remember(self, operations: Sequence[Operation]) -> None:
        self.changed = True
        self.appended += [each for each in operations if isinstance(each, Appending)]

    async def perform(self, operation: Operation) -> Taken | Refusal | Ingested:
        if isinstance(operation, Recording):
            return await self.store.record(operation.events)
        writes = [
            StreamWrite(write.stream, write.expected_version, tuple(map(codec.encode_event, write.events)))
            for write in operation.writes
        ]
        try:
            answers: Sequence[Appended]
            if len(writes) == 1:
                (only,) = writes
                answers = [await self.store.append(only.stream, only.expected_version, only.events)]
            else:
                answers = await self.store.append_all(writes)
        except Refused as error:
            return Refusal(error.reason)
        assert [answer.stream for answer in answers] == [write.stream for write in writes]
        return Taken(tuple((each.version, tuple(each.positions), each.repeated) for each in answers))

    # Time, the checkpoint, restarts.

    @rule(seconds=st.sampled_from((-5, 1, 1, 60)))
    def pass_time(self, seconds: int) -> None:
        self.clock.at_s += seconds
        self.latest_us = max(self.latest_us, to_us(self.clock.now()))

    @rule(number=st.integers(1, 20))
    def mark_published(self, number: int) -> None:
        number = min(number, self.model.sizes[0])
        for told in (number, number - 1):
            self.run(self.store.mark_published(told))
        self.model.published_to = max(self.model.published_to, number)

    @precondition(lambda self: self.changed)
    @rule()
    def restart(self) -> None:
        self.changed = False
        self.close()
        self.open()
        self.check_all()

    @invariant()
    def heads_agree(self) -> None:
        assert self.store.heads() == self.model.heads
        assert self.store.published_to() == self.model.published_to


async def _together(work: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    return await asyncio.gather(*work)


def _agrees_with(answer: Taken | Refusal | Ingested) -> Callable[[Outcome], bool]:
    """Whether an outcome is what the store answered."""

    def agrees(expected: Outcome) -> bool:
        if not isinstance(expected, Ingest) or not isinstance(answer, Ingested):
            return answer == expected
        refused = {index for index, _ in answer.refused}
        return (
            answer.recorded == expected.recorded
            and answer.recorded + answer.repeated + len(refused) == expected.events
            and expected.refused <= refused <= expected.refused | expected.either
            and all(isinstance(error, Reject) for _, error in answer.refused)
            and {bucket: tuple(told) for bucket, told in answer.calls.items()}
            == {bucket: (count, newest) for bucket, count, newest in expected.calls}
        )

    return agrees


@pytest.mark.slow
@pytest.mark.searches
@pytest.mark.timeout(tries(120))
def test_a_store_is_the_model_whatever_happens_in_whatever_order(
    new_vault: Callable[[], Open], clock: Clock
) -> None:
    def machine() -> VaultMachine:
        clock.at_s = 0.0
        return VaultMachine(new_vault(), clock)

    run_state_machine_as_test(
        cast(type[RuleBasedStateMachine], machine),  # it takes whatever makes one
        settings=settings(
            max_examples=RUNS,
            stateful_step_count=STEPS,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
