"""The envelope: identity, topic, and data that are read late."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from bus.codec import encode_data
from bus.errors import Malformed, UnknownType
from bus.event import Event
from bus.message import Fact


class OrderPlaced(Fact, frozen=True):
    TYPE = "shop.order.placed"
    VERSION = 2
    id: str
    total_cents: int = 0


def event(data: msgspec.Raw, **changes: Any) -> Event:
    return msgspec.structs.replace(
        Event("e-1", "shop", "shop.order.placed", 2, "eu", "o-1", datetime(2026, 1, 1, tzinfo=UTC), data),
        **changes,
    )


def test_an_event_names_its_topic_identity_and_schema() -> None:
    placed = event(encode_data(OrderPlaced("o-1")))
    assert placed.topic == "shop.order.placed.eu"
    assert placed.identity == ("shop", "e-1")
    assert placed.dataschema == "/schemas/shop.order.placed/2"


def test_data_are_read_as_their_message_or_plain() -> None:
    placed = event(encode_data(OrderPlaced("o-1", 1200)))
    assert placed.read(OrderPlaced) == OrderPlaced("o-1", 1200)
    assert placed.plain() == {"id": "o-1", "total_cents": 1200}


def test_an_older_version_is_read_and_a_newer_one_is_not() -> None:
    data = encode_data(OrderPlaced("o-1"))
    assert event(data, version=1).read(OrderPlaced) == OrderPlaced("o-1")
    with pytest.raises(UnknownType, match=r"version 3, not shop.order.placed version 2"):
        event(data, version=3).read(OrderPlaced)


def test_unknown_fields_are_ignored() -> None:
    data = msgspec.Raw(msgspec.msgpack.encode({"id": "o-1", "colour": "red"}))
    assert event(data).read(OrderPlaced) == OrderPlaced("o-1")


def test_another_type_is_not_read() -> None:
    with pytest.raises(UnknownType, match=r"event e-1 is shop.order.sent"):
        event(encode_data(OrderPlaced("o-1")), type="shop.order.sent").read(OrderPlaced)


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (msgspec.msgpack.encode({"id": 7}), "id"),
        (msgspec.msgpack.encode({}), "id"),
        (msgspec.msgpack.encode([1]), "object"),
        (b"\xc1", "OrderPlaced|shop.order.placed"),
        (b"", "shop.order.placed"),
        (msgspec.msgpack.encode({"id": "x"})[:-1] + b"\xff", "shop.order.placed"),
    ],
)
def test_data_that_do_not_fit_are_malformed_and_the_field_is_named(data: bytes, named: str) -> None:
    with pytest.raises(Malformed, match=named):
        event(msgspec.Raw(data)).read(OrderPlaced)


def test_deep_data_end_no_stack() -> None:
    with pytest.raises(Malformed):
        event(msgspec.Raw(b"\x91" * 100_000 + b"\xc0")).plain()


class Weighed(Fact, frozen=True):
    TYPE = "shop.parcel.weighed"
    VERSION = 3
    parcel: str
    grams: int
    scale: str
    image: bytes = b""

    @classmethod
    def upcast(cls, version: int, data: dict[str, Any]) -> dict[str, Any]:
        if version == 1:  # pounds, before we knew
            return {"parcel": data["parcel"], "grams": round(data["pounds"] * 453.59237)}
        return {**data, "scale": "unknown"}


def weighed(version: int, data: Any) -> Event:
    return event(msgspec.Raw(msgspec.msgpack.encode(data)), type=Weighed.TYPE, version=version)


def test_an_old_version_is_read_as_todays_step_by_step_and_stays_as_it_is() -> None:
    old = weighed(1, {"parcel": "p-1", "pounds": 2})
    assert old.read(Weighed) == Weighed("p-1", 907, "unknown")
    assert old.plain() == {"parcel": "p-1", "pounds": 2}
    image = bytes(range(256))
    assert weighed(2, {"parcel": "p-1", "grams": 5, "image": image}).read(Weighed) == Weighed(
        "p-1", 5, "unknown", image
    )
    assert weighed(3, {"parcel": "p-1", "grams": 5, "scale": "a"}).read(Weighed).scale == "a"


@pytest.mark.parametrize("data", [{"parcel": "p-1"}, {"parcel": "p-1", "pounds": "heavy"}, ["p-1"], None])
def test_old_data_that_cannot_be_brought_up_are_malformed(data: Any) -> None:
    with pytest.raises(Malformed, match=r"shop\.parcel\.weighed version 1 cannot be brought to version 2"):
        weighed(1, data).read(Weighed)
    with pytest.raises(UnknownType):
        weighed(4, data).read(Weighed)
