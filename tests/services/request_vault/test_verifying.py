"""One pass over links that were recorded, and over the same with something wrong."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bus import codec
from bus.event import Event
from services.request_vault.domain import chain
from services.request_vault.domain.links import (
    Anchor,
    Damaged,
    End,
    Gone,
    Kept,
    Link,
    Seal,
    anchor,
    checksum_of,
    digest_of,
    identity_of,
    last_number,
)
from services.request_vault.domain.recording import category_of, stream_of, to_us
from services.request_vault.domain.verifying import Problem, Verifier
from tests.services.request_vault.samples import decision, order

SEGMENT = chain.SEGMENT


class Log:
    """A partition, as an engine would have recorded it."""

    def __init__(self, partition: int) -> None:
        self.partition = partition
        self.links: list[Link] = []
        self.number = 0
        self.running = self.chain = chain.START
        self._versions: dict[str, int] = {}
        self._categories: dict[str, int] = {}

    def add(self, event: Event, stream: str = "") -> None:
        stream = stream or stream_of(event)
        category = category_of(stream) if self.partition == 0 else None
        self.number += 1
        version = self._versions[stream] = self._versions.get(stream, 0) + 1
        prev = None
        if category is not None:
            prev, self._categories[category] = self._categories.get(category), self.number
        bare = Kept(
            self.partition, self.number, stream, version, category, prev, event.key, to_us(event.time), 7, 0,
            os.urandom(16), b"", codec.encode_event(event),
        )  # fmt: skip
        kept = signed(bare)
        self.links.append(kept)
        self.running = chain.run_on(self.running, kept.digest)
        if chain.ends_segment(self.number):
            self.chain = chain.sealed(self.chain, self.running)
            self.links.append(Seal(self.partition, self.number, self.running, self.chain))
            self.running = chain.START

    @property
    def end(self) -> End:
        return End(self.partition, self.number, self.running, self.chain)


def signed(kept: Kept) -> Kept:
    """A record that proves itself; the chain tells it from the one that was recorded."""
    kept = msgspec.structs.replace(kept, digest=digest_of(kept))
    return msgspec.structs.replace(kept, checksum=checksum_of(kept))


def proved(links: Sequence[Link], end: End) -> list[Problem]:
    verifier = Verifier(end.partition, end)
    problems = [problem for link in links for problem in verifier.feed(link)]
    return problems + verifier.finish()


def trimmed(links: Sequence[Link], gone: set[int]) -> list[Link]:
    """The links after retention took these numbers."""
    found: list[Link] = []
    run: list[Kept] = []

    def close() -> None:
        if run:
            identities = tuple(
                identity_of((1, each.number), codec.decode_event(each.event), 9) for each in run
            )
            bare = anchor(1, run[0].number, [each.digest for each in run], 9)
            found.append(msgspec.structs.replace(bare, identities=identities))
            run.clear()

    for link in links:
        if isinstance(link, Kept) and link.number in gone:
            run.append(link)
        else:
            close()
            found.append(link)
    close()
    return found


def erased(kept: Kept) -> Gone:
    identity = identity_of((kept.partition, kept.number), codec.decode_event(kept.event), 9)
    bare = Gone(
        kept.partition, kept.number, kept.stream, kept.version, kept.category, kept.prev, kept.digest, 9,
        "by", "why", 0, identity,
    )  # fmt: skip
    return msgspec.structs.replace(bare, checksum=checksum_of(bare))


def observations(count: int) -> Log:
    log = Log(1)
    for n in range(count):
        log.add(order(n, subject=f"s-{n % 7}"))
    return log


def decisions(count: int) -> Log:
    log = Log(0)
    for n in range(count):
        name = ("shop", "bank")[n % 2]
        log.add(codec.decode_event(decision(f"d-{n}")), f"{name}.thing-{n % 3}")
    return log


LONG = observations(2 * SEGMENT + 300)
DECIDED = decisions(40)


@pytest.mark.parametrize("count", [0, 1, SEGMENT - 1, SEGMENT, SEGMENT + 1])
def test_a_sound_log_has_no_problems(count: int) -> None:
    for log in (observations(count), decisions(count)):
        assert proved(log.links, log.end) == []


def test_what_came_after_the_end_was_told_is_no_problem() -> None:
    end = observations(10).end
    log = observations(5)
    early = log.end
    for n in range(5, 20):
        log.add(order(n))
    assert proved(log.links, early) == []
    assert proved(log.links, end) != []


@settings(max_examples=25, deadline=None)
@given(st.sets(st.integers(1, LONG.number)), st.sets(st.integers(1, LONG.number), max_size=20))
def test_a_log_that_lost_records_by_rule_has_no_problems(gone: set[int], erasures: set[int]) -> None:
    links = [
        erased(link) if isinstance(link, Kept) and link.number in erasures else link for link in LONG.links
    ]
    assert proved(trimmed(links, gone - erasures), LONG.end) == []


@pytest.mark.parametrize("whole", [(1, SEGMENT), (SEGMENT + 1, 2 * SEGMENT), (1, 2 * SEGMENT)])
def test_whole_segments_that_went_are_proved_by_their_seals(whole: tuple[int, int]) -> None:
    links = trimmed(LONG.links, set(range(whole[0], whole[1] + 1)))
    assert any(isinstance(link, Anchor) and not link.digests for link in links)
    assert proved(links, LONG.end) == []
    for at, link in enumerate(links):
        if isinstance(link, Seal):
            wrong = [*links[:at], msgspec.structs.replace(link, running=bytes(32)), *links[at + 1 :]]
            assert proved(wrong, LONG.end)[0].position == (1, link.number)


def test_a_run_that_was_joined_while_the_log_was_read_is_no_problem() -> None:
    later = trimmed(LONG.links, set(range(1, SEGMENT + 1)))
    assert proved([*LONG.links[:500], *later], LONG.end) == []
    part = trimmed(LONG.links, set(range(300, 801)))
    joined = [link for link in part if last_number(link) > 500]
    assert proved([*LONG.links[:500], *joined], LONG.end) == []


def replaced(position: int, **change: object) -> Callable[[list[Link]], None]:
    def do(links: list[Link]) -> None:
        links[position] = msgspec.structs.replace(links[position], **change)

    return do


def resigned(position: int, **change: object) -> Callable[[list[Link]], None]:
    """Somebody who knows the format changed a record, and its checksum and digest with it."""

    def do(links: list[Link]) -> None:
        changed = msgspec.structs.replace(links[position], **change)
        assert isinstance(changed, Kept)
        links[position] = signed(changed)

    return do


OTHER_EVENT = codec.encode_event(order(5, subject="s-1", key="us"))


@pytest.mark.parametrize(
    ("what", "number"),
    [
        (replaced(41, event=OTHER_EVENT), 42),
        (replaced(41, salt=bytes(16)), 42),
        (replaced(41, digest=bytes(32)), 42),
        (replaced(41, checksum=1), 42),
        (replaced(41, stream="shop.order-x"), 42),
        (replaced(41, version=99), 42),
        (replaced(41, recorded_us=8), 42),
        (replaced(41, prev=3), 42),
        (replaced(41, key="us"), 42),
        (replaced(41, time_us=1), 42),
        (replaced(41, event=b"\xc1"), 42),
        (resigned(41, recorded_us=8), SEGMENT),
        (lambda links: links.pop(41), 42),
        (lambda links: links.insert(41, links[40]), 41),
        (lambda links: links.__setitem__(slice(41, 43), links[42:40:-1]), 42),
        (lambda links: links.__delitem__(slice(41, 1500)), 42),
        (lambda links: links.pop(SEGMENT), SEGMENT),
        (replaced(SEGMENT, running=bytes(32)), SEGMENT),
        (replaced(SEGMENT, chain=bytes(32)), SEGMENT),
        (lambda links: links.insert(41, Seal(1, 41, bytes(32), bytes(32))), 41),
        (lambda links: links.pop(), 2 * SEGMENT + 300),
        (lambda links: links.__delitem__(slice(50, None)), 51),
        (lambda links: links.__setitem__(41, Damaged(1, 42, 42, "no page")), 42),
        (replaced(-1, recorded_us=8), 2 * SEGMENT + 300),
        (resigned(-1, recorded_us=8), 2 * SEGMENT + 300),
        (replaced(41, partition=2), 41),
    ],
)  # fmt: skip
def test_whatever_was_changed_is_named_by_its_position(
    what: Callable[[list[Link]], object], number: int
) -> None:
    links = list(LONG.links)
    what(links)
    assert proved(links, LONG.end)[0].position == (1, number)


@pytest.mark.parametrize(
    ("what", "number"),
    [
        (resigned(7, version=9), 8),
        (resigned(7, prev=5), 8),
        (resigned(7, stream="bank.thing-new", version=2), 8),
        (lambda links: links.__setitem__(7, anchor(0, 8, [links[7].digest], 9)), 8),
    ],
)
def test_decisions_keep_their_versions_and_their_prev(
    what: Callable[[list[Link]], object], number: int
) -> None:
    links = list(DECIDED.links)
    what(links)
    assert proved(links, DECIDED.end)[0].position == (0, number)


def test_erased_decisions_keep_the_chain_of_prev_and_of_versions() -> None:
    links = [erased(link) if isinstance(link, Kept) and link.number % 3 else link for link in DECIDED.links]
    assert proved(links, DECIDED.end) == []


@pytest.mark.parametrize(
    "change",
    [
        {"digest": bytes(32)},
        {"by": "x"},
        {"why": ""},
        {"gone_us": 1},
        {"version": 5},
        {"stream": "shop.order-x"},
    ],
)
def test_what_is_left_of_an_erased_record_is_proved(change: dict[str, object]) -> None:
    links = list(LONG.links)
    kept = links[41]
    assert isinstance(kept, Kept)
    links[41] = msgspec.structs.replace(erased(kept), **change)
    assert proved(links, LONG.end)[0].position == (1, 42)


@pytest.mark.parametrize(
    "change", [{"id": "x"}, {"content": b"x"}, {"time_us": 1}, {"number": 43}, {"gone_us": 1}]
)
def test_the_identity_that_is_left_is_proved(change: dict[str, object]) -> None:
    links = trimmed(LONG.links, set(range(40, 45)))
    at, run = next((at, link) for at, link in enumerate(links) if isinstance(link, Anchor))
    changed = msgspec.structs.replace(run.identities[2], **change)
    links[at] = msgspec.structs.replace(run, identities=(changed,))
    assert [problem.position for problem in proved(links, LONG.end)] == [(1, changed.number)]


def test_an_anchor_over_a_segments_end_is_none() -> None:
    links = trimmed(LONG.links, set(range(40, 45)))
    at, run = next((at, link) for at, link in enumerate(links) if isinstance(link, Anchor))
    links[at] = msgspec.structs.replace(run, last=SEGMENT + 3)
    assert proved(links, LONG.end)[0].position == (1, 40)


def test_behind_what_is_damaged_the_rest_is_proved() -> None:
    links = list(LONG.links)
    links[41] = Damaged(1, 42, 42, "no page")
    later = links[SEGMENT + 500]
    assert isinstance(later, Kept)
    links[SEGMENT + 500] = msgspec.structs.replace(later, recorded_us=8)
    assert [problem.position for problem in proved(links, LONG.end)] == [
        (1, 42), (1, later.number), (1, later.number),
    ]  # fmt: skip


@pytest.mark.parametrize("end", [End(1, 0, bytes(32), b"x" * 32), End(1, 0, b"x" * 32, bytes(32))])
def test_an_empty_partition_has_no_chain(end: End) -> None:
    assert [problem.position for problem in proved([], end)] == [(1, 0)]
