"""Nothing with two readings passes: requests that smuggle another are refused and their connection closed,
responses that do are 502 and their connection is not used again."""

from __future__ import annotations

import asyncio

import pytest

from tests.services.loopback import Peer, dial, target
from tests.services.traffic_gateway.running import Running, gateway

pytestmark = pytest.mark.uvloop

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
HOST = b"Host: gw\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
POST = b"POST PATH HTTP/1.1\r\n" + HOST
SMUGGLED = b"GET PATH/smuggled HTTP/1.1\r\nHost: gw\r\n\r\n"

# status: of the answer. Each is followed by a request that must never arrive.
HEADS: dict[str, tuple[bytes, int]] = {
    "length and coding": (POST + b"Content-Length: 5\r\n" + CHUNKED, 400),
    "coding and length": (POST + CHUNKED + b"Content-Length: 5\r\n", 400),
    "two lengths": (POST + b"Content-Length: 0\r\nContent-Length: 9\r\n", 400),
    "a length twice": (POST + b"Content-Length: 0\r\nContent-Length: 0\r\n", 400),
    "a list of lengths": (POST + b"Content-Length: 0, 0\r\n", 400),
    "a signed length": (POST + b"Content-Length: +0\r\n", 400),
    "a negative length": (POST + b"Content-Length: -1\r\n", 400),
    "a hexadecimal length": (POST + b"Content-Length: 0x2\r\n", 400),
    "a grouped length": (POST + b"Content-Length: 1_0\r\n", 400),
    "an empty length": (POST + b"Content-Length:\r\n", 400),
    "a huge length": (POST + b"Content-Length: 99999999999999999999\r\n", 400),
    "a folded length": (POST + b"Content-Length:\r\n 5\r\n", 400),
    "a disguised length": (POST + b"Content_Length: 5\r\n", 400),
    "a disguised coding": (POST + b"Transfer_Encoding: chunked\r\n", 400),
    "xchunked": (POST + b"Transfer-Encoding: xchunked\r\n", 400),
    "chunked, identity": (POST + b"Transfer-Encoding: chunked, identity\r\n", 400),
    "identity": (POST + b"Transfer-Encoding: identity\r\n", 400),
    "identity, chunked": (POST + b"Transfer-Encoding: identity, chunked\r\n", 501),
    "gzip, chunked": (POST + b"Transfer-Encoding: gzip, chunked\r\n", 501),
    "chunked twice": (POST + b"Transfer-Encoding: chunked, chunked\r\n", 400),
    "two codings": (POST + CHUNKED + b"Transfer-Encoding: identity\r\n", 400),
    "a coding behind a comma": (POST + b"Transfer-Encoding: ,chunked\r\n", 400),
    "a vertical tab before": (POST + b"Transfer-Encoding: \x0bchunked\r\n", 400),
    "a vertical tab behind": (POST + b"Transfer-Encoding: chunked\x0b\r\n", 400),
    "a coding with a parameter": (POST + b"Transfer-Encoding: chunked;q=1\r\n", 400),
    "a quoted coding": (POST + b'Transfer-Encoding: "chunked"\r\n', 400),
    "an empty coding": (POST + b"Transfer-Encoding:\r\n", 400),
    "a blank before the colon": (POST + b"Transfer-Encoding : chunked\r\n", 400),
    "a coding in HTTP/1.0": (b"POST PATH HTTP/1.0\r\n" + HOST + CHUNKED, 400),
    "obs-fold": (b"GET PATH HTTP/1.1\r\n" + HOST + b"X: a\r\n b\r\n", 400),
    "obs-fold by a tab": (b"GET PATH HTTP/1.1\r\n" + HOST + b"X: a\r\n\tb\r\n", 400),
    "a bare CR": (b"GET PATH HTTP/1.1\r\n" + HOST + b"X: a\rY: b\r\n", 400),
    "a bare LF": (b"GET PATH HTTP/1.1\r\n" + HOST + b"X: a\nY: b\r\n", 400),
    "lines that end in LF": (b"GET PATH HTTP/1.1\n" + HOST.replace(b"\r", b"") + b"\n", 400),
    "NUL in a value": (b"GET PATH HTTP/1.1\r\n" + HOST + b"X: a\0b\r\n", 400),
    "NUL in a name": (b"GET PATH HTTP/1.1\r\n" + HOST + b"X\0: b\r\n", 400),
    "NUL in the path": (b"GET PATH/\0 HTTP/1.1\r\n" + HOST, 400),
    "a line without a colon": (b"GET PATH HTTP/1.1\r\n" + HOST + b"X\r\n", 400),
    "a header without a name": (b"GET PATH HTTP/1.1\r\n" + HOST + b": x\r\n", 400),
    "a blank in the path": (b"GET PATH/a b HTTP/1.1\r\n" + HOST, 400),
    "HTTP/0.9": (b"GET PATH\r\n", 505),
    "HTTP/0.9 by name": (b"GET PATH HTTP/0.9\r\n" + HOST, 505),
    "HTTP/1.2": (b"GET PATH HTTP/1.2\r\n" + HOST, 400),
    "HTTP/2 in a line": (b"GET PATH HTTP/2.0\r\n" + HOST, 505),
    "HTTP/2's preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n", 400),
    "RTSP": (b"DESCRIBE PATH RTSP/1.0\r\n" + HOST, 505),
    "ICE": (b"SOURCE PATH ICE/1.0\r\n" + HOST, 505),
    "no host": (b"GET PATH HTTP/1.1\r\n", 400),
    "two hosts": (b"GET PATH HTTP/1.1\r\n" + HOST + HOST, 400),
    "a list of hosts": (b"GET PATH HTTP/1.1\r\nHost: gw, other\r\n", 400),
    "a host with a path": (b"GET PATH HTTP/1.1\r\nHost: gw/x\r\n", 400),
    "a host with a user": (b"GET PATH HTTP/1.1\r\nHost: a@gw\r\n", 400),
    "a host with a wrong port": (b"GET PATH HTTP/1.1\r\nHost: gw:8o\r\n", 400),
}  # fmt: skip


