"""Cursors: opaque text that says how far a reader has come, bound to what it was reading.

A cursor is base64url of the msgpack array `[FORMAT, fingerprint, {partition: number}]`: a vector, so that
it fits logs with any number of partitions. The fingerprint is of the question; a cursor that is shown to
another question is refused instead of giving pages that belong to nothing.
"""

from __future__ import annotations

import base64
import binascii
import hashlib

import msgspec

from bus.errors import Refused

FORMAT = 1
MAX_CURSOR_CHARS = 2048
MAX_NUMBER = 2**48 - 1

Vector = dict[int, int]
"""The last number seen of each partition; a partition that is not named has not been read."""

_decoder = msgspec.msgpack.Decoder(tuple[int, bytes, dict[int, int]])


def fingerprint(kind: str, *question: object) -> bytes:
    """Six bytes that stand for a question: what kind it is, and its filters."""
    return hashlib.sha256(msgspec.msgpack.encode((kind, question))).digest()[:6]


def encode_cursor(bound_to: bytes, vector: Vector) -> str:
    raw = msgspec.msgpack.encode((FORMAT, bound_to, dict(sorted(vector.items()))))
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def decode_cursor(text: str, bound_to: bytes) -> Vector:
    """Raises Refused("cursor-invalid") when the text is no cursor, of another format, or made for another
    question."""
    return decode_one_of(text, bound_to)[1]


def decode_one_of(text: str, *questions: bytes) -> tuple[bytes, Vector]:
    """Which of the questions the cursor is bound to, and what it says. Raises as `decode_cursor`."""
    if len(text) > MAX_CURSOR_CHARS:
        raise Refused(
            "cursor-invalid", f"the cursor has {len(text)} characters; none has more than {MAX_CURSOR_CHARS}"
        )
    try:
        raw = base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
        version, made_for, vector = _decoder.decode(raw)
    except (UnicodeEncodeError, binascii.Error, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refused("cursor-invalid", "this is no cursor; begin again without one") from error
    if version != FORMAT:
        raise Refused(
            "cursor-invalid",
            f"the cursor has format {version}, this version reads {FORMAT}; begin again without one",
        )
    if made_for not in questions:
        raise Refused(
            "cursor-invalid",
            "the cursor was made for another question; repeat that one, or begin without a cursor",
        )
    if not all(0 <= partition < 2**15 and 0 <= number <= MAX_NUMBER for partition, number in vector.items()):
        raise Refused("cursor-invalid", "the cursor names a place that no log has; begin again without one")
    return made_for, vector
