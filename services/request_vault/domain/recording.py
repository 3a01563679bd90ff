"""Where an event belongs in the log: its stream, its category, its partition, and what makes it the same
as another.

Pure. Called by the engines while they record. Every rule here is part of the log's format: a change needs
a new format version.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from bus import codec
from bus.codec import MAX_EVENT_BYTES
from bus.errors import Malformed, Reject
from bus.event import Event
from schemas.request_vault import StreamWrite

DECISIONS = 0
"""The partition of decisions; observations are in the others."""

MAX_DECISIONS = 1000
MAX_NAME_CHARS = 256
MAX_SUBJECT_CHARS = 1024
STAMP_ROOM_BYTES = 256 + 2 * MAX_SUBJECT_CHARS
CONTENT_HASH_BYTES = 16

_STREAM = re.compile(r"([a-z0-9_-]+)\.[a-z0-9_.]+-([^\x00-\x20\x7f]+)")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def category_of(stream: str) -> str:
    """The category of a decided stream, the part before the first dot. Raises Malformed unless the name is
    `<category>.<thing>-<id>`."""
    found = _STREAM.fullmatch(stream) if len(stream) <= MAX_SUBJECT_CHARS else None
    if found is None:
        raise Malformed(
            f"stream {stream[:80]!r} is not named <category>.<thing>-<id>, such as 'identity.bucket-7xzc'"
        )
    return found[1]


def stream_of(event: Event) -> str:
    """The stream of an observation: the events of one subject. The type without its last word (`_` for a
    thing that it does not name), and the subject, or the key of an event without one:
    `traffic.call-<id>`."""
    area, *words = event.type.split(".")
    thing = ".".join(words[:-1]) or "_"
    return f"{area}.{thing}-{event.subject or event.key}"


def partition_of(key: str, partitions: int) -> int:
    """The partition of observations with this event key (a bucket): 1 .. `partitions`."""
    return 1 + zlib.crc32(key.encode()) % partitions


def content_hash(event: Event) -> bytes:
    """What two events with one identity must share to be one event: type, key, subject and data, byte for
    byte; not the time, the trace or the causes. No part before the data can hold a separator
    (`check_recordable`)."""
    subject = "" if event.subject is None else f"={event.subject}"
    head = f"{event.type}\x1f{event.key}\x1f{subject}\x1f".encode()
    digest = hashlib.sha256(head)
    digest.update(event.data)
    return digest.digest()[:CONTENT_HASH_BYTES]


def check_recordable(event: Event) -> None:
    """Raises Reject unless the envelope's texts are short enough to be indexed and free of control
    characters (CloudEvents 1.0, section 3.1: String)."""
    subject = event.subject or ""
    correlation = event.correlationid or ""
    for name, value, limit in (
        ("id", event.id, MAX_NAME_CHARS),
        ("source", event.source, MAX_NAME_CHARS),
        ("subject", subject, MAX_SUBJECT_CHARS),
        ("correlationid", correlation, MAX_NAME_CHARS),
    ):
        if len(value) > limit:
            raise Reject(
                f"event {event.id[:80]!r}: its {name} has {len(value)} characters; the limit is {limit}"
            )
    if _CONTROL.search(f"{event.id}{event.source}{subject}{correlation}"):
        raise Reject(
            f"event {event.id[:80]!r}: control characters in its id, source, subject or correlationid"
        )


def conflict(event: Event) -> Reject:
    """Its identity was recorded before, with another content."""
    return Reject(f"event {event.id} of {event.source} ({event.type}) was recorded before with other content")


def forgotten(event: Event, floor_us: int) -> Reject:
    """It is not newer than identities that were forgotten, so nobody can tell whether it is one of them."""
    floor = from_us(floor_us).isoformat()
    return Reject(
        f"event {event.id} ({event.type}) is of {event.time.isoformat()}; the vault no longer knows which "
        f"events up to {floor} it held once and removed, so this one may not be new and was not recorded"
    )


def check_decision(event: Event, encoded_bytes: int) -> None:
    """Raises Malformed unless this event can be appended, and published with a stamp afterwards."""
    if event.stamp is not None:
        raise Malformed(f"event {event.id[:80]!r} has a stamp, so the log holds it already")
    if encoded_bytes > MAX_EVENT_BYTES - STAMP_ROOM_BYTES:
        limit = MAX_EVENT_BYTES - STAMP_ROOM_BYTES
        raise Malformed(f"event {event.id[:80]!r} has {encoded_bytes} bytes; a decision has at most {limit}")
    try:
        check_recordable(event)
    except Reject as error:
        raise Malformed(str(error)) from error


class Write(msgspec.Struct, frozen=True):
    """Decisions for one stream, checked."""

    stream: str
    category: str
    expected_version: int
    events: tuple[Event, ...]
    contents: tuple[bytes, ...]


def checked_writes(writes: Sequence[StreamWrite]) -> list[Write]:
    """Raises Malformed, naming what cannot be appended."""
    count = sum(len(write.events) for write in writes)
    if not 1 <= count <= MAX_DECISIONS or not all(write.events for write in writes):
        raise Malformed(f"{count} events to append; it takes 1 to {MAX_DECISIONS}, and one for each stream")
    if len({write.stream for write in writes}) < len(writes):
        raise Malformed("a stream is named twice in one append")
    checked = []
    for write in writes:
        category = category_of(write.stream)
        events = []
        for raw in write.events:
            event = codec.decode_event(raw)
            check_decision(event, len(raw))
            events.append(event)
        contents = tuple(map(content_hash, events))
        checked.append(Write(write.stream, category, write.expected_version, tuple(events), contents))
    if len({event.identity for write in checked for event in write.events}) < count:
        raise Malformed("two of the events to append have the same id and source")
    return checked


def checksum(
    partition: int, number: int, stream: str, version: int, prev: int | None, recorded_us: int, encoded: bytes
) -> int:
    """CRC-32 of a record: of the envelope and of what the envelope does not say."""
    place = f"{partition}:{number}:{stream}:{version}:{prev}:{recorded_us}".encode()
    return zlib.crc32(encoded, zlib.crc32(place))


def to_us(moment: datetime) -> int:
    """Microseconds since 1970, exact. `moment` is aware."""
    since = moment - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def from_us(us: int) -> datetime:
    return _EPOCH + timedelta(microseconds=us)
