"""The wire format: any event survives it, any bytes end in events or Malformed, and what was written once is
read for ever."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bus import codec
from bus.errors import Malformed, TooLarge
from bus.event import Event, Stamp
from bus.message import Fact
from tests.effort import tries

GOLDEN = Path(__file__).parents[1] / "golden"
NOW = datetime(2026, 1, 1, 12, 30, tzinfo=UTC)


class OrderPlaced(Fact, frozen=True):
    TYPE = "shop.order.placed"
    id: str
    total_cents: int = 0


def placed(id: str = "e-1", **changes: Any) -> Event:
    event = Event(
        id, "shop", "shop.order.placed", 1, "eu", "o-1", NOW, codec.encode_data(OrderPlaced("o-1", 1200))
    )
    return msgspec.structs.replace(event, **changes)


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
TEXT = st.text(min_size=1, max_size=20)
TYPES = st.lists(st.from_regex(r"[a-z0-9_-]{1,9}", fullmatch=True), min_size=2, max_size=4).map(".".join)
EVENTS = st.builds(
    Event,
    id=TEXT,
    source=TEXT,
    type=TYPES,
    version=st.integers(1, 10_000),
    key=st.from_regex(r"[A-Za-z0-9_-]{1,12}", fullmatch=True),
    subject=st.none() | TEXT,
    time=st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=-9, minutes=30))])),
    data=PLAIN.map(lambda value: msgspec.Raw(msgspec.msgpack.encode(value))),
    partitionkey=st.none() | TEXT,
    correlationid=st.none() | TEXT,
    causationid=st.none() | TEXT,
    traceparent=st.none() | TEXT,
    stamp=st.none()
    | st.builds(
        Stamp,
        stream=TEXT,
        version=st.integers(0, 2**40),
        position=st.tuples(st.integers(0, 64), st.integers(0, 2**60)),
        prev=st.none() | st.integers(0, 2**60),
    ),
)


@given(st.lists(EVENTS, min_size=1, max_size=40))
def test_events_survive_the_wire(events: list[Event]) -> None:
    decoded = codec.decode_batch(codec.encode_batch(events))
    assert decoded == events
    assert [bytes(event.data) for event in decoded] == [bytes(event.data) for event in events]
    assert all(event.time.utcoffset() == timedelta(0) for event in decoded)


@pytest.mark.parametrize("count", [1, 15, 16, 256])
def test_a_batch_of_any_size_is_plain_msgpack(count: int) -> None:
    events = [placed(f"e-{number}") for number in range(count)]
    body = codec.encode_batch(events)
    version, rows = msgspec.msgpack.decode(body)
    assert (version, len(rows)) == (codec.FORMAT, count)
    assert codec.decode_batch(body) == events


@pytest.mark.searches
@pytest.mark.timeout(tries(60))
@settings(max_examples=tries(100))
@given(st.binary(max_size=200) | st.binary(max_size=60).map(lambda tail: b"\x92\x01\x91" + tail))
def test_any_bytes_are_events_or_malformed(body: bytes) -> None:
    with contextlib.suppress(Malformed):
        codec.decode_batch(body)
    with contextlib.suppress(Malformed):
        codec.salvage(body)


@given(st.data())
def test_a_flipped_byte_is_read_or_malformed(data: st.DataObject) -> None:
    body = bytearray(codec.encode_batch([placed("e-1"), placed("e-2")]))
    at = data.draw(st.integers(0, len(body) - 1))
    body[at] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(Malformed):
        for event in codec.decode_batch(bytes(body)):
            event.plain()


def test_deep_nesting_ends_no_stack() -> None:
    with pytest.raises(Malformed):
        codec.decode_batch(b"\x92\x01" + b"\x91" * 200_000)
    with pytest.raises(Malformed):
        codec.salvage(b"\x92\x01" + b"\x91" * 200_000)


def test_a_format_of_later_is_refused_by_name() -> None:
    body = codec.encode_batch([placed()]).replace(b"\x92\x01", b"\x92\x02", 1)
    with pytest.raises(Malformed, match="format 2; this version reads format 1"):
        codec.decode_batch(body)
    with pytest.raises(Malformed, match="format 2"):
        codec.salvage(body)


def test_fields_of_later_versions_are_ignored() -> None:
    row = [*msgspec.msgpack.decode(codec.encode_event(placed())), None, None, "field of 2031"]
    row[12:12] = []
    body = msgspec.msgpack.encode([codec.FORMAT, [row[:8] + [None] * 5 + ["field of 2031"]]])
    assert codec.decode_batch(body) == [placed()]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"id": ""}, "has no id"),
        ({"source": ""}, "has no source"),
        ({"type": "call"}, "type 'call'"),
        ({"key": "a.b"}, "key 'a.b'"),
        ({"type": "a." + "b" * 300}, "limit is 255"),
        ({"time": datetime(2026, 1, 1)}, "no zone"),  # noqa: DTZ001
    ],
)
def test_an_envelope_that_breaks_a_rule_is_named(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(Malformed, match=named):
        codec.decode_batch(codec.encode_batch([placed(**changes)]))


def test_salvage_takes_the_good_from_the_bad() -> None:
    good, later = placed("e-1"), placed("e-3")
    bad = codec.encode_event(placed("", subject="no id"))
    foreign = msgspec.msgpack.encode({"an": "object"})
    body = codec.join_batch([codec.encode_event(good), bad, foreign, codec.encode_event(later)])
    events, refused = codec.salvage(body)
    assert events == [good, later]
    assert [raw for raw, _ in refused] == [bad, foreign]
    assert "no id" in refused[0][1]
    assert "array" in refused[1][1]


def test_the_largest_event_travels_and_can_be_parked() -> None:
    room = codec.MAX_EVENT_BYTES - len(codec.encode_event(placed()))
    data = codec.encode_data(OrderPlaced("o" * (room - 1), 1200))
    largest = codec.encode_event(placed(data=data))
    assert codec.MAX_EVENT_BYTES - 4 <= len(largest) <= codec.MAX_EVENT_BYTES
    assert len(codec.join_batch([largest])) <= codec.MAX_FRAME_BYTES - 15_000


@pytest.mark.parametrize("size", [codec.MAX_EVENT_BYTES, 64 * 1024 * 1024])
def test_a_larger_event_is_refused_with_what_to_do(size: int) -> None:
    with pytest.raises(TooLarge, match=r"shop.order.placed e-1 has \d+ bytes; .* as a body"):
        codec.encode_event(placed(data=codec.encode_data(OrderPlaced("o" * size))))


@pytest.mark.parametrize("message", [OrderPlaced("o", 2**70), OrderPlaced("\ud800")])
def test_what_msgpack_cannot_say_is_malformed(message: OrderPlaced) -> None:
    with pytest.raises(Malformed, match=r"shop.order.placed cannot be encoded"):
        codec.encode_data(message)
    with pytest.raises(Malformed):
        codec.encode_event(placed("\ud800"))


# --- CloudEvents JSON


def test_a_cloudevent_names_every_attribute() -> None:
    event = placed(partitionkey="p", correlationid="c", causationid="b", traceparent="00-1-2-01")
    assert codec.to_cloudevent(event) == {
        "specversion": "1.0",
        "id": "e-1",
        "source": "shop",
        "type": "shop.order.placed",
        "time": "2026-01-01T12:30:00Z",
        "subject": "o-1",
        "datacontenttype": "application/json",
        "dataschema": "/schemas/shop.order.placed/1",
        "key": "eu",
        "partitionkey": "p",
        "correlationid": "c",
        "causationid": "b",
        "traceparent": "00-1-2-01",
        "data": {"id": "o-1", "total_cents": 1200},
    }


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(EVENTS, JSON)
def test_a_cloudevent_comes_back_as_the_event(event: Event, data: Any) -> None:
    event = msgspec.structs.replace(
        event, stamp=None, data=msgspec.Raw(msgspec.msgpack.encode(data)), version=event.version
    )
    document = json.loads(json.dumps(codec.to_cloudevent(event)))
    again = codec.from_cloudevent(document, received_at=NOW)
    assert msgspec.structs.replace(again, data=event.data) == event
    assert again.plain() == data


@given(PLAIN)
def test_any_data_can_be_said_in_json(data: Any) -> None:
    event = placed(data=msgspec.Raw(msgspec.msgpack.encode(data)))
    json.dumps(codec.to_cloudevent(event))


MINIMAL = {"specversion": "1.0", "id": "e", "source": "s", "type": "a.b"}


def test_a_minimal_cloudevent_is_enough() -> None:
    event = codec.from_cloudevent(MINIMAL, received_at=NOW)
    assert (event.topic, event.time, event.plain(), event.version) == ("a.b._", NOW, {}, 1)


def test_binary_data_come_from_base64() -> None:
    assert codec.from_cloudevent(MINIMAL | {"data_base64": "AP8="}, received_at=NOW).plain() == b"\x00\xff"


@pytest.mark.parametrize(
    ("document", "named"),
    [
        ([], "JSON object"),
        (MINIMAL | {"specversion": "0.3"}, "specversion"),
        (MINIMAL | {"id": ""}, "'id'"),
        (MINIMAL | {"source": 7}, "'source'"),
        ({"specversion": "1.0", "id": "e", "source": "s"}, "'type'"),
        (MINIMAL | {"subject": 7}, "'subject'"),
        (MINIMAL | {"time": "yesterday"}, "'time'"),
        (MINIMAL | {"time": "2026-01-01T00:00:00"}, "no zone"),
        (MINIMAL | {"key": "a b"}, "key 'a b'"),
        (MINIMAL | {"type": "Order"}, "type 'Order'"),
        (MINIMAL | {"type": "a." + "b" * 300}, "limit is 255"),
        (MINIMAL | {"data_base64": "?"}, "'data_base64'"),
        (MINIMAL | {"data_base64": 7}, "'data_base64'"),
        (MINIMAL | {"data": 2**70}, "'data'"),
        (MINIMAL | {"data": "\ud800"}, "'data'"),
    ],
)
def test_a_cloudevent_that_breaks_a_rule_is_named(document: Any, named: str) -> None:
    with pytest.raises(Malformed, match=named):
        codec.from_cloudevent(document, received_at=NOW)


@pytest.mark.parametrize(
    "schema", ["/schemas/a.b/²", "/schemas/a.b/", "https://x.example/s", "/schemas/a.b/1e9"]
)
def test_a_foreign_dataschema_is_version_1(schema: str) -> None:
    assert codec.from_cloudevent(MINIMAL | {"dataschema": schema}, received_at=NOW).version == 1


JSON_DOCUMENTS = st.dictionaries(
    st.sampled_from([*MINIMAL, "time", "key", "subject", "data", "data_base64", "dataschema"]), JSON
)


@given(JSON_DOCUMENTS)
def test_any_json_is_an_event_or_malformed(document: dict[str, Any]) -> None:
    with contextlib.suppress(Malformed):
        codec.from_cloudevent(MINIMAL | document, received_at=NOW)


# --- golden examples: written once, never edited; a new format gets new files beside them


def test_the_golden_batch_of_format_1_is_read_for_ever() -> None:
    body = (GOLDEN / "batch-1.msgpack").read_bytes()
    said = json.loads((GOLDEN / "batch-1.json").read_text())
    events = codec.decode_batch(body)
    assert [codec.to_cloudevent(event) for event in events] == said["events"]
    assert [event.stamp for event in events] == msgspec.convert(said["stamps"], list[Stamp | None])


def test_format_1_is_still_written_byte_for_byte() -> None:
    body = (GOLDEN / "batch-1.msgpack").read_bytes()
    assert codec.encode_batch(codec.decode_batch(body)) == body


@given(EVENTS)
def test_one_event_is_read_as_it_was_encoded(event: Event) -> None:
    assert codec.decode_event(codec.encode_event(event)) == event


@pytest.mark.parametrize("bytes_", [b"", b"\xc1", codec.encode_event(placed()) * 2, b"\x90"])
def test_bytes_that_are_not_one_event_are_malformed(bytes_: bytes) -> None:
    with pytest.raises(Malformed):
        codec.decode_event(bytes_)
