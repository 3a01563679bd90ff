"""The lines of an exported vault: each is one CloudEvent 1.0 (JSON format), so that any reader of CloudEvents
takes them apart.

    begun, body*, (event | erased | trimmed | sealed)*, ended

An event's line is the event itself, its data as `data_base64`, byte for byte, and extensions that say where
it stands: `position`, `stream`, `streamversion`, `prev`, `recordedtime`, `salt`, `digest`. What else the log
consists of has lines of types that begin with OWN. Bodies come in pieces before all events, so that none is
named before it is there. Pure. FORMAT is that of the whole file; a change needs a new one."""

from __future__ import annotations

import base64
import binascii
from datetime import datetime
from typing import Any, TypeAlias, TypeVar, cast

import msgspec

from bus import codec
from bus.errors import Malformed
from bus.event import Event
from services.request_vault.domain.links import (
    Anchor,
    End,
    Gone,
    Kept,
    Seal,
    checksum_of,
)
from services.request_vault.domain.recording import DECISIONS, category_of, from_us, to_us

FORMAT = 1
OWN = "trunkline.export."
SOURCE = "trunkline"
MAX_LINE_BYTES = 8 * 1024 * 1024
"""Of the longest line that is read; the longest that is written has less than 2 MiB."""

S = TypeVar("S", bound=msgspec.Struct)


class Begun(msgspec.Struct, frozen=True):
    """ends: where each partition ends; the events up to there follow. published_to: decisions up to this
    number were on the bus. bodies: whether they are here too. floor_us: up to where the vault has forgotten
    what it held (`Store.forget`); left out when it has not."""

    format: int
    engine: str
    ends: tuple[End, ...]
    published_to: int = 0
    bodies: bool = True
    floor_us: int | msgspec.UnsetType = msgspec.UNSET


class BodyPiece(msgspec.Struct, frozen=True):
    """Piece `index` of `count` of a body of `size_bytes` in all."""

    bucket: str
    sha256: str
    index: int
    count: int
    size_bytes: int
    content: bytes


class Ended(msgspec.Struct, frozen=True):
    """How much came before."""

    lines: int
    events: int
    erased: int
    trimmed: int
    bodies: int


Line: TypeAlias = Begun | BodyPiece | Kept | Gone | Anchor | Seal | Ended

_KINDS: dict[type[msgspec.Struct], str] = {
    Begun: "begun",
    BodyPiece: "body",
    Gone: "erased",
    Anchor: "trimmed",
    Seal: "sealed",
    Ended: "ended",
}
_BY_TYPE = {OWN + kind: struct for struct, kind in _KINDS.items()}


class _Line(msgspec.Struct, omit_defaults=True):
    """Every attribute that a line may have."""

    specversion: str
    id: str
    source: str
    type: str
    time: datetime | None = None
    subject: str | None = None
    key: str | None = None
    dataschema: str | None = None
    datacontenttype: str | None = None
    partitionkey: str | None = None
    correlationid: str | None = None
    causationid: str | None = None
    traceparent: str | None = None
    position: str | None = None
    stream: str | None = None
    streamversion: int | None = None
    prev: int | None = None
    recordedtime: datetime | None = None
    salt: str | None = None
    digest: str | None = None
    envelope: str | None = None
    """The event as the log keeps it; only of one that its other attributes do not give back exactly."""
    data_base64: str | None = None


class _Own(msgspec.Struct, omit_defaults=True):
    """A line of what is no event of the log, and has no place of its own in an envelope."""

    specversion: str
    id: str
    source: str
    type: str
    data: msgspec.Raw
    datacontenttype: str = ""
    time: datetime | None = None


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(_Line)
_own_decoder = msgspec.json.Decoder(_Own)


def encode(line: Line) -> bytes:
    """The line, with its end. Raises Malformed for an event that cannot be read."""
    match line:
        case Kept():
            made: _Line | _Own = _of_event(line)
        case BodyPiece():
            made = _of_body(line)
        case _:
            made = _of_own(line)
    return _encoder.encode(made) + b"\n"


def decode(text: bytes) -> Line:
    """Raises Malformed, saying what is wrong with the line."""
    try:
        line = _decoder.decode(text)
        if line.specversion != "1.0":
            raise Malformed(f"specversion is {line.specversion[:20]!r}; only '1.0' is understood")
        if line.type.startswith(OWN):
            return _own(line, text)
        return _event(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, binascii.Error, OverflowError) as error:
        raise Malformed(f"this is no line of an export: {error}") from error


