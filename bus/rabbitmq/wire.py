"""A `Frame` as an AMQP message and back. Pure.

A fresh frame of one topic has no headers at all: topic = routing key. Further topics travel in `BCC`, which
the broker takes out when it routes: a frame that was delivered therefore names its first topic only. What
goes to one queue, now or later, names its topics, its due time, attempts and last error in headers of its own
(`bus-...`), so that it can be sent on. `cloudEvents:` headers of foreign producers pass through.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from aio_pika import DeliveryMode
from aiormq.abc import DeliveredMessage
from pamqp.commands import Basic

from bus.codec import MAX_FRAME_BYTES, MAX_TOPICS_BYTES
from bus.errors import TooLarge
from bus.transport import Frame

DUE = "bus-due"  # milliseconds since 1970
EXCHANGE = "bus-exchange"  # of a delayed publish
_TOPICS = "bus-topics"
_ATTEMPT = "bus-attempt"
_SUSPECT = "bus-suspect"
_FAILED = "bus-first-failed"
_ERROR = "bus-last-error"
_FOREIGN = ("cloudEvents:", "cloudEvents_")
_LAST_ERROR_CHARACTERS = 2000
_DELIVERY_COUNT = "x-delivery-count"

Headers = dict[str, Any]


def check_size(frame: Frame) -> None:
    """Raises TooLarge for what the broker would close the channel over."""
    if len(frame.body) > MAX_FRAME_BYTES:
        raise TooLarge(
            f"a frame of {frame.topics[0]} has {len(frame.body)} bytes; the limit is {MAX_FRAME_BYTES}"
        )
    if len(frame.topics) > 1 and sum(map(len, frame.topics)) + len(frame.topics) > MAX_TOPICS_BYTES:
        raise TooLarge(f"a frame has {len(frame.topics)} topics, together over {MAX_TOPICS_BYTES} bytes")


def routed(frame: Frame, message_id: str, *, lasting: bool = True) -> Basic.Properties:
    """For an exchange: the routing key is the first topic. `lasting` False for what is not stored."""
    headers: Headers | None = None
    if len(frame.topics) > 1 or frame.headers or frame.attempt or frame.last_error:
        headers = _story(frame)
        if len(frame.topics) > 1:
            headers["BCC"] = list(frame.topics[1:])
    return Basic.Properties(
        content_type=frame.content_type,
        headers=headers,
        delivery_mode=DeliveryMode.PERSISTENT if lasting else DeliveryMode.NOT_PERSISTENT,
        message_id=message_id,
    )


def addressed(
    frame: Frame, message_id: str, *, due: datetime | None = None, exchange: str | None = None
) -> Basic.Properties:
    """For one queue, or a tier on the way to it. `exchange`: where a delayed publish goes in the end."""
    headers = _story(frame)
    headers[_TOPICS] = list(frame.topics)
    if frame.suspect:
        headers[_SUSPECT] = True
    if due is not None:
        headers[DUE] = int(due.timestamp() * 1000) + 1  # cut to milliseconds it would be early
    if exchange is not None:
        headers[EXCHANGE] = exchange
    return Basic.Properties(
        content_type=frame.content_type,
        headers=headers,
        delivery_mode=DeliveryMode.PERSISTENT,
        message_id=message_id,
    )


def _story(frame: Frame) -> Headers:
    headers: Headers = dict(frame.headers)
    if frame.attempt:
        headers[_ATTEMPT] = frame.attempt
    if frame.first_failed_at is not None:
        headers[_FAILED] = frame.first_failed_at.isoformat()
    if frame.last_error is not None:
        headers[_ERROR] = frame.last_error[:_LAST_ERROR_CHARACTERS]
    return headers


def read(message: DeliveredMessage) -> Frame:
    """What was delivered. Never raises: headers of foreign producers may be anything."""
    properties = message.header.properties
    key = message.routing_key or "_"
    content_type = properties.content_type or "application/octet-stream"
    headers = properties.headers
    if not headers:
        return Frame(message.body, (key,), content_type)
    topics = headers.get(_TOPICS)
    attempt = headers.get(_ATTEMPT, 0)
    error = headers.get(_ERROR)
    return Frame(
        body=message.body,
        topics=tuple(map(str, topics)) if isinstance(topics, list) and topics else (key,),
        content_type=content_type,
        headers={name: str(value) for name, value in headers.items() if name.startswith(_FOREIGN)},
        attempt=attempt if isinstance(attempt, int) else 0,
        suspect=headers.get(_SUSPECT) is True,
        first_failed_at=_time(headers.get(_FAILED)),
        last_error=error if isinstance(error, str) else None,
    )


def returned(message: DeliveredMessage) -> int:
    """How often it came back. Quorum queues count (the header is absent on the first delivery); of classic
    ones it is only known whether it did."""
    headers = message.header.properties.headers
    count = headers.get(_DELIVERY_COUNT) if headers else None
    if isinstance(count, int) and count > 0:
        return count
    return 1 if message.redelivered else 0


def due_ms_of(message: DeliveredMessage) -> int | None:
    """When it may be delivered, in milliseconds since 1970; None for at once."""
    headers = message.header.properties.headers
    due_ms = headers.get(DUE) if headers else None
    return due_ms if isinstance(due_ms, int) else None


def exchange_of(message: DeliveredMessage) -> str | None:
    """Where a delayed publish is to go."""
    headers = message.header.properties.headers
    exchange = headers.get(EXCHANGE) if headers else None
    return exchange if isinstance(exchange, str) else None


def _time(text: Any) -> datetime | None:
    try:
        time = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
    return time if time is not None and time.tzinfo is not None else None
