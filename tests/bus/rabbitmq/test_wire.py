from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiormq.abc import DeliveredMessage
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from bus.codec import MAX_FRAME_BYTES
from bus.errors import TooLarge
from bus.rabbitmq import wire
from bus.transport import Frame

NOW = datetime(2026, 3, 1, 12, 0, 0, 500, tzinfo=UTC)


def delivered(
    body: bytes, key: str, properties: Basic.Properties, *, redelivered: bool = False
) -> DeliveredMessage:
    """As the broker passes it on: the properties through their bytes, `BCC` taken out."""
    if properties.headers:
        properties.headers.pop("BCC", None)
    raw = ContentHeader(body_size=len(body), properties=properties).marshal()
    header = ContentHeader()
    header.unmarshal(raw)
    delivery = Basic.Deliver(
        consumer_tag="c", delivery_tag=1, redelivered=redelivered, exchange="events", routing_key=key
    )
    return DeliveredMessage(delivery=delivery, header=header, body=body, channel=None)  # type: ignore[arg-type]


def test_a_fresh_frame_of_one_topic_has_no_headers() -> None:
    assert wire.routed(Frame(b"x", ("shop.order.placed._",)), "1").headers is None


def test_further_topics_travel_in_bcc() -> None:
    properties = wire.routed(Frame(b"x", ("a.b", "a.c", "a.d")), "1")
    assert properties.headers == {"BCC": ["a.c", "a.d"]}


def test_a_frame_for_one_queue_comes_back_whole() -> None:
    frame = Frame(
        b"\x00body",
        ("a.b", "a.c"),
        "application/json",
        {"cloudEvents:type": "a.b"},
        attempt=3,
        suspect=True,
        first_failed_at=NOW,
        last_error="ValueError: no",
    )
    due = NOW + timedelta(hours=10)
    message = delivered(frame.body, "billing", wire.addressed(frame, "1", due=due, exchange="ingress"))
    assert wire.read(message) == frame
    assert wire.exchange_of(message) == "ingress"
    due_ms = wire.due_ms_of(message)
    assert due_ms is not None
    assert 0 <= due_ms - due.timestamp() * 1000 <= 1, "never early"


def test_a_last_error_is_cut() -> None:
    frame = Frame(b"", ("a.b",), last_error="x" * 100_000)
    message = delivered(b"", "q", wire.addressed(frame, "1"))
    assert len(wire.read(message).last_error or "") == 2000


@pytest.mark.parametrize(
    "headers",
    [
        {"bus-topics": 7, "bus-attempt": "many", "bus-first-failed": "yesterday", "bus-due": "soon"},
        {"bus-topics": [], "bus-suspect": 1, "bus-last-error": 1, "x-delivery-count": "x"},
        {"bus-first-failed": "2026-01-01T00:00:00"},
        {"bus-due": 1 << 62, "cloudEvents:id": 9},
    ],
)
def test_headers_of_foreign_producers_may_be_anything(headers: dict[str, Any]) -> None:
    message = delivered(b"?", "a.b", Basic.Properties(headers=headers))
    frame = wire.read(message)
    assert (frame.body, frame.topics, frame.attempt, frame.suspect) == (b"?", ("a.b",), 0, False)
    assert frame.content_type == "application/octet-stream"
    assert frame.first_failed_at is None
    assert wire.returned(message) == 0
    wire.due_ms_of(message)


def test_returns_are_counted_by_quorum_queues_and_flagged_by_classic_ones() -> None:
    counted = Basic.Properties(headers={"x-delivery-count": 4})
    assert wire.returned(delivered(b"", "q", counted, redelivered=True)) == 4
    assert wire.returned(delivered(b"", "q", Basic.Properties(), redelivered=True)) == 1
    assert wire.returned(delivered(b"", "q", Basic.Properties())) == 0


def test_what_the_broker_would_close_the_channel_over_is_refused() -> None:
    wire.check_size(Frame(b"x" * MAX_FRAME_BYTES, ("a.b",)))
    with pytest.raises(TooLarge):
        wire.check_size(Frame(b"x" * (MAX_FRAME_BYTES + 1), ("a.b",)))
    with pytest.raises(TooLarge, match="topics"):
        wire.check_size(Frame(b"x", tuple(f"a.{'b' * 240}{number}" for number in range(300))))