def _of_event(kept: Kept) -> _Line:
    event = codec.decode_event(kept.event)
    line = _Line(
        specversion="1.0",
        id=event.id,
        source=event.source,
        type=event.type,
        time=event.time,
        subject=event.subject,
        key=event.key,
        dataschema=event.dataschema,
        datacontenttype="application/msgpack",
        partitionkey=event.partitionkey,
        correlationid=event.correlationid,
        causationid=event.causationid,
        traceparent=event.traceparent,
        position=f"{kept.partition}:{kept.number}",
        stream=kept.stream,
        streamversion=kept.version,
        prev=kept.prev,
        recordedtime=from_us(kept.recorded_us),
        salt=_text(kept.salt),
        digest=_text(kept.digest),
        data_base64=_text(event.data),
    )
    if _encoded(line) != kept.event:
        line.envelope = _text(kept.event)
    return line


def _of_body(piece: BodyPiece) -> _Line:
    return _Line(
        specversion="1.0",
        id=f"{piece.sha256}:{piece.index}",
        source=SOURCE,
        type=OWN + _KINDS[BodyPiece],
        subject=piece.sha256,
        key=piece.bucket,
        datacontenttype="application/octet-stream",
        position=f"{piece.index}:{piece.count}:{piece.size_bytes}",
        data_base64=_text(piece.content),
    )


def _of_own(line: Begun | Gone | Anchor | Seal | Ended) -> _Own:
    match line:
        case Anchor():
            id = f"{line.partition}:{line.first}"
        case Gone() | Seal():
            id = f"{line.partition}:{line.number}"
        case _:
            id = "0"
    return _Own(
        specversion="1.0",
        id=id,
        source=SOURCE,
        type=OWN + _KINDS[type(line)],
        data=msgspec.Raw(_encoder.encode(line)),
        datacontenttype="application/json",
        time=from_us(line.gone_us) if isinstance(line, Gone | Anchor) else None,
    )


def _own(line: _Line, text: bytes) -> Line:
    kind = _BY_TYPE.get(line.type)
    if kind is None:
        raise Malformed(
            f"there is no line of the type {line.type[:80]!r}: was it written by a newer version?"
        )
    if kind is BodyPiece:
        index, count, size_bytes = _numbers(line.position, 3)
        content = _bytes("data_base64", line.data_base64)
        return BodyPiece(
            _there("key", line.key), _there("subject", line.subject), index, count, size_bytes, content
        )
    found: Any = msgspec.json.decode(_own_decoder.decode(text).data, type=kind)
    return cast(Line, found)


def _event(line: _Line) -> Kept:
    partition, number = _numbers(line.position, 2)
    stream = _there("stream", line.stream)
    encoded = _encoded(line) if line.envelope is None else _bytes("envelope", line.envelope)
    event = codec.decode_event(encoded)
    bare = Kept(
        partition=partition,
        number=number,
        stream=stream,
        version=_there("streamversion", line.streamversion),
        category=category_of(stream) if partition == DECISIONS else None,
        prev=line.prev,
        key=event.key,
        time_us=to_us(event.time),
        recorded_us=to_us(_there("recordedtime", line.recordedtime)),
        checksum=0,
        salt=_bytes("salt", line.salt),
        digest=_bytes("digest", line.digest),
        event=encoded,
    )
    return msgspec.structs.replace(bare, checksum=checksum_of(bare))


def _encoded(line: _Line) -> bytes:
    """The event as the bus and the log encode it."""
    version = (line.dataschema or "").rpartition("/")[2]
    if not (version.isascii() and version.isdigit() and len(version) < 9):
        raise Malformed(f"attribute 'dataschema' ends with no version: {(line.dataschema or '')[:80]!r}")
    event = Event(
        id=line.id,
        source=line.source,
        type=line.type,
        version=int(version),
        key=_there("key", line.key),
        subject=line.subject,
        time=_there("time", line.time),
        data=msgspec.Raw(_bytes("data_base64", line.data_base64)),
        partitionkey=line.partitionkey,
        correlationid=line.correlationid,
        causationid=line.causationid,
        traceparent=line.traceparent,
    )
    codec.check(event)
    return codec.encode_event(event)


def _text(content: Any) -> str:
    return base64.b64encode(content).decode()


def _bytes(name: str, text: str | None) -> bytes:
    try:
        return base64.b64decode(_there(name, text), validate=True)
    except ValueError as error:
        raise Malformed(f"attribute {name!r} is no base64: {error}") from error


def _numbers(text: str | None, count: int) -> list[int]:
    parts = _there("position", text).split(":")
    if len(parts) != count or not all(part.isascii() and part.isdigit() and len(part) < 16 for part in parts):
        raise Malformed(f"attribute 'position' is {(text or '')[:80]!r}, not {count} numbers")
    return [int(part) for part in parts]


V = TypeVar("V")


def _there(name: str, value: V | None) -> V:
    if value is None:
        raise Malformed(f"attribute {name!r} is missing")
    return value
