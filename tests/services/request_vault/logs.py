"""Logs of one partition as links, as far as records are there, were erased or trimmed."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Sequence

import msgspec

from bus import codec
from services.request_vault.domain import chain
from services.request_vault.domain.links import (
    Anchor,
    Gone,
    Identity,
    Kept,
    Link,
    Seal,
    checksum_of,
    digest_of,
    identity_of,
    last_number,
    with_trimmed,
)
from services.request_vault.domain.recording import stream_of, to_us
from tests.services.request_vault.samples import order

PARTITION = 1
RECORD, ERASED, TRIMMED = "record", "erased", "trimmed"
State = Callable[[int], str]


@functools.cache
def record(name: str, number: int) -> Kept:
    """Of a log of its own name. Another log has the same events, with other salts."""
    event = order(number)
    bare = Kept(
        PARTITION, number, stream_of(event), 1, None, None, event.key, to_us(event.time), 5, 0,
        hashlib.sha256(f"{name} {number}".encode()).digest()[: chain.SALT_BYTES], b"",
        codec.encode_event(event),
    )  # fmt: skip
    sound = msgspec.structs.replace(bare, checksum=checksum_of(bare))
    return msgspec.structs.replace(sound, digest=digest_of(sound))


@functools.cache
def seal(name: str, number: int) -> Seal:
    running = chain.START
    for each in range(number - chain.SEGMENT + 1, number + 1):
        running = chain.run_on(running, record(name, each).digest)
    before = chain.START if number == chain.SEGMENT else seal(name, number - chain.SEGMENT).chain
    return Seal(PARTITION, number, running, chain.sealed(before, running))


@functools.cache
def identity(name: str, number: int) -> Identity:
    """Of one that went."""
    return identity_of((PARTITION, number), codec.decode_event(record(name, number).event), 6)


@functools.cache
def erased(name: str, number: int) -> Gone:
    kept = record(name, number)
    bare = Gone(
        kept.partition, kept.number, kept.stream, kept.version, kept.category, kept.prev, kept.digest, 6,
        "token", "asked to", 0, identity(name, number),
    )  # fmt: skip
    return msgspec.structs.replace(bare, checksum=checksum_of(bare))


def links_of(name: str, end: int, state: State, first: int = 1) -> list[Link]:
    """The links of numbers `first` to `end`, as an engine gives them out."""
    numbers = range(first, end + 1)
    records = {number: record(name, number) for number in numbers}
    found: list[Link] = []
    found += [records[number] for number in numbers if state(number) == RECORD]
    found += [erased(name, number) for number in numbers if state(number) == ERASED]
    trimmed = [(number, records[number].digest) for number in numbers if state(number) == TRIMMED]
    found += [told(each, name) for each in with_trimmed(PARTITION, [], trimmed, 7)]
    found += [seal(name, number) for number in numbers if chain.ends_segment(number)]
    return in_order(found)


def told(anchor: Anchor, name: str) -> Anchor:
    """With the identities of its numbers."""
    identities = [identity(name, number) for number in range(anchor.first, anchor.last + 1)]
    return msgspec.structs.replace(anchor, identities=tuple(identities))


def in_order(links: Sequence[Link]) -> list[Link]:
    return sorted(links, key=lambda link: (last_number(link), isinstance(link, Seal)))
