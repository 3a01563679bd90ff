"""Bodies of calls on their way to the vault, and read from it."""

from __future__ import annotations

import msgspec

from bus.message import Ask, Fact

BODY_PART_BYTES = 256 * 1024


class BodyChunk(Fact, frozen=True):
    """A piece of a body on its way to the vault, sent before the event that names the body.

    Subject: the body's SHA-256 (hex). Key: the bucket. chunk i of n covers bytes [i * chunk size, ...); all
    but the last have the same size of at most 256 KiB. A chunk's event id derives from bucket, hash and
    index, so that a repeat is the same event.
    """

    TYPE = "vault.body.chunk"
    EXCHANGE = "bodies"

    bucket: str
    sha256: str
    index: int
    count: int
    size_bytes: int  # of the whole body
    data: bytes


class BodyPart(msgspec.Struct, frozen=True):
    data: bytes
    size_bytes: int  # of the whole body


class ReadBody(Ask[BodyPart], frozen=True):
    """Up to BODY_PART_BYTES of a stored body from `offset` on. Refused: body-unknown, body-damaged."""

    TYPE = "vault.body.read"

    bucket: str
    sha256: str
    offset: int = 0
