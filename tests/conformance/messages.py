"""What travels in the conformance suite."""

from __future__ import annotations

import msgspec

from bus.message import Ask, Fact, Signal, Subscription


class Drawn(Fact, frozen=True):
    TYPE = "test.number.drawn"
    number: int
    padding: bytes = b""


class Moved(Fact, frozen=True):
    TYPE = "test.number.moved"
    ORDERED = True
    number: int


class CountRequested(Fact, frozen=True):
    TYPE = "test.count.requested"
    number: int


class Beat(Signal, frozen=True):
    TYPE = "test.heart.beat"
    number: int


class Sum(msgspec.Struct, frozen=True):
    total: int
    answered_by: str


class SumOf(Ask[Sum], frozen=True):
    TYPE = "test.sum.of"
    numbers: list[int]


NUMBERS = Subscription("numbers", ("test.number.*.*",))
LEDGER = Subscription("ledger", ("test.number.moved.*",), mode="ordered")
