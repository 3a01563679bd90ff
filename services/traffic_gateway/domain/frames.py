"""Reads the frames of a WebSocket as they go by (RFC 6455), one direction's. Pure; called by `messages`.

It watches and never judges: bytes pass whatever it makes of them, and where it cannot follow (an extension
that nobody knows, a frame that is none) it stops reading, for good. Memory is bounded by what the caller
wants to keep of a message. Fragments are put together, compressed messages inflated when permessage-deflate
was agreed on (RFC 7692).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from typing import Literal

import msgspec

Kind = Literal["text", "binary", "ping", "pong", "close"]

_KINDS: dict[int, Kind] = {1: "text", 2: "binary", 8: "close", 9: "ping", 10: "pong"}
_CONTROL = 8  # this bit of the opcode
_CONTROL_BYTES = 125
_FIN, _RSV1, _OTHER_RSV = 0x80, 0x40, 0x30
_TAIL = b"\x00\x00\xff\xff"  # RFC 7692 7.2.2: what the sender takes off the end of a message


class Message(msgspec.Struct, frozen=True):
    """content: unmasked, inflated, all fragments together. cut: it was longer than what is kept."""

    kind: Kind
    content: bytes
    cut: bool = False


class Inflating:
    """takeover: the window lives on from message to message."""

    __slots__ = ("_inflater", "_takeover")

    def __init__(self, *, takeover: bool) -> None:
        self._takeover = takeover
        self._inflater = zlib.decompressobj(-zlib.MAX_WBITS)

    def piece(self, data: bytes, limit_bytes: int) -> tuple[bytes, bool]:
        """What it inflates to, at most `limit_bytes` of it; and whether there is more, after which nothing
        can be inflated any more. Raises zlib.error."""
        found = self._inflater.decompress(data, limit_bytes + 1)
        return found[:limit_bytes], len(found) > limit_bytes

    def end_message(self) -> None:
        if not self._takeover or self._inflater.eof:
            self._inflater = zlib.decompressobj(-zlib.MAX_WBITS)


class _Gathered:
    """A message whose frames are coming."""

    __slots__ = ("compressed", "content", "cut", "kind")

    def __init__(self, kind: Kind, compressed: bool) -> None:
        self.kind = kind
        self.compressed = compressed
        self.content = bytearray()
        self.cut = False


class Frames:
    """room: how many more bytes of a message are worth keeping, asked whenever some have come. lost: the
    reading has stopped. closing: a Close was seen."""

    def __init__(self, room: Callable[[], int], inflating: Inflating | None = None) -> None:
        self._room = room
        self._inflating = inflating
        self._head = bytearray()
        self._mask = b""
        self._masked_bytes = 0  # of the frame's payload so far
        self._left = -1  # of the frame's payload; -1: a head is being read
        self._final = False
        self._message: _Gathered | None = None
        self._control: _Gathered | None = None
        self.lost = False
        self.closing = False

    @property
    def gathered_bytes(self) -> int:
        """Held of a message that has not ended."""
        return 0 if self._message is None else len(self._message.content)

    def feed(self, data: bytes) -> Iterator[Message]:
        """The messages that end in `data`."""
        at = 0
        while not self.lost and (at < len(data) or self._left == 0):
            if self._left < 0:
                at = self._read_head(data, at)
                continue
            piece = data[at : at + self._left]
            at += len(piece)
            self._left -= len(piece)
            self._take(piece)
            if self._left == 0:
                self._left = -1
                yield from self._end_frame()

    def _read_head(self, data: bytes, at: int) -> int:
        """Where the head ends in `data`, or `data` does."""
        head = self._head
        while at < len(data):
            missing = _head_bytes(head) - len(head)
            head += data[at : at + missing]
            at += missing
            if len(head) >= _head_bytes(head):
                self._begin(bytes(head))
                head.clear()
                return at
        return min(at, len(data))

    def _begin(self, head: bytes) -> None:
        """A frame (RFC 6455 5.2)."""
        opcode, short = head[0] & 0x0F, head[1] & 0x7F
        masked = bool(head[1] & 0x80)
        extended = head[2 : len(head) - 4 if masked else len(head)]
        self._mask = head[-4:] if masked else b""
        self._masked_bytes = 0
        self._left = int.from_bytes(extended) if extended else short
        self._final = bool(head[0] & _FIN)
        compressed = bool(head[0] & _RSV1)
        control = bool(opcode & _CONTROL)
        kind = _KINDS.get(opcode)
        self.lost = (
            bool(head[0] & _OTHER_RSV)
            or (kind is None and opcode != 0)
            or (control and (short > _CONTROL_BYTES or not self._final or compressed))
            or (not control and (opcode == 0) != (self._message is not None))
            or (compressed and (self._inflating is None or opcode == 0))
        )
        if self.lost or kind is None:
            return
        if control:
            self._control = _Gathered(kind, False)
        else:
            self._message = _Gathered(kind, compressed)

    def _take(self, piece: bytes) -> None:
        gathered = self._control or self._message
        if gathered is None or not piece:
            return
        if self._mask:
            offset = self._masked_bytes
            self._masked_bytes = (offset + len(piece)) % 4
            if gathered.cut:
                return
            piece = _unmasked(piece, self._mask, offset)
        self._add(gathered, piece)

    def _add(self, gathered: _Gathered, piece: bytes) -> None:
        if gathered.cut:
            return
        left = _CONTROL_BYTES if gathered is self._control else max(0, self._room())
        if gathered.compressed:
            assert self._inflating is not None
            try:
                piece, gathered.cut = self._inflating.piece(piece, left)
            except zlib.error:
                self.lost = True
                return
        elif len(piece) > left:
            piece, gathered.cut = piece[:left], True
        gathered.content += piece

    def _end_frame(self) -> Iterator[Message]:
        if self._control is not None:
            control, self._control = self._control, None
            self.closing = self.closing or control.kind == "close"
            yield Message(control.kind, bytes(control.content), control.cut)
            return
        gathered = self._message
        if gathered is None or not self._final:
            return
        self._message = None
        if gathered.compressed and not gathered.cut:
            self._add(gathered, _TAIL)
            if self._inflating is not None:
                self._inflating.end_message()
        if self.lost:
            return
        if gathered.compressed and gathered.cut:
            self.lost = True  # the window is gone with what was not inflated
        yield Message(gathered.kind, bytes(gathered.content), gathered.cut)


def _head_bytes(head: bytearray) -> int:
    """How long a frame's head is, as far as what has come of it tells."""
    if len(head) < 2:
        return 2
    short = head[1] & 0x7F
    return 2 + {126: 2, 127: 8}.get(short, 0) + (4 if head[1] & 0x80 else 0)


def _unmasked(data: bytes, mask: bytes, offset: int) -> bytes:
    """RFC 6455 5.3, many bytes at a time."""
    key = (mask[offset:] + mask[:offset]) * (len(data) // 4 + 1)
    return (int.from_bytes(data) ^ int.from_bytes(key[: len(data)])).to_bytes(len(data))
