"""What schemas build on."""

from __future__ import annotations

from typing import TypeVar

import msgspec
import pytest

from bus.message import Ask, Fact

R = TypeVar("R")


class Stock(msgspec.Struct, frozen=True):
    count: int


class StockOf(Ask[Stock], frozen=True):
    TYPE = "shop.stock.of"
    item: str


class Nothing(Ask[None], frozen=True):
    TYPE = "shop.nothing.asked"


class Unnamed(Ask[R], frozen=True):
    TYPE = "shop.unnamed.asked"


class OrderPlaced(Fact, frozen=True):
    TYPE = "shop.order.placed"
    id: str


def test_an_ask_knows_the_type_of_its_reply() -> None:
    assert StockOf.reply_type() is Stock
    assert Nothing.reply_type() is type(None)


def test_an_ask_without_a_reply_type_says_what_to_write() -> None:
    with pytest.raises(TypeError, match=r"class Unnamed\(Ask\[ReplyType\]\)"):
        Unnamed.reply_type()


def test_messages_are_frozen_and_compare_by_value() -> None:
    order = OrderPlaced("o-1")
    assert order == OrderPlaced("o-1")
    with pytest.raises(AttributeError):
        order.id = "o-2"  # type: ignore[misc]
