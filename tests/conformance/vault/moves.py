"""What the state machine may do next: events from small pools, so that repeats and conflicts are common.

An event is its number and a variant: the same number is the same identity, another variant other content.
Decisions and observations share streams (`shop.order-a`) and identities (`d-0-1`) on purpose.
"""

from __future__ import annotations

from hypothesis import strategies as st

from bus import codec
from bus.event import Event
from bus.message import Fact
from schemas.request_vault import (
    CallDeleted,
    CallRestored,
    CallShared,
    CallStarred,
    CallUnshared,
    CallUnstarred,
)
from tests.conformance.vault.model import Recording
from tests.services.request_vault.samples import (
    OrderPaid,
    OrderPlaced,
    ThingDecided,
    call,
    call_event,
    decision,
    event_of,
)

Decided = tuple[str, tuple[Event, ...]]
"""A stream, and what is to be appended to it."""

BUCKETS = ("7xzcnsgbwox2", "9abcdefghijk")
STREAMS = ("shop.thing-a", "shop.thing-b", "bank.account-x", "shop.order-a", "shop.order-b")
READ_STREAMS = (*STREAMS, "traffic.call-o-0", "vault.call-o-0", "vault.call-o-1")
CATEGORIES = ("shop", "bank", "vault", "nothing")
DECISIONS_PER_STREAM = 6
OBSERVATIONS = 48
CALLS = tuple(number for number in range(OBSERVATIONS) if number % 6 < 2)


def decided(stream: int, number: int, variant: int = 0) -> Event:
    """Decision `number` of those that belong to STREAMS[stream]."""
    name = f"d-{stream}-{number}"
    what = name if variant == 0 else f"another {name}"
    (event,) = codec.decode_batch(codec.join_batch([decision(name, what=what)]))
    return event


def observed(number: int, variant: int = 0) -> Event:
    """Observation `number`; by it a call, an order in a stream that decisions may want, an order of its own
    stream, a fact without a subject, or the identity of a decision."""
    key = ("eu", "us", "asia")[number % 3]
    name = f"o-{number}"
    correlation = f"o-{number % 2}" if number % 4 == 0 else None
    match number % 6:
        case 0 | 1:
            captured = call(name, bucket=BUCKETS[number % 4 // 2], status=200 + variant)
            return call_event(captured)
        case 2:
            fact = OrderPlaced(variant)
            return event_of(fact, name, key=key, subject="ab"[number % 4 // 2], correlation=correlation)
        case 3:
            return event_of(OrderPaid(variant), name, key=key, correlation=correlation)
        case 4:
            return event_of(OrderPlaced(variant), name, key=key, subject=name, correlation=correlation)
        case _:
            twin = f"d-{number % len(STREAMS)}-{number % DECISIONS_PER_STREAM}"
            what = twin if variant == 0 else "an impostor"
            return event_of(ThingDecided(what), twin, key="_", subject=twin)


def said(what: type[Fact], number: int, name: str, at_s: float) -> Event:
    """A decision about call `number`."""
    id, bucket = f"o-{number}", observed(number).key
    more = {"share": f"share of {id}"} if what is CallShared else {}
    return event_of(
        what(id=id, bucket=bucket, **more), name, key=bucket, subject=id, source="request_vault", at_s=at_s
    )


says = st.sampled_from(
    (
        CallStarred,
        CallStarred,
        CallStarred,
        CallUnstarred,
        CallShared,
        CallUnshared,
        CallDeleted,
        CallRestored,
    )
)

_variants = st.sampled_from((0, 0, 0, 0, 1))


@st.composite
def _recordings(draw: st.DrawFn) -> Recording:
    """Often with one of the batch's events twice, or another under its identity."""
    numbers = draw(st.lists(st.integers(0, OBSERVATIONS - 1), min_size=1, max_size=7))
    events = [observed(number, draw(_variants)) for number in numbers]
    if draw(st.booleans()):
        events.insert(draw(st.integers(0, len(events))), observed(numbers[0], draw(st.integers(0, 1))))
    return Recording(tuple(events))


recordings = _recordings()

bases = st.sampled_from(("right", "right", "any", "none", "behind", "ahead"))
"""What version an append expects, seen from the one that the stream has."""


@st.composite
def decisions(draw: st.DrawFn) -> Decided:
    """A stream and what to append to it: seldom decisions that belong to another, that are none, or twice the
    same."""
    stream = draw(st.integers(0, len(STREAMS) - 1))
    numbers = draw(
        st.lists(st.tuples(st.integers(0, DECISIONS_PER_STREAM - 1), _variants), min_size=0, max_size=4)
        if draw(st.integers(0, 9)) == 0
        else st.lists(
            st.tuples(st.integers(0, DECISIONS_PER_STREAM - 1), _variants),
            min_size=1,
            max_size=4,
            unique_by=lambda pair: pair[0],
        )
    )
    home = draw(st.integers(0, len(STREAMS) - 1)) if draw(st.integers(0, 5)) == 0 else stream
    return STREAMS[stream], tuple(decided(home, number, variant) for number, variant in numbers)


_one = st.tuples(decisions(), bases)

appendings: st.SearchStrategy[list[tuple[Decided, str]]] = st.lists(_one, min_size=1, max_size=1) | st.lists(
    _one, min_size=2, max_size=3, unique_by=lambda write: write[0][0]
)
"""What to append in one operation, to one stream or to several."""
