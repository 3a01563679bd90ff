"""Reading a WebSocket's frames as they go by."""

from __future__ import annotations

import json
import zlib
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.traffic_gateway.domain.bodies import Budget, Tap
from services.traffic_gateway.domain.frames import Frames, Inflating, Message
from services.traffic_gateway.domain.messages import MessagesTap, taps

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


def frame(opcode: int, payload: bytes, *, final: bool = True, mask: bytes = b"", rsv: int = 0) -> bytes:
    head = bytes((opcode | (0x80 if final else 0) | rsv,))
    masked = 0x80 if mask else 0
    if len(payload) < 126:
        head += bytes((masked | len(payload),))
    elif len(payload) < 65536:
        head += bytes((masked | 126,)) + len(payload).to_bytes(2)
    else:
        head += bytes((masked | 127,)) + len(payload).to_bytes(8)
    if mask:
        payload = bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))
    return head + mask + payload


def read(data: bytes, cuts: list[int] | None = None, inflating: Inflating | None = None) -> list[Message]:
    frames = Frames(lambda: 2**20, inflating)
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts or [])})
    found: list[Message] = []
    for begin, end in pairwise(places):
        found += frames.feed(data[begin:end])
    return found


messages = st.lists(
    st.tuples(st.sampled_from([TEXT, BINARY]), st.lists(st.binary(max_size=300), min_size=1, max_size=4)),
    max_size=5,
)
masks = st.one_of(st.just(b""), st.binary(min_size=4, max_size=4))
cuts = st.lists(st.integers(0, 10_000), max_size=20)


@given(messages, masks, cuts)
def test_fragments_are_put_together_however_the_bytes_come(
    said: list[tuple[int, list[bytes]]], mask: bytes, places: list[int]
) -> None:
    wire = b""
    wanted = []
    for opcode, parts in said:
        for at, part in enumerate(parts):
            wire += frame(opcode if at == 0 else 0, part, final=at == len(parts) - 1, mask=mask)
            if at < len(parts) - 1:
                wire += frame(PING, b"between", mask=mask)
                wanted.append(Message("ping", b"between"))
        wanted.append(Message("text" if opcode == TEXT else "binary", b"".join(parts)))
    assert read(wire, places) == wanted


@given(st.lists(st.binary(max_size=500), max_size=6), masks, cuts, st.booleans())
def test_compressed_messages_are_inflated(
    said: list[bytes], mask: bytes, places: list[int], takeover: bool
) -> None:
    wire = b""
    deflater = zlib.compressobj(wbits=-15)
    for text in said:
        if not takeover:
            deflater = zlib.compressobj(wbits=-15)
        packed = (deflater.compress(text) + deflater.flush(zlib.Z_SYNC_FLUSH))[:-4]
        half = len(packed) // 2
        wire += frame(BINARY, packed[:half], final=False, rsv=0x40, mask=mask)
        wire += frame(0, packed[half:], mask=mask)
        wire += frame(TEXT, b"plain", mask=mask)  # RFC 7692 6: not every message has to be compressed
    found = read(wire, places, Inflating(takeover=takeover))
    assert [message.content for message in found if message.kind == "binary"] == said


@given(st.binary(max_size=400), cuts, st.booleans())
def test_any_bytes_are_read_or_given_up(data: bytes, places: list[int], deflate: bool) -> None:
    read(data, places, Inflating(takeover=True) if deflate else None)


@pytest.mark.parametrize(
    "wire",
    [
        frame(3, b""),
        frame(TEXT, b"", rsv=0x20),
        frame(TEXT, b"", rsv=0x40),
        frame(0, b"of nothing"),
        frame(TEXT, b"", final=False) + frame(TEXT, b"again"),
        frame(PING, b"x" * 126),
        frame(PING, b"x", final=False),
    ],
)
def test_what_is_no_frame_ends_the_reading(wire: bytes) -> None:
    frames = Frames(lambda: 100)
    list(frames.feed(wire))
    assert frames.lost
    assert list(frames.feed(frame(TEXT, b"later"))) == []


