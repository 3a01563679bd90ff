"""Requests that are wrong in some way, for `test_malformed`: valid ones, mutated; the same for a seed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

VALID = (
    b"GET PATH/a?b=c HTTP/1.1\r\nHost: gw\r\nAccept: */*\r\n\r\n",
    b"POST PATH/x HTTP/1.1\r\nHost: gw\r\nContent-Length: 11\r\nContent-Type: text/plain\r\n\r\nhello world",
    b"PUT PATH HTTP/1.1\r\nHost: gw\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"5\r\nhello\r\n6;a=b\r\n world\r\n0\r\n\r\n",
    b"PATCH PATH HTTP/1.1\r\nHost: gw\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"3\r\nabc\r\n0\r\nX-Trailer: 1\r\n\r\n",
    b"POST PATH HTTP/1.1\r\nHost: gw\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi",
    b"GET PATH HTTP/1.1\r\nHost: gw\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    b"GET PATH HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: gw\r\n\r\n",
    b"CONNECT 127.0.0.1:1 HTTP/1.1\r\nHost: 127.0.0.1:1\r\n\r\n",
    b"GET http://127.0.0.1:1/ HTTP/1.1\r\nHost: 127.0.0.1:1\r\n\r\n",
)
BYTES = (
    b"\0",
    b"\r",
    b"\n",
    b"\t",
    b" ",
    b"\x0b",
    b"\x7f",
    b"\x80",
    b"\xff",
    b":",
    b",",
    b";",
    b"%",
    b"/",
    b"\\",
)
HEADERS = (
    b"Content-Length: 5", b"Content-Length: 0", b"Content-Length: -1", b"Content-Length: 1e3",
    b"Content-Length: 18446744073709551616", b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: xchunked",
    b"Transfer-Encoding: chunked, identity", b"Transfer-Encoding : chunked", b"Transfer-Encoding:\x0bchunked",
    b"Host: other", b"Host:", b"Host: a b", b" folded", b"\tfolded", b": nameless", b"nameful", b"X: \0",
    b"X: \r",
    b"Connection: Host, Content-Length", b"Expect: 200-ok", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk",
    b"Sec-WebSocket-Key1: x", b"Trunkline-Request-Port: -1", b"Via: 1.1 x, , ;", b"X: " + b"a" * 70_000,
    b"Cookie: " + b"=;" * 5000, b"Proxy-Authorization: Basic !!!", b"\xff\xfe: \xfd",
)  # fmt: skip
SIZES = (b"-1", b"0x5", b"fffffffffffffffff", b"", b"5 ", b" 5", b"g", b"5;", b"5;a=\"", b"+5")  # fmt: skip
VERSIONS = (
    b"HTTP/0.9",
    b"HTTP/1.2",
    b"HTTP/2.0",
    b"HTTP/11",
    b"http/1.1",
    b"RTSP/1.0",
    b"ICE/1.0",
    b"",
    b"HTTP/1.1 x",
)
TARGETS = (
    b"", b"/", b"*", b"//", b"/%00", b"PATH/\xff", b"http://", b"http://[::1", b"http:///x", b"http://a@b:c/",
    b"/7xzcnsgbwox2/http://127.0.0.1:0/", b"/7xzcnsgbwox2/http://[::1/", b"/7xzcnsgbwox2/http://\xc3\xa9/",
    b"/7xzcnsgbwox2/ftp://x", b"/aaaaaaaaaaaa/http://x/", b"/" + b"a" * 70_000, b"PATH\r\nX: y", b"?", b"#",
)  # fmt: skip

Mutation = Callable[[bytes, random.Random], bytes]


def a_byte_in(raw: bytes, dice: random.Random) -> bytes:
    at = dice.randrange(len(raw) + 1)
    return raw[:at] + dice.choice(BYTES) + raw[at:]


def a_byte_changed(raw: bytes, dice: random.Random) -> bytes:
    at = dice.randrange(len(raw))
    return raw[:at] + bytes((dice.randrange(256),)) + raw[at + 1 :]


def a_piece_out(raw: bytes, dice: random.Random) -> bytes:
    at = dice.randrange(len(raw))
    return raw[:at] + raw[at + dice.randrange(1, 12) :]


def a_piece_twice(raw: bytes, dice: random.Random) -> bytes:
    at = dice.randrange(len(raw))
    end = at + dice.randrange(1, 40)
    return raw[:end] + raw[at:end] + raw[end:]


def cut_off(raw: bytes, dice: random.Random) -> bytes:
    return raw[: dice.randrange(1, len(raw))]


def a_header_more(raw: bytes, dice: random.Random) -> bytes:
    lines = raw.split(b"\r\n")
    lines.insert(dice.randrange(len(lines)) + 1, dice.choice(HEADERS))
    return b"\r\n".join(lines)


def other_line_ends(raw: bytes, dice: random.Random) -> bytes:
    return raw.replace(
        b"\r\n", dice.choice((b"\n", b"\r", b"\r\r\n", b"\n\r", b"\r\n ")), dice.choice((1, 2, -1))
    )


def another_version(raw: bytes, dice: random.Random) -> bytes:
    return raw.replace(b"HTTP/1.1", dice.choice(VERSIONS), 1)


def another_target(raw: bytes, dice: random.Random) -> bytes:
    method, _, rest = raw.partition(b" ")
    return method + b" " + dice.choice(TARGETS) + b" " + rest.partition(b" ")[2]


def another_size(raw: bytes, dice: random.Random) -> bytes:
    return raw.replace(b"\r\n5\r\n", b"\r\n" + dice.choice(SIZES) + b"\r\n", 1)


def noise(raw: bytes, dice: random.Random) -> bytes:
    return dice.randbytes(dice.randrange(1, 400))


MUTATIONS: tuple[Mutation, ...] = (
    a_byte_in, a_byte_changed, a_piece_out, a_piece_twice, cut_off, a_header_more, other_line_ends,
    another_version, another_target, another_size, noise,
)  # fmt: skip


def malformed(count: int, seed: int = 1) -> Iterator[bytes]:
    """So many requests, PATH in them standing for a target's address; a few are still valid."""
    dice = random.Random(seed)
    for _ in range(count):
        raw = dice.choice(VALID)
        for _ in range(dice.choice((1, 1, 1, 2, 3))):
            raw = dice.choice(MUTATIONS)(raw, dice) or b"\0"
        yield raw
