from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bus.rabbitmq.settling import NOTHING, Ledger, Settlement


def taken(count: int) -> Ledger:
    ledger = Ledger()
    for tag in range(1, count + 1):
        ledger.take(tag)
    return ledger


def test_what_is_settled_in_order_is_acknowledged_together() -> None:
    ledger = taken(4)
    for tag in (1, 2, 3):
        ledger.done(tag)
    assert ledger.settle(singly=False) == Settlement(3, (), ())
    assert ledger.settle(singly=False) == NOTHING
    assert ledger.in_hand == 1


def test_the_acknowledgement_stops_before_what_is_in_hand() -> None:
    ledger = taken(4)
    for tag in (1, 3, 4):
        ledger.done(tag)
    assert ledger.settle(singly=False) == Settlement(1, (), ())
    ledger.done(2)
    assert ledger.settle(singly=False) == Settlement(4, (), ())


def test_a_slow_delivery_does_not_keep_those_behind_it() -> None:
    ledger = taken(4)
    for tag in (2, 4):
        ledger.done(tag)
    assert ledger.out_of_order == 2
    assert ledger.settle(singly=True) == Settlement(0, (2, 4), ())
    ledger.done(1)
    assert ledger.settle(singly=True) == Settlement(1, (), ())
    ledger.done(3)
    assert ledger.settle(singly=True) == Settlement(3, (), ())


def test_what_is_given_back_is_not_acknowledged_with_the_others() -> None:
    ledger = taken(3)
    ledger.give_back(2)
    ledger.done(1)
    ledger.done(3)
    assert ledger.settle(singly=False) == Settlement(1, (), (2,))
    assert ledger.settle(singly=False) == Settlement(3, (), ())


class _Broker:
    """The rules of AMQP for one channel, as far as they concern settling."""

    def __init__(self, count: int) -> None:
        self.unsettled = set(range(1, count + 1))
        self.acknowledged: set[int] = set()
        self.returned: set[int] = set()

    def hear(self, settlement: Settlement) -> None:
        if settlement.up_to:
            assert settlement.up_to in self.unsettled, "an unknown tag closes the channel"
            these = {tag for tag in self.unsettled if tag <= settlement.up_to}
            self.unsettled -= these
            self.acknowledged |= these
        for tags, into in ((settlement.singly, self.acknowledged), (settlement.back, self.returned)):
            for tag in tags:
                assert tag in self.unsettled, "an unknown tag closes the channel"
                self.unsettled.discard(tag)
                into.add(tag)


@given(st.data())
def test_the_broker_hears_exactly_what_was_settled(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 12))
    ledger, broker = taken(count), _Broker(count)
    order = data.draw(st.permutations(range(1, count + 1)))
    settled, back = set(), set()
    for tag in order:
        if data.draw(st.booleans()):
            ledger.done(tag)
            settled.add(tag)
        else:
            ledger.give_back(tag)
            back.add(tag)
        if data.draw(st.booleans()):
            broker.hear(ledger.settle(singly=data.draw(st.booleans())))
        assert broker.acknowledged <= settled
        assert broker.returned <= back
        assert ledger.in_hand == count - len(settled) - len(back)
    broker.hear(ledger.settle(singly=True))
    broker.hear(ledger.settle(singly=True))
    assert broker.acknowledged == settled
    assert broker.returned == back
    assert not broker.unsettled
    assert ledger.settle(singly=True) == NOTHING
