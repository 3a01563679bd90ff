"""Events <-> bytes: the wire format of a batch, and CloudEvents JSON for those outside.

A batch body (content type `application/cloudevents-batch+msgpack`) is the msgpack array `[FORMAT, [event,
...]]`, each event the array of `Event`'s fields in their order. One AMQP message, one row of the embedded
journal and one record of a spool all hold a batch body. Limits: 256 events and 256 KiB a batch (a single
event may be larger, up to 1008 KiB), 64 KiB of topics.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from bus import topics
from bus.errors import Malformed, TooLarge
from bus.event import Event
from bus.message import Message

FORMAT = 1
CONTENT_TYPE = "application/cloudevents-batch+msgpack"
MAX_BATCH_EVENTS = 256
MAX_BATCH_BYTES = 256 * 1024
MAX_FRAME_BYTES = 1024 * 1024
MAX_EVENT_BYTES = MAX_FRAME_BYTES - 16 * 1024
"""Leaves room for what parking and the vault write around an event: the largest can still be parked."""
MAX_OWN_EVENT_BYTES = MAX_FRAME_BYTES - 64
"""For the bus's own events, which carry such frames."""
OWN_TYPES = "bus.event."
MAX_TOPICS_BYTES = 60 * 1024

_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_UNSAYABLE = (OverflowError, UnicodeEncodeError, RecursionError)

_encoder = msgspec.msgpack.Encoder()
_frame_decoder = msgspec.msgpack.Decoder(tuple[int, list[Event]])
_loose_decoder = msgspec.msgpack.Decoder(tuple[int, list[msgspec.Raw]])
_event_decoder = msgspec.msgpack.Decoder(Event)


def encode_data(message: Message) -> msgspec.Raw:
    """A message's own fields as msgpack, ready to be an event's `data`. Raises Malformed for what msgpack
    cannot say: integers over 64 bits, lone surrogates."""
    try:
        return msgspec.Raw(_encoder.encode(message))
    except _UNSAYABLE as error:
        raise Malformed(f"{message.TYPE or type(message).__name__} cannot be encoded: {error}") from error


def encode_event(event: Event) -> bytes:
    """One event of a batch. Raises TooLarge over MAX_EVENT_BYTES, Malformed for text that is no UTF-8."""
    try:
        encoded = _encoder.encode(event)
    except _UNSAYABLE as error:
        raise Malformed(f"event of type {event.type[:80]!r} cannot be encoded: {error}") from error
    limit = MAX_OWN_EVENT_BYTES if event.type.startswith(OWN_TYPES) else MAX_EVENT_BYTES
    if len(encoded) > limit:
        raise TooLarge(
            f"event {event.type} {event.id} has {len(encoded)} bytes; the limit is {limit}. "
            "Send its bulk as a body and name it by its hash"
        )
    return encoded


def decode_event(encoded: bytes) -> Event:
    """What `encode_event` made. Raises Malformed, naming the field at fault."""
    (event,) = decode_batch(join_batch([encoded]))
    return event


def join_batch(encoded: Sequence[bytes]) -> bytes:
    """A batch body from encoded events."""
    count = len(encoded)
    head = bytes((0x92, FORMAT))
    array = bytes((0x90 | count,)) if count < 16 else b"\xdc" + count.to_bytes(2, "big")
    return head + array + b"".join(encoded)


def encode_batch(events: Sequence[Event]) -> bytes:
    return join_batch([encode_event(event) for event in events])


def decode_batch(body: bytes) -> list[Event]:
    """The events of a batch body. Raises Malformed, naming the first event and field at fault; `salvage`
    takes such a body apart."""
    try:
        version, events = _frame_decoder.decode(body)
    except _UNREADABLE as error:
        raise Malformed(f"frame of {len(body)} bytes is no batch of events: {error}") from error
    _check_format(version)
    for event in events:
        check(event)
    return events


