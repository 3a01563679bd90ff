"""Relaying, byte for byte: what a client says reaches the target, what the target says reaches the client."""

from __future__ import annotations

import gzip

import pytest

from tests.services.loopback import Peer, dechunked, dial, target
from tests.services.traffic_gateway.running import KEY, Running, gateway

pytestmark = pytest.mark.uvloop

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"


async def ask(at: Running, request: bytes, *, bodiless: bool = False) -> tuple[bytes, bytes]:
    async with dial(at.port) as client:
        await client.say(request)
        return await client.response(bodiless=bodiless)


async def answered(answer: bytes, *, bodiless: bool = False, method: bytes = b"GET") -> tuple[bytes, bytes]:
    """What a client gets of a target's answer; the call id is taken out."""
    async with target(answer) as api, gateway() as at:
        request = method + b" " + at.path(api) + b" HTTP/1.1\r\nHost: gw\r\n\r\n"
        head, body = await ask(at, request, bodiless=bodiless)
        call = await at.relay.call()
        return head.replace(b"Trunkline-Call-Id: %b\r\n" % call.id.encode(), b""), body


async def heard(request_line: bytes, headers: bytes, body: bytes = b"", *, at_host: bool = False) -> bytes:
    """What the target hears of a request; TARGET stands for its authority."""
    async with target(OK) as api, gateway() as at:
        line = request_line.replace(b"PATH", f"/{KEY}/http://{api.authority}".encode())
        await ask(at, line + b"\r\n" + headers.replace(b"PORT", b"%d" % api.port) + b"\r\n" + body)
        (request,) = api.heard
        return request.replace(api.authority.encode(), b"TARGET")


async def test_a_request_arrives_as_it_was_written() -> None:
    headers = (
        b"host: gw.example\r\nX-ONE: 1\r\nx-one: 2\r\nAccept: */*\r\nX-One:  3 \r\n"
        b"User-Agent: t\r\nX-Latin: caf\xe9\r\nX-Utf8: caf\xc3\xa9\r\nX-Empty:\r\n"
    )
    assert await heard(b"GET PATH/a%2Fb//c/../d;p?q=1&q=&&=+%20??x HTTP/1.1", headers) == (
        b"GET /a%2Fb//c/../d;p?q=1&q=&&=+%20??x HTTP/1.1\r\n"
        b"host: TARGET\r\nX-ONE: 1\r\nx-one: 2\r\nAccept: */*\r\nX-One: 3\r\n"
        b"User-Agent: t\r\nX-Latin: caf\xe9\r\nX-Utf8: caf\xc3\xa9\r\nX-Empty: \r\n\r\n"
    )


@pytest.mark.parametrize("tail", [b"", b"?", b"/?", b"/%", b"/%zz", b"/a%20b+c", b"/x#y", b"/{}|^`"])
async def test_paths_and_queries_keep_their_bytes(tail: bytes) -> None:
    line = (await heard(b"GET PATH" + tail + b" HTTP/1.1", b"Host: gw\r\n")).split(b"\r\n")[0]
    assert line == b"GET " + (tail if tail[:1] == b"/" else b"/" + tail) + b" HTTP/1.1"


@pytest.mark.parametrize("method", [b"OPTIONS", b"DELETE", b"PATCH", b"PROPFIND", b"PURGE", b"M-SEARCH"])
async def test_methods_pass(method: bytes) -> None:
    assert (await heard(method + b" PATH/ HTTP/1.1", b"Host: gw\r\n")).startswith(method + b" / HTTP/1.1\r\n")


async def test_hop_by_hop_headers_stay_on_their_hop() -> None:
    headers = (
        b"Host: gw\r\nConnection: keep-alive, X-Named, content-length\r\nKeep-Alive: timeout=5\r\n"
        b"TE: trailers\r\n"
        b"Proxy-Authorization: Basic xx\r\nProxy-Connection: keep-alive\r\nX-Named: gone\r\nX-Kept: here\r\n"
        b"Upgrade: h2c\r\nTrunkline-Request-Port: 1\r\nContent-Length: 2\r\n"
    )
    assert await heard(b"POST PATH/ HTTP/1.1", headers, b"hi") == (
        b"POST / HTTP/1.1\r\nHost: TARGET\r\nX-Kept: here\r\nContent-Length: 2\r\n\r\nhi"
    )


async def test_nothing_is_added_to_a_request() -> None:
    assert await heard(b"GET PATH/ HTTP/1.1", b"Host: gw\r\n") == b"GET / HTTP/1.1\r\nHost: TARGET\r\n\r\n"