@pytest.mark.parametrize("name", HEADS)
async def test_a_head_with_two_readings_is_refused(name: str) -> None:
    head, status = HEADS[name]
    async with target(OK) as api, gateway() as at, dial(at.port) as client:
        more = {501: b"0\r\n\r\n" + SMUGGLED, 505: b""}.get(status, SMUGGLED)
        await client.say((head + b"\r\n" + more).replace(b"PATH", at.path(api)))
        answer, _ = await client.response()
        assert await client.rest() == b"", "one answer, then the end"
        assert api.connections == 0
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert at.relay.calls == []


BODIES: dict[str, bytes] = {
    "a negative size": b"-2\r\nhi\r\n0\r\n\r\n",
    "a prefixed size": b"0x2\r\nhi\r\n0\r\n\r\n",
    "a signed size": b"+2\r\nhi\r\n0\r\n\r\n",
    "a size too huge": b"fffffffffffffffff\r\nhi\r\n0\r\n\r\n",
    "an empty size": b"\r\nhi\r\n0\r\n\r\n",
    "a blank behind the size": b"2 \r\nhi\r\n0\r\n\r\n",
    "a blank before the size": b" 2\r\nhi\r\n0\r\n\r\n",
    "LF behind the size": b"2\nhi\r\n0\r\n\r\n",
    "CR behind the size": b"2\rhi\r\n0\r\n\r\n",
    "LF behind the data": b"2\r\nhi\n0\r\n\r\n",
    "LF behind the last size": b"2\r\nhi\r\n0\n\r\n",
    "LF at the end": b"2\r\nhi\r\n0\r\n\n",
    "more data than the size": b"2\r\nhix\r\n0\r\n\r\n",
    "LF in an extension": b"2;a\nb\r\nhi\r\n0\r\n\r\n",
    "CR in an extension": b"2;a\rb\r\nhi\r\n0\r\n\r\n",
    "NUL in an extension": b"2;a\0b\r\nhi\r\n0\r\n\r\n",
    "a length in the trailers": b"2\r\nhi\r\n0\r\nContent-Length: 9\r\n\r\n",
    "a coding in the trailers": b"2\r\nhi\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n",
    "a host in the trailers": b"2\r\nhi\r\n0\r\nHost: other\r\nX: y\r\n\r\n",
    "a trailer that is none": b"2\r\nhi\r\n0\r\nX y\r\n\r\n",
    "a trailer that ends in LF": b"2\r\nhi\r\n0\r\nX: y\n\r\n",
}


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("name", BODIES)
async def test_chunks_with_two_readings_are_refused(name: str, late: bool) -> None:
    """late: the target has got the head already, and may get what was well. It never gets an end."""
    heard = bytearray()
    begun = asyncio.Event()

    async def talk(peer: Peer) -> None:
        while data := await peer.reader.read(65536):
            heard.extend(data)
            begun.set()

    async with target(talk) as api, gateway() as at, dial(at.port) as client:
        head = POST + CHUNKED + b"\r\n"
        await client.say(head.replace(b"PATH", at.path(api)))
        if late:
            await begun.wait()
        await client.say((BODIES[name] + SMUGGLED).replace(b"PATH", at.path(api)))
        answer, _ = await client.response()
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert await client.rest() == b""
        assert all(call.status_sent == 400 for call in at.relay.calls)
        assert len(at.relay.calls) == bool(heard)
    assert b"smuggled" not in heard
    assert b"0\r\n\r\n" not in heard


async def test_trailers_go_no_further() -> None:
    async with target(OK) as api, gateway() as at, dial(at.port) as client:
        head = POST + CHUNKED + b"\r\n"
        await client.say(
            (head + b"2\r\nhi\r\n0\r\nCookie: other\r\nX: 1\r\n\r\n").replace(b"PATH", at.path(api))
        )
        await client.response()
        assert api.heard[0].endswith(b"\r\n\r\n2\r\nhi\r\n0\r\n\r\n")
        assert b"other" not in api.heard[0]