def test_a_bomb_is_not_inflated_beyond_what_is_kept() -> None:
    deflater = zlib.compressobj(wbits=-15)
    packed = (deflater.compress(bytes(50_000_000)) + deflater.flush(zlib.Z_SYNC_FLUSH))[:-4]
    frames = Frames(lambda: 1000, Inflating(takeover=True))
    (message,) = frames.feed(frame(BINARY, packed, rsv=0x40))
    assert message == Message("binary", bytes(1000), cut=True)
    assert frames.lost


def a_tap(cap_bytes: int = 10_000) -> MessagesTap:
    return taps(Tap(cap_bytes, Budget(2**20)), lambda: 1.5, ())[0]


def lines(tap: MessagesTap) -> list[dict[str, object]]:
    body, _ = tap.body()
    assert body.form == "websocket"
    return [json.loads(line) for line in (body.inline or b"").splitlines()]


def test_a_message_is_a_line() -> None:
    tap = a_tap()
    for wire in (
        frame(TEXT, "Grüße\n".encode(), mask=b"abcd"),
        frame(BINARY, b"text"),
        frame(PING, b"\xff"),
        frame(CLOSE, b"\x03\xe8bye"),
        frame(CLOSE, b""),
    ):
        tap.add(wire)
    assert lines(tap) == [
        {"at_ms": 1.5, "kind": "text", "text": "Grüße\n"},
        {"at_ms": 1.5, "kind": "binary", "base64": "dGV4dA=="},
        {"at_ms": 1.5, "kind": "ping", "base64": "/w=="},
        {"at_ms": 1.5, "kind": "close", "code": 1000, "text": "bye"},
        {"at_ms": 1.5, "kind": "close", "text": ""},
    ]
    assert tap.closing
    assert not tap.body()[0].truncated


@given(st.integers(0, 2000), st.lists(st.text(max_size=400), max_size=12))
def test_lines_stay_whole_and_within_the_cap(cap_bytes: int, said: list[str]) -> None:
    tap = a_tap(cap_bytes)
    wire = b"".join(frame(TEXT, text.encode()) for text in said)
    tap.add(wire)
    kept = lines(tap)
    body, _ = tap.body()
    assert body.captured_bytes <= cap_bytes
    assert body.size_bytes == len(wire)
    for line, text in zip(kept, said, strict=False):
        assert text.startswith(str(line["text"]))
        assert line.get("cut") or line["text"] == text
    assert body.truncated == (len(kept) < len(said) or any("cut" in line for line in kept))


def test_an_unknown_extension_is_not_read() -> None:
    for tap in taps(Tap(1000, Budget(1000)), lambda: 0.0, ["x-unheard-of, permessage-deflate"]):
        tap.add(frame(TEXT, b"?"))
        body, _ = tap.body()
        assert (body.size_bytes, body.captured_bytes, body.truncated) == (3, 0, True)


@pytest.mark.parametrize("packed", [False, True])
def test_messages_that_never_end_share_the_memory_of_all_bodies(packed: bool) -> None:
    budget = Budget(100_000)
    extensions = ("permessage-deflate",) if packed else ()
    payload = b"x" * 60_000
    if packed:
        deflater = zlib.compressobj(wbits=-15)
        payload = deflater.compress(payload) + deflater.flush(zlib.Z_SYNC_FLUSH)
    sockets = [taps(Tap(10**6, budget), lambda: 0.0, extensions)[0] for _ in range(20)]
    for at in range(0, len(payload), 7_000):  # all of them at once, piece by piece
        for socket in sockets:
            piece = payload[at : at + 7_000]
            socket.add(
                frame(TEXT if at == 0 else 0, piece, final=False, rsv=0x40 if packed and not at else 0)
            )
        assert budget.left_bytes >= 0
    assert sum(socket._frames.gathered_bytes for socket in sockets) == 100_000
    for socket in sockets:
        socket.drop()
    assert budget.left_bytes == 100_000