async def test_an_old_client_without_a_host_is_relayed_with_the_target_s() -> None:
    assert (
        await heard(b"GET PATH/ HTTP/1.0", b"X: 1\r\n") == b"GET / HTTP/1.1\r\nHost: TARGET\r\nX: 1\r\n\r\n"
    )


async def test_the_host_scheme() -> None:
    request = await heard(
        b"GET /a//b?c HTTP/1.1",
        f"Host: 127-0-0-1-{KEY}.localhost:7080\r\nRunscope-Request-Port: PORT\r\n".encode(),
    )
    assert request == b"GET /a//b?c HTTP/1.1\r\nHost: TARGET\r\n\r\n"


async def test_a_chunked_request_stays_chunked() -> None:
    headers = b"Host: gw\r\nTransfer-Encoding: chunked\r\nX-After: 1\r\n"
    request = await heard(b"POST PATH/ HTTP/1.1", headers, b"5\r\nhello\r\n1;ext=1\r\n!\r\n0\r\n\r\n")
    head, _, body = request.partition(b"\r\n\r\n")
    assert head == b"POST / HTTP/1.1\r\nHost: TARGET\r\nTransfer-Encoding: chunked\r\nX-After: 1"
    assert dechunked(body) == b"hello!"


async def test_an_empty_chunked_request_stays_one() -> None:
    headers = b"Host: gw\r\nTransfer-Encoding: chunked\r\n"
    assert (await heard(b"POST PATH/ HTTP/1.1", headers, b"0\r\n\r\n")).endswith(b"chunked\r\n\r\n0\r\n\r\n")


async def test_a_response_arrives_as_it_was_written() -> None:
    answer = (
        b"HTTP/1.1 299 Quite \xe9 Fine\r\nset-cookie: a=1\r\nX-Z: z\r\nSet-Cookie: b=2\r\nSET-COOKIE: c=3\r\n"
        b"X-A: \xff\xfe\r\nContent-Length: 3\r\n\r\nabc"
    )
    head, body = await answered(answer)
    assert head + body == answer


async def test_nothing_is_added_to_a_response_but_the_call_s_id() -> None:
    async with target(OK) as api, gateway() as at:
        head, _ = await ask(at, b"GET " + at.path(api) + b" HTTP/1.1\r\nHost: gw\r\n\r\n")
        call = await at.relay.call()
    assert head == b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTrunkline-Call-Id: %b\r\n\r\n" % call.id.encode()


async def test_a_missing_reason_stays_missing() -> None:
    head, _ = await answered(b"HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 \r\n")


async def test_hop_by_hop_headers_of_a_response_stay_on_their_hop() -> None:
    head, _ = await answered(
        b"HTTP/1.1 200 OK\r\nConnection: X-Named, keep-alive\r\nX-Named: 1\r\nKeep-Alive: timeout=5\r\n"
        b"Trailer: X\r\nProxy-Authenticate: Basic\r\nX-Kept: 1\r\nContent-Length: 0\r\n\r\n"
    )
    assert head == b"HTTP/1.1 200 OK\r\nX-Kept: 1\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize("coding", [b"gzip", b"br", b"zstd", b"made-up"])
async def test_content_codings_are_left_alone(coding: bytes) -> None:
    packed = gzip.compress(b"hello" * 100, mtime=0)
    answer = b"HTTP/1.1 200 OK\r\nContent-Encoding: %b\r\nContent-Length: %d\r\n\r\n%b" % (
        coding,
        len(packed),
        packed,
    )
    head, body = await answered(answer)
    assert head + body == answer


async def test_a_compressed_request_is_left_alone() -> None:
    packed = gzip.compress(b"hello" * 100, mtime=0)
    headers = b"Host: gw\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n" % len(packed)
    assert (await heard(b"POST PATH/ HTTP/1.1", headers, packed)).endswith(b"\r\n\r\n" + packed)


async def test_a_chunked_response_stays_chunked_in_its_place() -> None:
    head, body = await answered(
        b"HTTP/1.1 200 OK\r\nA: 1\r\nTransfer-encoding: Chunked\r\nB: 2\r\n\r\n"
        b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    )
    assert head == b"HTTP/1.1 200 OK\r\nA: 1\r\nTransfer-encoding: Chunked\r\nB: 2\r\n\r\n"
    assert dechunked(body) == b"abcde"


async def test_a_response_that_ends_with_its_connection_is_chunked_for_the_client() -> None:
    async def talk(peer: Peer) -> None:
        await peer.request()
        await peer.say(b"HTTP/1.1 200 OK\r\nA: 1\r\n\r\nall of it")

    async with target(talk) as api, gateway() as at:
        head, body = await ask(at, b"GET " + at.path(api) + b" HTTP/1.1\r\nHost: gw\r\n\r\n")
        call = await at.relay.call()
    assert head.startswith(b"HTTP/1.1 200 OK\r\nA: 1\r\nTransfer-Encoding: chunked\r\n")
    assert dechunked(body) == b"all of it"
    assert call.response is not None
    assert call.response.headers == (("A", "1"),)
    assert call.response.body.inline == b"all of it"


