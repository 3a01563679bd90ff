"""What a partition of the log consists of, number by number, with all that it takes to prove it: records,
what is left of those that are gone, and the seals between them.

Pure. Engines give links out and take them in (`Store.links`, `Store.load`); `domain.verifying` proves them.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import TypeAlias

import msgspec

from bus.event import Event
from schemas.request_vault import Position
from services.request_vault.domain import chain
from services.request_vault.domain.recording import checksum, content_hash, to_us


class Identity(msgspec.Struct, frozen=True):
    """What keeps a record that is gone from rising again. time_us: of its event."""

    number: int
    id: str
    source: str
    content: bytes
    gone_us: int
    time_us: int
    checksum: int


class Kept(msgspec.Struct, frozen=True):
    """A record. key, time_us: as in the event's envelope."""

    partition: int
    number: int
    stream: str
    version: int
    category: str | None
    prev: int | None
    key: str
    time_us: int
    recorded_us: int
    checksum: int
    salt: bytes
    digest: bytes
    event: bytes


def kept(
    event: Event,
    encoded: bytes,
    partition: int,
    number: int,
    stream: str,
    version: int,
    category: str | None,
    prev: int | None,
    recorded_us: int,
    salt: bytes,
) -> Kept:
    """The record of an event, with its checksum and digest."""
    digest = chain.record_digest(salt, partition, number, stream, version, prev, recorded_us, encoded)
    crc = checksum(partition, number, stream, version, prev, recorded_us, encoded)
    return Kept(
        partition, number, stream, version, category, prev, event.key, to_us(event.time), recorded_us, crc,
        salt, digest, encoded,
    )  # fmt: skip


class Gone(msgspec.Struct, frozen=True):
    """A record that was erased: when, by whom and why. identity: None once it was forgotten."""

    partition: int
    number: int
    stream: str
    version: int
    category: str | None
    prev: int | None
    digest: bytes
    gone_us: int
    by: str
    why: str
    checksum: int
    identity: Identity | None = None


class Anchor(msgspec.Struct, frozen=True):
    """A run of trimmed records, `first` to `last`, within one segment of the chain. digests: theirs, one
    after another; empty when the run is the whole segment, whose seal then stands for them."""

    partition: int
    first: int
    last: int
    digests: bytes
    gone_us: int
    checksum: int
    identities: tuple[Identity, ...] = ()


class Seal(msgspec.Struct, frozen=True):
    """The end of a segment: see `domain.chain`."""

    partition: int
    number: int
    running: bytes
    chain: bytes


class Damaged(msgspec.Struct, frozen=True):
    """What cannot be read."""

    partition: int
    first: int
    last: int
    why: str


Link: TypeAlias = Kept | Gone | Anchor | Seal | Damaged


class End(msgspec.Struct, frozen=True):
    """Where a partition ends: its newest number, and the chain up to it."""

    partition: int
    number: int
    running: bytes
    chain: bytes


def first_number(link: Link) -> int:
    return link.first if isinstance(link, Anchor | Damaged) else link.number


def last_number(link: Link) -> int:
    return link.last if isinstance(link, Anchor | Damaged) else link.number


def digests_of(anchor: Anchor) -> dict[int, bytes]:
    """By number; none for a whole segment."""
    step = chain.DIGEST_BYTES
    return {
        anchor.first + at // step: anchor.digests[at : at + step]
        for at in range(0, len(anchor.digests), step)
    }


def is_complete(anchor: Anchor) -> bool:
    """Whether it lies in one segment and has the digests that it is to have."""
    first, last = chain.segment_of(anchor.first)
    if (first, last) == (anchor.first, anchor.last):
        return not anchor.digests
    count = anchor.last - anchor.first + 1
    return anchor.first <= anchor.last <= last and len(anchor.digests) == chain.DIGEST_BYTES * count


def checksum_of(link: Kept | Gone | Anchor) -> int:
    """What the link's checksum must be."""
    match link:
        case Kept():
            return checksum(
                link.partition,
                link.number,
                link.stream,
                link.version,
                link.prev,
                link.recorded_us,
                link.event,
            )
        case Gone():
            return checksum_of_gone(
                link.partition,
                link.number,
                link.stream,
                link.version,
                link.category,
                link.prev,
                link.digest,
                link.gone_us,
                link.by,
                link.why,
            )
        case Anchor():
            return _crc(link.partition, link.first, link.last, link.digests, link.gone_us)


def checksum_of_gone(
    partition: int,
    number: int,
    stream: str,
    version: int,
    category: str | None,
    prev: int | None,
    digest: bytes,
    gone_us: int,
    by: str,
    why: str,
) -> int:
    """Of what is left of an erased record."""
    return _crc(partition, number, stream, version, category, prev, digest, gone_us, by, why)


def checksum_of_identity(partition: int, identity: Identity) -> int:
    return _crc(
        partition, identity.number, identity.id, identity.source, identity.content, identity.gone_us,
        identity.time_us,
    )  # fmt: skip


def checksum_of_mark(name: str, number: int) -> int:
    """Of a number that the vault keeps under a name, such as how far it has published."""
    return _crc(name, number)


def digest_of(kept: Kept) -> bytes:
    """What the record's digest must be."""
    return chain.record_digest(
        kept.salt,
        kept.partition,
        kept.number,
        kept.stream,
        kept.version,
        kept.prev,
        kept.recorded_us,
        kept.event,
    )


def identity_of(position: Position, event: Event, gone_us: int) -> Identity:
    """What stays of an event's identity when its record goes."""
    partition, number = position
    bare = Identity(number, event.id, event.source, content_hash(event), gone_us, to_us(event.time), 0)
    return msgspec.structs.replace(bare, checksum=checksum_of_identity(partition, bare))


def anchor(partition: int, first: int, digests: Sequence[bytes] | bytes, gone_us: int) -> Anchor:
    """The anchor of trimmed records, of which `first` is the first; its digests are left out when the run is
    a whole segment."""
    joined = digests if isinstance(digests, bytes) else b"".join(digests)
    last = first + len(joined) // chain.DIGEST_BYTES - 1
    if chain.begins_segment(first) and chain.ends_segment(last):
        joined = b""
    bare = Anchor(partition, first, last, joined, gone_us, 0)
    return msgspec.structs.replace(bare, checksum=checksum_of(bare))


def with_trimmed(
    partition: int, anchors: Sequence[Anchor], trimmed: Sequence[tuple[int, bytes]], gone_us: int
) -> list[Anchor]:
    """The anchors that stand for these records, (number, digest), and for those of `anchors`, which end or
    begin next to them: neighbours within a segment become one."""
    runs: list[tuple[int, bytes, int]] = [
        (each.first, each.digests, each.gone_us) for each in anchors if each.digests
    ]
    runs += [(number, digest, gone_us) for number, digest in trimmed]
    runs.sort(key=lambda run: run[0])
    merged: list[tuple[int, bytearray, int]] = []
    for first, digests, at_us in runs:
        if merged:
            begin, before, before_us = merged[-1]
            end = begin + len(before) // chain.DIGEST_BYTES
            if end == first and not chain.begins_segment(first):
                before += digests
                merged[-1] = begin, before, max(before_us, at_us)
                continue
        merged.append((first, bytearray(digests), at_us))
    whole = [each for each in anchors if not each.digests]
    return whole + [anchor(partition, first, bytes(digests), at_us) for first, digests, at_us in merged]


def _crc(*values: str | int | bytes | None) -> int:
    return zlib.crc32(msgspec.msgpack.encode(values))