async def test_a_connection_header_takes_no_framing_away() -> None:
    async with target(OK) as api, gateway() as at, dial(at.port) as client:
        request = (
            b"POST PATH HTTP/1.1\r\nHost: gw\r\nConnection: close, Content-Length, Host\r\n"
            b"Content-Length: 2\r\n\r\nhi"
        )
        await client.say(request.replace(b"PATH", at.path(api)))
        await client.response()
        assert api.heard == [
            b"POST / HTTP/1.1\r\nHost: %b\r\nContent-Length: 2\r\n\r\nhi" % api.authority.encode()
        ]


# --- from the target's side

RESPONSES: dict[str, bytes] = {
    "length and coding": b"200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": b"200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nhi",
    "a length twice": b"200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nhi",
    "a list of lengths": b"200 OK\r\nContent-Length: 2, 2\r\n\r\nhi",
    "a signed length": b"200 OK\r\nContent-Length: +2\r\n\r\nhi",
    "a length with a blank": b"200 OK\r\nContent-Length : 2\r\n\r\nhi",
    "a coding with a blank": b"200 OK\r\nTransfer-Encoding : chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    "xchunked": b"200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    "chunked, identity": b"200 OK\r\nTransfer-Encoding: chunked, identity\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    "gzip, chunked": b"200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    "two codings": b"200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a vertical tab": b"200 OK\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "204 with a body": b"204 No Content\r\nContent-Length: 2\r\n\r\n",
    "204 with a coding": b"204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n",
    "103 with a body": b"103 Early Hints\r\nContent-Length: 2\r\n\r\n",
    "a bare CR": b"200 OK\r\nX: a\rSet-Cookie: b\r\nContent-Length: 2\r\n\r\nhi",
    "NUL": b"200 OK\r\nX: a\0b\r\nContent-Length: 2\r\n\r\nhi",
    "NUL in the reason": b"200 O\0K\r\nContent-Length: 2\r\n\r\nhi",
    "a blank in a name": b"200 OK\r\nX Y: a\r\nContent-Length: 2\r\n\r\nhi",
    "a status below 100": b"099 OK\r\nContent-Length: 2\r\n\r\nhi",
    "a status of four digits": b"2000 OK\r\nContent-Length: 2\r\n\r\nhi",
}


@pytest.mark.parametrize("name", RESPONSES)
async def test_an_answer_with_two_readings_is_502(name: str) -> None:
    answer = b"HTTP/1.1 " + RESPONSES[name]
    async with target(answer) as api, gateway() as at, dial(at.port) as client:
        for connections in (1, 2):
            await client.say(b"GET " + at.path(api) + b" HTTP/1.1\r\nHost: gw\r\n\r\n")
            head, body = await client.response()
            assert head.startswith(b"HTTP/1.1 502 ")
            assert b"upstream-malformed" in body
            assert api.connections == connections, "the connection is not used again"


@pytest.mark.parametrize("version", [b"HTTP/2.0", b"HTTP/0.9", b"RTSP/1.0"])
async def test_an_answer_in_another_version_is_502(version: bytes) -> None:
    answer = version + b" 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    async with target(answer) as api, gateway() as at, dial(at.port) as client:
        await client.say(b"GET " + at.path(api) + b" HTTP/1.1\r\nHost: gw\r\n\r\n")
        assert (await client.response())[0].startswith(b"HTTP/1.1 502 ")


@pytest.mark.parametrize("more", [b"H", b"HTTP/1.1 200 OK\r\nX: ", OK, b"x"])
@pytest.mark.parametrize("late", [False, True])
async def test_what_comes_behind_an_answer_answers_nobody(more: bytes, late: bool) -> None:
    """A target, or who writes bodies there, cannot put an answer in store for the next client."""
    answered, said = asyncio.Semaphore(0), asyncio.Semaphore(0)

    async def talk(peer: Peer) -> None:
        await peer.request()
        await peer.say(OK if late else OK + more)
        await answered.acquire()
        if late:
            await peer.say(more)
        said.release()
        await peer.request()
        await peer.say(b"HTTP/1.1 500 Poisoned\r\nContent-Length: 0\r\n\r\n")

    async with target(talk) as api, gateway() as at, dial(at.port) as client:
        for connections in (1, 2):
            await client.say(b"GET " + at.path(api) + b" HTTP/1.1\r\nHost: gw\r\n\r\n")
            head, body = await client.response()
            if more == b"x" and not late:  # with the answer came what is no HTTP
                assert head.startswith(b"HTTP/1.1 502 ")
            else:
                assert (head[:12], body) == (b"HTTP/1.1 200", b"hi")
            answered.release()
            await said.acquire()
            await settled(at, client)
            assert api.connections == connections


async def settled(at: Running, client: Peer) -> None:
    """What was said on other connections before has arrived, as far as loopback goes in order."""
    await client.say(b"GET /nowhere HTTP/1.1\r\nHost: gw\r\n\r\n")
    assert (await client.response())[0].startswith(b"HTTP/1.1 400 ")