def salvage(body: bytes) -> tuple[list[Event], list[tuple[bytes, str]]]:
    """What can be read of a body that `decode_batch` refused: the good events, and (bytes, reason) of each
    bad one. Raises Malformed when it is not even a list of events."""
    try:
        version, raws = _loose_decoder.decode(body)
    except _UNREADABLE as error:
        raise Malformed(f"frame of {len(body)} bytes is no batch of events: {error}") from error
    _check_format(version)
    good: list[Event] = []
    bad: list[tuple[bytes, str]] = []
    for raw in raws:
        try:
            event = _event_decoder.decode(raw)
            check(event)
        except (*_UNREADABLE, Malformed) as error:
            bad.append((bytes(raw), str(error)))
        else:
            good.append(event)
    return good, bad


def check(event: Event) -> None:
    """Raises Malformed unless the envelope keeps CloudEvents' rules and ours: non-empty id and source, a
    valid topic, an aware time."""
    if not event.id or not event.source:
        raise Malformed(f"event of type {event.type[:80]!r} has no {'id' if not event.id else 'source'}")
    if event.time.tzinfo is None:
        raise Malformed(f"event {event.id[:80]}: its time has no zone")
    topics.check_topic(event.type, event.key)


def _check_format(version: int) -> None:
    if version != FORMAT:
        raise Malformed(f"frame has format {version}; this version reads format {FORMAT}")


def to_cloudevent(event: Event) -> dict[str, Any]:
    """CloudEvents 1.0 JSON (structured mode) as a dict. Bytes inside the data become `{"base64": "..."}`."""
    answer: dict[str, Any] = {
        "specversion": "1.0",
        "id": event.id,
        "source": event.source,
        "type": event.type,
        "time": event.time.isoformat().replace("+00:00", "Z"),
        "datacontenttype": "application/json",
        "dataschema": event.dataschema,
        "key": event.key,
        "data": _jsonable(event.plain()),
    }
    optional = ("subject", "partitionkey", "correlationid", "causationid", "traceparent")
    answer.update((name, value) for name in optional if (value := getattr(event, name)) is not None)
    return answer


def from_cloudevent(document: Any, *, received_at: datetime) -> Event:
    """An event from CloudEvents 1.0 JSON (structured mode). `key` is an extension attribute (default `_`). An
    absent time becomes `received_at`. Raises Malformed naming the attribute at fault."""
    if not isinstance(document, dict):
        raise Malformed("a CloudEvent is a JSON object")
    if document.get("specversion") != "1.0":
        raise Malformed(f"specversion is {document.get('specversion')!r}; only '1.0' is understood")
    for name in ("id", "source", "type"):
        if not isinstance(document.get(name), str) or not document[name]:
            raise Malformed(f"attribute {name!r} is missing or no non-empty string")
    for name in ("subject", "partitionkey", "correlationid", "causationid", "traceparent", "key", "time"):
        if not isinstance(document.get(name, ""), str):
            raise Malformed(f"attribute {name!r} is no string")
    try:
        happened = datetime.fromisoformat(document["time"]) if "time" in document else received_at
    except ValueError as error:
        raise Malformed(f"attribute 'time' is no RFC 3339 time: {document['time'][:80]!r}") from error
    schema = str(document.get("dataschema", "")).rsplit("/", 1)[-1]
    if "data_base64" in document:
        try:
            data: Any = base64.b64decode(document["data_base64"], validate=True)
        except (ValueError, TypeError) as error:
            raise Malformed(f"attribute 'data_base64' is no base64: {error}") from error
    else:
        data = document.get("data", {})
    event = Event(
        id=document["id"],
        source=document["source"],
        type=document["type"],
        version=int(schema) if schema.isascii() and schema.isdigit() and len(schema) < 9 else 1,
        key=document.get("key", topics.NO_KEY),
        subject=document.get("subject"),
        time=happened,
        data=_encode_plain(data),
        partitionkey=document.get("partitionkey"),
        correlationid=document.get("correlationid"),
        causationid=document.get("causationid"),
        traceparent=document.get("traceparent"),
    )
    check(event)
    return event


def _encode_plain(data: Any) -> msgspec.Raw:
    try:
        return msgspec.Raw(_encoder.encode(data))
    except _UNSAYABLE as error:
        raise Malformed(f"attribute 'data' cannot be encoded: {error}") from error


def _jsonable(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(name): _jsonable(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_jsonable(item) for item in value]
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode()}
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    return value
