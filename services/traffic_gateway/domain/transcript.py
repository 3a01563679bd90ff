"""Redaction of a WebSocket's messages: each line that `messages` made is masked by itself, what is in it as a
body of its own. Lines stay lines; when and of which kind a message was stays too. Pure.

A secret that begins in one message and ends in the next is not found: no message has it.
"""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode

import msgspec

from services.calls.redaction.marks import Side, Tally
from services.calls.redaction.redactor import RedactedBody, Redactor


class _Line(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """As `messages` writes them."""

    at_ms: float
    kind: str
    code: int | None = None
    text: str | None = None
    base64: str | None = None
    cut: bool = False


_decoder = msgspec.json.Decoder(_Line)


def masked_transcript(data: bytes, side: Side, redactor: Redactor, tally: Tally) -> RedactedBody:
    """The very same object in it if nothing is masked. A line that nobody can read is left out."""
    changed = cut = False
    lines: list[bytes] = []
    for line in data.splitlines(keepends=True):
        masked = _masked(line, side, redactor, tally)
        changed |= masked is not line
        cut |= not masked
        lines.append(masked)
    return RedactedBody(b"".join(lines) if changed else data, cut=cut)


def _masked(line: bytes, side: Side, redactor: Redactor, tally: Tally) -> bytes:
    try:
        read = _decoder.decode(line)
        if read.text is not None:
            content = read.text.encode("utf-8", "surrogatepass")
        else:
            content = b64decode(read.base64 or "", validate=True)
    except (msgspec.DecodeError, UnicodeError, binascii.Error):
        return b""
    redacted = redactor.body(content, (), side, tally, truncated=read.cut)
    if redacted.data is content:
        return line
    if read.text is not None:
        masked = msgspec.structs.replace(read, text=redacted.data.decode("utf-8", "replace"))
    else:
        masked = msgspec.structs.replace(read, base64=b64encode(redacted.data).decode("ascii"))
    return msgspec.json.encode(masked) + b"\n"
