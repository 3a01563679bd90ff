"""What loading links does to what is here already, pair by pair, and for any two readings of one log."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.request_vault.domain import chain
from services.request_vault.domain.comparing import Comparing, LinksDiffer, Outcome, Run, check
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
    digests_of,
    last_number,
    with_trimmed,
)
from services.request_vault.domain.verifying import Verifier
from tests.services.request_vault.logs import (
    ERASED,
    PARTITION,
    RECORD,
    TRIMMED,
    State,
    erased,
    in_order,
    links_of,
    record,
    seal,
)

WHOLE = "trimmed whole"
STATES = [RECORD, ERASED, TRIMMED, WHOLE]
AT = 500
END = 1005


def compared(
    theirs: Sequence[Link], own: Sequence[Link], head: int, *, loaded_to: int = 0, page: int = 77
) -> Outcome:
    """As an engine asks for it."""
    check(theirs, 1)
    comparing = Comparing(theirs, head, loaded_to)
    after, last = comparing.reach
    found = [link for link in own if last_number(link) > after]
    while after < last and found:
        comparing.here(found[:page])
        after, found = last_number(found[page - 1 : page][0] if found[page:] else found[-1]), found[page:]
    return comparing.outcome()


def one_is(what: str) -> State:
    """A segment of records, but for number AT; or none of it left."""
    if what == WHOLE:
        return lambda number: TRIMMED if number <= chain.SEGMENT else RECORD
    return lambda number: what if number == AT else RECORD


@pytest.mark.parametrize("theirs", STATES)
@pytest.mark.parametrize("here", STATES)
def test_a_pair_of_one_log(here: str, theirs: str) -> None:
    own = links_of("a", END, one_is(here))
    outcome = compared(links_of("a", END + 5, one_is(theirs)), own, END)
    going = {number: each.erased for each in outcome.going for number in each.numbers}
    match here, theirs:
        case "record", "record":
            assert going == {}
        case "record", "erased":
            assert going == {AT: erased("a", AT)}
        case "record", "trimmed":
            assert going == {AT: None}
        case _, "trimmed whole" if here != WHOLE:
            left = range(1, chain.SEGMENT + 1) if here == RECORD else {*range(1, chain.SEGMENT + 1)} - {AT}
            assert going == dict.fromkeys(left)
        case (("erased" | "trimmed"), _):
            assert going == {}, "what went here stays as it is"
        case _:
            assert going == {}
    assert outcome.new == tuple(record("a", number) for number in range(END + 1, END + 6))


@pytest.mark.parametrize("theirs", STATES)
@pytest.mark.parametrize("here", STATES)
def test_a_pair_of_two_logs(here: str, theirs: str) -> None:
    """They differ in what is in question, and in nothing else that is compared before it."""
    other = links_of("b", chain.SEGMENT, one_is(theirs))
    own = links_of("a", chain.SEGMENT, one_is(here))
    if WHOLE not in (here, theirs):
        number = AT
        other = [link for link in other if not isinstance(link, Seal) and last_number(link) == AT]
        said = "is here already, and is not"
    else:
        number, said = chain.SEGMENT, "the chain here differs"
    with pytest.raises(LinksDiffer, match=rf"\({PARTITION}, {number}\)") as caught:
        compared(other, own, chain.SEGMENT)
    assert said in str(caught.value)


def test_a_record_is_compared_as_a_whole() -> None:
    own = [record("a", 1)]
    for change in (
        {"event": b"{}"},
        {"stream": "else"},
        {"category": "else"},
        {"recorded_us": 9},
        {"checksum": 1},
    ):
        with pytest.raises(LinksDiffer, match=r"\(1, 1\) is here already"):
            compared([msgspec.structs.replace(record("a", 1), **change)], own, 1)


@pytest.mark.parametrize("here", STATES)
def test_a_trimmed_segment_needs_its_seal(here: str) -> None:
    whole, sealed = links_of("a", chain.SEGMENT, one_is(WHOLE))
    own = links_of("a", chain.SEGMENT, one_is(here))
    for links in ([whole], [whole, record("a", 1001)], [whole, msgspec.structs.replace(sealed, number=2000)]):
        for head, there in ((chain.SEGMENT, own), (0, [])):
            with pytest.raises(LinksDiffer, match="with its seal"):
                compared(links, there, head)


@pytest.mark.parametrize("theirs", [RECORD, ERASED, TRIMMED])
def test_nothing_goes_on_behind_a_trimmed_segment_without_its_seal(theirs: str) -> None:
    own = links_of("a", 1000, one_is(WHOLE))
    other = [link for link in links_of("b", 1005, one_is(theirs)) if not isinstance(link, Seal)]
    with pytest.raises(LinksDiffer, match=r"\(1, 1\) is to be loaded with its seal"):
        compared(other, own, 1000)


@pytest.mark.parametrize(("loaded_to", "told"), [(0, 0), (599, 0), (600, 0), (0, 1), (0, 600)])
def test_a_trimmed_segment_over_a_part_of_it(loaded_to: int, told: int) -> None:
    """told: how many of its last records before the end here come right before it."""
    own = links_of("a", 600, one_is(RECORD))
    before = links_of("a", 600, one_is(RECORD), first=601 - told)
    links = [*before, *links_of("a", 1005, one_is(WHOLE))]
    if not told and loaded_to < 600:
        with pytest.raises(LinksDiffer, match=r"ends at position \(1, 600\).*cannot be told; load them into"):
            compared(links, own, 600, loaded_to=loaded_to)
        return
    outcome = compared(links, own, 600, loaded_to=loaded_to)
    assert [each.numbers for each in outcome.going] == [tuple(range(1, 601))]
    run, *others = outcome.new
    assert isinstance(run, Run)
    assert (run.first, run.digests, run.running) == (601, (), seal("a", 1000).running)
    assert (run.anchor.first, run.anchor.last, run.anchor.digests) == (1, 1000, b"")
    assert [each.number for each in run.anchor.identities] == list(range(601, 1001))
    assert others == [seal("a", 1000), *(record("a", number) for number in range(1001, 1006))]


def test_an_erasure_here_is_not_lost_to_a_trimmed_segment() -> None:
    own = links_of("a", 600, one_is(ERASED))
    with pytest.raises(LinksDiffer, match=r"\(1, 500\) was erased here.*into an empty vault"):
        compared(links_of("a", 1000, one_is(WHOLE)), own, 600, loaded_to=600)


def test_what_cannot_follow() -> None:
    links = links_of("a", 1005, one_is(RECORD))
    for head, wrong in (
        (0, links[1:3]),
        (0, [links[0], links[2]]),
        (5, [links[0], links[2]]),
        (5, [links[1], links[0]]),
        (0, [links[0], links[0]]),
        (0, [*links_of("a", 20, one_is(RECORD)), anchor(1, 30, [bytes(32)], 5)]),
        (0, [links[0], msgspec.structs.replace(seal("a", 1000), number=1)]),
        (0, [*links[:5], seal("a", 1000)]),
        (0, [seal("a", 1000)]),
    ):
        with pytest.raises(LinksDiffer, match="cannot follow"):
            compared(wrong, links[:head], head)


def test_a_record_that_does_not_prove_itself() -> None:
    for change in ({"checksum": 1}, {"salt": bytes(16)}, {"event": b"{}"}, {"digest": bytes(32)}):
        with pytest.raises(LinksDiffer, match=r"\(1, 1\) does not match"):
            compared([msgspec.structs.replace(record("a", 1), **change)], [], 0)


def test_what_can_be_loaded_nowhere() -> None:
    gone, short = erased("a", 1), anchor(1, 1, [bytes(32)], 5)
    long = msgspec.structs.replace(short, last=2)
    wide = msgspec.structs.replace(anchor(1, 990, [bytes(32)] * 10, 5), last=1001, digests=bytes(12 * 32))
    decided = msgspec.structs.replace(short, partition=0)
    for link, said in (
        (msgspec.structs.replace(record("a", 1), partition=2), "has 1 for observations"),
        (msgspec.structs.replace(record("a", 1), partition=-1), "has 1 for observations"),
        (Damaged(1, 3, 3, "torn"), r"\(1, 3\) cannot be read where it comes from: torn"),
        (msgspec.structs.replace(gone, by="somebody"), "match its checksum"),
        (long, "match its checksum"),
        (sound(long), "nothing that trimming leaves"),
        (sound(wide), "nothing that trimming leaves"),
        (sound(decided), "nothing that trimming leaves"),
    ):
        with pytest.raises(LinksDiffer, match=said):
            check([link], 1)


def sound(told: Anchor) -> Anchor:
    return msgspec.structs.replace(told, checksum=checksum_of(told))


def test_what_is_damaged_here() -> None:
    links = links_of("a", 3, one_is(RECORD))
    with pytest.raises(LinksDiffer, match=r"\(1, 2\) cannot be read here: torn"):
        compared(links, [links[0], Damaged(1, 2, 2, "torn"), links[2]], 3)
    with pytest.raises(LinksDiffer, match=r"\(1, 2\) is missing here"):
        compared(links, [links[0], links[2]], 3)


def test_what_was_read_twice_and_is_two_things() -> None:
    other = [(number, record("b", number).digest) for number in range(1, 8)]
    (joined,) = with_trimmed(1, [], other, 5)
    for before in (record("a", 1), erased("b", 1), anchor(1, 1, [record("a", 1).digest], 5)):
        with pytest.raises(LinksDiffer, match=r"\(1, 1\) is to be loaded twice"):
            compared([before, joined], [], 0)
    partly = anchor(1, 1, [other[0][1], other[1][1]], 5)
    with pytest.raises(LinksDiffer, match="cannot follow"):
        compared([partly, *with_trimmed(1, [], other[1:], 5)], [], 0)


# --- any two readings of one log


def put(own: Sequence[Link], head: int, outcome: Outcome) -> list[Link]:
    """What an engine has afterwards."""
    links: dict[int, Link] = {}
    anchors: list[Anchor] = []
    seals: list[Seal] = []
    for link in own:
        match link:
            case Anchor():
                anchors.append(link)
            case Seal():
                seals.append(link)
            case Kept() | Gone():
                links[link.number] = link
    trimmed = []
    for going in outcome.going:
        for number in going.numbers:
            kept = links.pop(number)
            assert isinstance(kept, Kept)
            if going.erased is None:
                trimmed.append((number, kept.digest))
            else:
                links[number] = going.erased
    anchors = with_trimmed(PARTITION, anchors, trimmed, 8)
    number = head
    for new in outcome.new:
        match new:
            case Run():
                assert new.first == number + 1
                assert len(new.digests) in (0, new.anchor.last - number)
                covers = range(new.anchor.first, new.anchor.last + 1)
                for each in anchors:
                    assert (each.first in covers) == (each.last in covers), "an anchor is cut in two"
                anchors = [each for each in anchors if each.first not in covers] + [new.anchor]
                number = new.anchor.last
                if chain.ends_segment(number):
                    seals.append(seal("a", number))
            case Seal():
                assert new.number == number
                assert new in seals
            case _:
                assert new.number == number + 1
                number = new.number
                links[number] = new
                if chain.ends_segment(number):
                    seals.append(seal("a", number))
    return in_order([*links.values(), *anchors, *seals])


def patterns() -> st.SearchStrategy[State]:
    """Runs of numbers that are there, were trimmed or erased, around the borders of segments."""
    borders = st.lists(
        st.sampled_from([2, 3, 300, 301, 600, 999, 1000, 1001, 1002, 1300, 2000, 2001]), max_size=5
    )
    kinds = st.lists(st.sampled_from([RECORD, TRIMMED, TRIMMED, ERASED]), min_size=6, max_size=6)
    return st.builds(_pattern, borders, kinds)


def _pattern(borders: list[int], kinds: list[str]) -> State:
    ordered = sorted(borders)
    return lambda number: kinds[sum(border <= number for border in ordered)]


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from([0, 1, 299, 300, 600, 999, 1000, 1001, 1400]),
    patterns(),
    patterns(),
    patterns(),
    st.sampled_from([0, 1, 300, 450, 600, 1000, 1200]),
    st.booleans(),
)
def test_what_is_put_together_is_one_log(
    head: int, here: State, before: State, later: State, turn: int, known: bool
) -> None:
    """Theirs is read in two steps, up to `turn` as it was `before`, then as it is `later`."""
    end = 1402

    def went(number: int) -> str:
        return before(number) if before(number) == ERASED else later(number)

    def at_first(number: int) -> str:
        return TRIMMED if before(number) == TRIMMED and went(number) == TRIMMED else RECORD

    own = links_of("a", head, here)
    first = [link for link in links_of("a", end, at_first) if last_number(link) <= turn]
    reached = max(map(last_number, first), default=0)
    second = [link for link in links_of("a", end, went) if last_number(link) > reached]
    try:
        outcome = compared([*first, *second], own, head, loaded_to=head if known else 0)
    except LinksDiffer as error:
        if _is_whole_over(head, [*first, *second]) and (
            "cannot be told" in str(error) or "erased here" in str(error)
        ):
            return
        raise
    result = put(own, head, outcome)
    running = chain.START
    for number in range(chain.segment_of(end)[0], end + 1):
        running = chain.run_on(running, record("a", number).digest)
    verifier = Verifier(PARTITION, End(PARTITION, end, running, seal("a", 1000).chain))
    problems = [problem for link in result for problem in verifier.feed(link)]
    # The versions of the streams are not theirs: each event has a stream of its own.
    assert problems + list(verifier.finish()) == []
    standing = {number for link in result if isinstance(link, Anchor) for number in _numbers(link)}
    assert len(standing) == sum(len(_numbers(link)) for link in result if isinstance(link, Anchor))
    assert not standing & {link.number for link in result if isinstance(link, Kept | Gone)}
    runs = [link for link in result if isinstance(link, Anchor)]
    starts = {run.first for run in runs if not chain.begins_segment(run.first)}
    assert not starts & {run.last + 1 for run in runs}, "neighbours that were not joined"
    assert all(run.digests == b"" or digests_of(run)[run.first] for run in runs)


def _is_whole_over(head: int, links: Sequence[Link]) -> bool:
    """Whether the log here ends in a segment of which only a seal is there."""
    return any(
        isinstance(link, Anchor) and not link.digests and link.first <= head < link.last for link in links
    )


def _numbers(run: Anchor) -> range:
    return range(run.first, run.last + 1)
