"""Corners of HTTP that clients and targets do use, byte for byte: what `docs/gateway.md` says of each."""

from __future__ import annotations

import asyncio
import resource
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from services.chassis.outgoing import wire
from services.chassis.outgoing.guard import resolve
from tests.effort import tries
from tests.services.loopback import Peer, dial, target
from tests.services.traffic_gateway.running import KEY, gateway
from tests.services.traffic_gateway.test_streams import PIECE, drink, pour

pytestmark = [pytest.mark.uvloop, pytest.mark.timeout(60 + tries(10))]

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
MIB = 1024 * 1024
BODY_MIB = tries(64)  # each way; 16 times the effort is a GiB
FLAT_MIB = 32


async def test_bodies_of_any_size_in_flat_memory() -> None:
    """Resident memory of gateway, client and target together, which are one process here."""
    pieces = BODY_MIB * MIB // len(PIECE)
    total = pieces * len(PIECE)

    async def talk(peer: Peer) -> None:
        for _ in range(2):  # the first call warms up
            head = await peer.head()
            length = int(head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0])
            got = await drink(peer, length)
            await peer.say(
                b"HTTP/1.1 200 OK\r\nX-Got: %b\r\nContent-Length: %d\r\n\r\n" % (got.encode(), length)
            )
            await pour(peer, length // len(PIECE))

    async with target(talk) as api, gateway(body_cap_bytes=64 * 1024) as at, dial(at.port) as client:
        before = 0
        for size in (32 * len(PIECE), total):
            before = peak_bytes()
            await client.say(
                b"POST " + at.path(api) + b" HTTP/1.1\r\nHost: gw\r\nContent-Length: %d\r\n\r\n" % size
            )
            await pour(client, size // len(PIECE))
            head = await client.head()
            assert (await drink(client, size)).encode() in head
        assert peak_bytes() - before < FLAT_MIB * MIB


def peak_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


async def test_an_endless_answer_is_passed_on_until_the_client_leaves() -> None:
    left = asyncio.Event()

    async def talk(peer: Peer) -> None:
        await peer.head()
        try:
            await peer.say(b"HTTP/1.1 200 OK\r\n\r\n")
            while True:
                await peer.say(PIECE)
        except ConnectionError:
            left.set()

    async with target(talk) as api, gateway(body_cap_bytes=1000) as at:
        async with dial(at.port) as client:
            await client.say(b"GET " + at.path(api) + b" HTTP/1.1\r\nHost: gw\r\n\r\n")
            await drink(client, 8 * MIB)
        async with asyncio.timeout(5):
            await left.wait()
        call = await at.relay.call()
    assert call.error is not None
    assert call.error.slug == "client-disconnected"
    assert call.response is not None
    assert (call.response.body.captured_bytes, call.response.body.truncated) == (1000, True)


async def test_a_client_that_ends_its_side_has_left() -> None:
    """A half-closed client cannot be told from one that is gone, whose call would go on for nobody."""
    heard, left = asyncio.Event(), asyncio.Event()

    async def talk(peer: Peer) -> None:
        await peer.request()
        heard.set()
        await peer.hung_up()
        left.set()

    async with target(talk) as api, gateway() as at, dial(at.port) as client:
        await client.say(b"GET " + at.path(api) + b" HTTP/1.1\r\nHost: gw\r\n\r\n")
        await heard.wait()
        client.writer.write_eof()
        assert await client.rest() == b""
        await left.wait()
        call = await at.relay.call()
        assert call.error is not None
        assert call.error.slug == "client-disconnected"


async def test_a_target_that_ends_its_side_after_an_answer_has_answered() -> None:
    async def talk(peer: Peer) -> None:
        await peer.request()
        await peer.say(OK)
        peer.writer.write_eof()
        await peer.hung_up()

    async with target(talk) as api, gateway() as at, dial(at.port) as client:
        for _ in range(2):
            await client.say(b"GET " + at.path(api) + b" HTTP/1.1\r\nHost: gw\r\n\r\n")
            assert (await client.response())[1] == b"hi"


async def test_a_target_may_refuse_instead_of_asking_for_the_body() -> None:
    async def talk(peer: Peer) -> None:
        assert b"Expect: 100-continue\r\n" in await peer.head()
        await peer.say(b"HTTP/1.1 417 Expectation Failed\r\nContent-Length: 2\r\n\r\nno")
        await peer.hung_up()

    async with target(talk) as api, gateway() as at, dial(at.port) as client:
        await client.say(
            b"POST " + at.path(api) + b" HTTP/1.1\r\nHost: gw\r\n"
            b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n"
        )  # fmt: skip
        head, body = await client.response()
    assert head.startswith(b"HTTP/1.1 417 Expectation Failed\r\n"), "and no 100 of the gateway's before it"
    assert body == b"no"


async def test_a_client_need_not_wait_for_100() -> None:
    async with target(OK) as api, gateway() as at, dial(at.port) as client:
        await client.say(
            b"POST " + at.path(api) + b" HTTP/1.1\r\nHost: gw\r\n"
            b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\nhello"
        )  # fmt: skip
        assert (await client.response())[1] == b"hi"
        assert api.heard[0].endswith(b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\nhello")


@pytest.mark.parametrize("status", [b"102 Processing", b"103 Early Hints", b"199 Odd"])
async def test_informational_answers_pass_in_any_number(status: bytes) -> None:
    hint = b"HTTP/1.1 " + status + b"\r\nLink: </a>\r\nlink: </b>\r\n\r\n"

    async def talk(peer: Peer) -> None:
        await peer.request()
        await peer.say(hint * 3 + OK)

    async with target(talk) as api, gateway() as at, dial(at.port) as client:
        await client.say(b"GET " + at.path(api) + b" HTTP/1.1\r\nHost: gw\r\n\r\n")
        assert [await client.head() for _ in range(3)] == [hint] * 3
        assert (await client.response())[1] == b"hi"


async def test_trailers_of_a_target_are_left_out() -> None:
    answer = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
        b"2\r\nhi\r\n0\r\nX-Sum: 1\r\n\r\n"
    )

    async def talk(peer: Peer) -> None:
        await peer.request()
        await peer.say(answer)
        await peer.hung_up()

    async with target(talk) as api, gateway() as at, dial(at.port) as client:
        await client.say(b"GET " + at.path(api) + b" HTTP/1.1\r\nHost: gw\r\n\r\n")
        head, body = await client.response()
    assert b"Trailer" not in head
    assert body == b"2\r\nhi\r\n0\r\n\r\n"


@pytest.mark.parametrize("method", [b"FOO", b"get", b"X-Y"])
async def test_methods_that_nobody_registered_are_refused(method: bytes) -> None:
    async with target(OK) as api, gateway() as at, dial(at.port) as client:
        await client.say(method + b" " + at.path(api) + b" HTTP/1.1\r\nHost: gw\r\n\r\n")
        assert (await client.response())[0].startswith(b"HTTP/1.1 400 ")
        assert api.connections == 0


@pytest.mark.parametrize(
    "tail", [b"/../..//./a/", b"/%2e%2E/%2F", b"/a;b=c/d,e", b"/a|b", b"/?a=b?c", b"/??"]
)
async def test_targets_are_not_normalised(tail: bytes) -> None:
    async with target(OK) as api, gateway() as at, dial(at.port) as client:
        await client.say(b"GET " + at.path(api, "") + tail + b" HTTP/1.1\r\nHost: gw\r\n\r\n")
        await client.response()
        assert api.heard[0].startswith(b"GET " + tail + b" HTTP/1.1\r\n")


@asynccontextmanager
async def on_ipv6() -> AsyncIterator[tuple[int, list[bytes]]]:
    heard: list[bytes] = []

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(OK)
        await reader.read()
        writer.close()

    try:
        server = await asyncio.start_server(connected, "::1", 0)
    except OSError:
        pytest.skip("this machine has no IPv6")
    async with server:
        yield server.sockets[0].getsockname()[1], heard


@pytest.mark.capability("IPv6")
async def test_an_ipv6_address() -> None:
    async with on_ipv6() as (port, heard), gateway() as at, dial(at.port) as client:
        await client.say(f"GET /{KEY}/http://[::1]:{port}/x HTTP/1.1\r\nHost: gw\r\n\r\n".encode())
        assert (await client.response())[1] == b"hi"
        assert heard == [f"GET /x HTTP/1.1\r\nHost: [::1]:{port}\r\n\r\n".encode()]
        assert (await at.relay.call()).server_address == f"[::1]:{port}"


async def test_an_internationalised_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the form in which it travels (RFC 5890): clients turn `bücher` into `xn--bcher-kva`."""

    async def resolved(host: str, port: int) -> object:
        assert host == "xn--bcher-kva.example"
        return await resolve("127.0.0.1", port)

    monkeypatch.setattr(wire, "resolve", resolved)
    async with target(OK) as api, gateway() as at, dial(at.port) as client:
        await client.say(
            f"GET /{KEY}/http://XN--Bcher-kva.example:{api.port}/ HTTP/1.1\r\nHost: gw\r\n\r\n".encode()
        )
        assert (await client.response())[1] == b"hi"
        assert api.heard == [f"GET / HTTP/1.1\r\nHost: xn--bcher-kva.example:{api.port}\r\n\r\n".encode()]


async def test_a_slow_client_gets_everything() -> None:
    """It reads in sips; what it has not read waits with the target, not here."""
    body = PIECE * 64

    async def talk(peer: Peer) -> None:
        await peer.head()
        await peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    async with target(talk) as api, gateway() as at:
        loop = asyncio.get_running_loop()
        with socket.create_connection(("127.0.0.1", at.port)) as raw:
            raw.setblocking(False)
            await loop.sock_sendall(
                raw, b"GET " + at.path(api) + b" HTTP/1.1\r\nHost: gw\r\nConnection: close\r\n\r\n"
            )
            got = bytearray()
            while piece := await loop.sock_recv(raw, 3000):
                got += piece
        assert bytes(got).partition(b"\r\n\r\n")[2] == body


async def test_a_target_that_answers_in_drops() -> None:
    answer = b"HTTP/1.1 200 OK\r\nX-A: b\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"

    async def talk(peer: Peer) -> None:
        await peer.request()
        for i in range(len(answer)):
            await peer.say(answer[i : i + 1])
            await asyncio.sleep(0)
        await peer.hung_up()

    async with target(talk) as api, gateway() as at, dial(at.port) as client:
        await client.say(b"GET " + at.path(api) + b" HTTP/1.1\r\nHost: gw\r\n\r\n")
        head, body = await client.response()
    assert b"X-A: b\r\n" in head
    assert b"".join(body.split(b"\r\n")[1::2]).startswith(b"h")


async def test_a_client_that_asks_in_drops() -> None:
    async with target(OK) as api, gateway() as at, dial(at.port) as client:
        request = b"POST " + at.path(api) + b" HTTP/1.1\r\nHost: gw\r\nContent-Length: 5\r\n\r\nhello"
        for i in range(len(request)):
            await client.say(request[i : i + 1])
            await asyncio.sleep(0)
        assert (await client.response())[1] == b"hi"
        assert api.heard[0].endswith(b"\r\n\r\nhello")


async def test_a_bin_without_a_host_asks_nobody_for_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(*_: object) -> str:
        raise AssertionError("DNS, while every call waits")

    monkeypatch.setattr("socket.getfqdn", asked)
    async with gateway() as gw, dial(gw.port) as client:
        await client.say(f"GET /{KEY} HTTP/1.0\r\n\r\n".encode())
        head = await client.head()
        assert head.startswith(b"HTTP/1.1 200 ")
        assert (await gw.relay.call()).request.url == f"http://127.0.0.1:{gw.port}/{KEY}"