async def test_an_old_client_gets_a_body_until_the_connection_closes() -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    async with target(chunked) as api, gateway() as at, dial(at.port) as client:
        await client.say(b"GET " + at.path(api) + b" HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        head, body = (await client.rest()).split(b"\r\n\r\n")
    assert b"Connection: close\r\n" in head
    assert b"chunked" not in head
    assert body == b"abc"


async def test_an_old_client_keeps_its_connection_when_the_length_is_known() -> None:
    async with target(OK) as api, gateway() as at, dial(at.port) as client:
        for _ in range(2):
            await client.say(b"GET " + at.path(api) + b" HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            head, body = await client.response()
            assert b"Connection: keep-alive\r\n" in head
            assert body == b"hi"


async def test_an_answer_to_head_keeps_its_length_and_has_no_body() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 12345\r\n\r\n"
    head, body = await answered(answer, bodiless=True, method=b"HEAD")
    assert head + body == answer


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 204 No Content\r\nX: 1\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nContent-Length: 99\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://other.example/\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 301 Moved Permanently\r\nLocation: /relative\r\nContent-Length: 2\r\n\r\nhi",
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno",
        b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 2\r\n\r\nno",
    ],
)  # fmt: skip
async def test_statuses_pass_untouched(answer: bytes) -> None:
    head, body = await answered(answer)
    assert head + body == answer


async def test_a_thousand_headers_pass_both_ways() -> None:
    many = b"".join(b"X-%d: %d\r\n" % (i, i) for i in range(1000))
    answer = b"HTTP/1.1 200 OK\r\n" + many + b"Content-Length: 0\r\n\r\n"
    async with target(answer) as api, gateway() as at:
        head, _ = await ask(at, b"GET " + at.path(api) + b" HTTP/1.1\r\nHost: gw\r\n" + many + b"\r\n")
        assert many in api.heard[0]
    assert many in head


async def test_calls_share_a_client_s_connection_and_the_target_s() -> None:
    async with target(OK) as api, gateway() as at, dial(at.port) as client:
        for _ in range(5):
            await client.say(b"GET " + at.path(api) + b" HTTP/1.1\r\nHost: gw\r\n\r\n")
            assert (await client.response())[1] == b"hi"
        assert api.connections == 1
        first, *others = at.relay.calls
        assert first.timings.connect_ms is not None
        assert all(call.timings.connect_ms is None for call in others)


async def test_pipelined_requests_are_answered_in_order() -> None:
    async def talk(peer: Peer) -> None:
        while True:
            path = (await peer.request()).split(b" ")[1]
            await peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(path), path))

    async with target(talk) as api, gateway() as at, dial(at.port) as client:
        paths = [b"/%d" % i for i in range(10)]
        await client.say(
            b"".join(
                b"GET " + at.path(api, path.decode()) + b" HTTP/1.1\r\nHost: gw\r\n\r\n" for path in paths
            )
        )
        assert [(await client.response())[1] for _ in paths] == paths


async def test_the_target_is_asked_before_a_body_is_sent_that_expects_it() -> None:
    async def talk(peer: Peer) -> None:
        head = await peer.head()
        assert b"Expect: 100-continue\r\n" in head
        await peer.say(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n")
        assert await peer.reader.readexactly(5) == b"hello"
        await peer.say(OK)

    async with target(talk) as api, gateway() as at, dial(at.port) as client:
        await client.say(
            b"POST "
            + at.path(api)
            + b" HTTP/1.1\r\nHost: gw\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
        )
        assert await client.head() == b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
        assert await client.head() == b"HTTP/1.1 100 Continue\r\n\r\n"
        await client.say(b"hello")
        assert (await client.response())[1] == b"hi"
        assert (await at.relay.call()).request.body.inline == b"hello"


async def test_a_target_may_answer_before_it_has_read_the_body() -> None:
    async def talk(peer: Peer) -> None:
        await peer.head()
        await peer.say(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")

    async with target(talk) as api, gateway() as at, dial(at.port) as client:
        await client.say(
            b"POST " + at.path(api) + b" HTTP/1.1\r\nHost: gw\r\nContent-Length: 5000000\r\n\r\nhello"
        )
        head, body = await client.response()
    assert head.startswith(b"HTTP/1.1 413 Too Large\r\n")
    assert body == b"no"
