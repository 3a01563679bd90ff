"""A WebSocket's messages as the body of a call: the request's are the client's, the response's the target's.
Pure.

Kept are JSON lines, one a message, in the order of their ends:

    {"at_ms": 12.5, "kind": "text", "text": "..."}
    {"at_ms": 13.0, "kind": "binary", "base64": "..."}
    {"at_ms": 99.0, "kind": "close", "code": 1000, "text": ""}

at_ms: since the call began. kind: text, binary, ping, pong or close. `text` where the bytes are UTF-8 (never
for `binary`), else `base64`. cut: true where the message was longer than there was room. A Body with form
`websocket` has such lines; its `size_bytes` are those of all frames on the wire. `truncated`: not all
messages are there.

It is these lines that redaction (`masking`) gets to see: each is a JSON object of its own, what may be secret
in it is the string under `text` (often JSON in itself), and lines stay lines.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from schemas.traffic_gateway import Body
from services.traffic_gateway.domain.bodies import Budget, Stored, Tap
from services.traffic_gateway.domain.frames import Frames, Inflating, Message

_LINE_BYTES = 96  # of a line, beside its content


class MessagesTap(Tap):
    """Watches one direction's frames. elapsed_ms: since the call began."""

    __slots__ = ("_elapsed_ms", "_frames", "_gathered_bytes", "_incomplete", "_wire_bytes")

    def __init__(
        self,
        cap_bytes: int,
        budget: Budget,
        elapsed_ms: Callable[[], float],
        *,
        inflating: Inflating | None,
        readable: bool = True,
    ) -> None:
        """readable: no extension was agreed on that nobody here knows."""
        super().__init__(cap_bytes, budget)
        self._elapsed_ms = elapsed_ms
        self._incomplete = False
        self._gathered_bytes = 0  # of a message that has not ended: taken out of the budget too
        self._frames = Frames(self._message_room_bytes, inflating)
        self._frames.lost = not readable
        self._wire_bytes = 0

    @property
    def closing(self) -> bool:
        """A Close went by, or may have: the frames cannot be read any more."""
        return self._frames.closing or self._frames.lost

    def add(self, piece: bytes) -> None:
        self._wire_bytes += len(piece)
        for message in self._frames.feed(piece):
            self._gather(0)
            self._keep(message)
        self._gather(self._frames.gathered_bytes)

    def drop(self) -> None:
        self._gather(0)
        super().drop()

    def body(self) -> tuple[Body, Stored | None]:
        body, stored = super().body()
        if not self._wire_bytes:
            return msgspec.structs.replace(body, form="websocket"), stored
        truncated = self._incomplete or self._frames.lost
        return msgspec.structs.replace(
            body, size_bytes=self._wire_bytes, truncated=truncated, form="websocket"
        ), stored

    def _message_room_bytes(self) -> int:
        if self._incomplete:
            return 0
        ungathered_bytes = self._frames.gathered_bytes - self._gathered_bytes
        left_bytes = self.cap_bytes - self._kept_bytes - self._frames.gathered_bytes
        return min(left_bytes, self.budget.left_bytes - ungathered_bytes)

    def _gather(self, size_bytes: int) -> None:
        """A message that never ends, or is small and inflates, holds memory as a kept one does."""
        self.budget.left_bytes += self._gathered_bytes - size_bytes
        self._gathered_bytes = size_bytes

    def _keep(self, message: Message) -> None:
        if self._incomplete:
            return
        self._incomplete = message.cut
        room = self.room_bytes()
        line = _line(message, self._elapsed_ms())
        if len(line) > room:
            self._incomplete = True
            share = max(0, room - _LINE_BYTES) * len(message.content) // len(line)
            cut = msgspec.structs.replace(message, content=message.content[:share], cut=True)
            line = _line(cut, self._elapsed_ms())
            if not share or len(line) > room:
                return
        super().add(line)


def taps(
    like: Tap, elapsed_ms: Callable[[], float], extensions: Iterable[str]
) -> tuple[MessagesTap, MessagesTap]:
    """For what the client sends, and for what the target sends. like: with its cap and budget, nothing kept
    yet. extensions: the values of the 101's Sec-WebSocket-Extensions, which both sides keep to."""
    agreed = [each.strip() for value in extensions for each in value.split(",") if each.strip()]
    names = [each.partition(";")[0].strip().lower() for each in agreed]
    readable = names in ([], ["permessage-deflate"])
    parameters = {part.strip().lower() for each in agreed for part in each.split(";")[1:]}

    def tap(side: str) -> MessagesTap:
        takeover = f"{side}_no_context_takeover" not in parameters
        inflating = Inflating(takeover=takeover) if names and readable else None
        return MessagesTap(like.cap_bytes, like.budget, elapsed_ms, inflating=inflating, readable=readable)

    return tap("client"), tap("server")


def _line(message: Message, at_ms: float) -> bytes:
    shown: dict[str, Any] = {"at_ms": round(at_ms, 3), "kind": message.kind}
    content = message.content
    if message.kind == "close" and len(content) >= 2:
        shown["code"] = int.from_bytes(content[:2])
        content = content[2:]
    text = None if message.kind == "binary" else _text(content, message.cut)
    if text is None:
        shown["base64"] = b64encode(content).decode("ascii")
    else:
        shown["text"] = text
    if message.cut:
        shown["cut"] = True
    return msgspec.json.encode(shown) + b"\n"


def _text(content: bytes, cut: bool) -> str | None:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        if cut and error.end == len(content) and len(content) - error.start < 4:  # cut within a character
            return content[: error.start].decode("utf-8")
        return None
