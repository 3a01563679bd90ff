"""What a client may take of the gateway: time, memory, connections; and that it is told when it took too
much."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, suppress

import pytest

from bus.testing import ManualClock, turns
from services.traffic_gateway.config import Config
from services.traffic_gateway.domain.capture import _name, _text
from services.traffic_gateway.edge.admitting import Admission, Rejected, client_of
from tests.services.loopback import Peer, dial, target
from tests.services.traffic_gateway.running import KEY, gateway

pytestmark = pytest.mark.uvloop

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
HASTY = Config(head_timeout_s=0.1, idle_timeout_s=0.2, keep_alive_s=5, drain_s=0.2)
GET = f"GET /{KEY} HTTP/1.1\r\nHost: gw\r\n".encode()


async def refused(client: Peer, status: int, slug: bytes) -> None:
    head, body = await client.response()
    assert head.split(b" ")[1] == b"%d" % status
    assert b"urn:trunkline:error:" + slug + b'"' in body
    assert await client.rest() == b""


# --- sizes


@pytest.mark.parametrize(
    ("request_bytes", "status", "slug"),
    [
        (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: gw\r\n\r\n", 414, b"address-too-long"),
        (b"GET http://" + b"a" * 70_000 + b"/ HTTP/1.1\r\nHost: gw\r\n\r\n", 414, b"address-too-long"),
        (b"GET / HTTP/1.1\r\nHost: gw\r\nX: " + b"a" * 70_000 + b"\r\n\r\n", 431, b"head-too-large"),
        (b"GET / HTTP/1.1\r\nHost: gw\r\n/X" + b"a" * 70_000 + b": x\r\n\r\n", 400, b"request-invalid"),
        (b"GET / HTTP/1.1\r\nHost: gw\r\nX" + b"a" * 70_000 + b": x\r\n\r\n", 431, b"head-too-large"),
        (b"GET / HTTP/1.1\r\nHost: gw\r\n" + b"X: 1\r\n" * 3000 + b"\r\n", 431, b"head-too-large"),
    ],
    ids=["target", "absolute-target", "header", "no-header", "header-name", "headers"],
)
async def test_a_head_that_is_too_large(request_bytes: bytes, status: int, slug: bytes) -> None:
    async with gateway() as at, dial(at.port) as client:
        await client.say(request_bytes)
        await refused(client, status, slug)


async def test_a_head_without_an_end_is_not_collected_for_ever() -> None:
    async with gateway(config=Config(max_head_bytes=100_000)) as at, dial(at.port) as client:
        await client.say(GET)
        line = b"X: " + b"a" * 10_000 + b"\r\n"
        for _ in range(20):
            await client.say(line)
        await refused(client, 431, b"head-too-large")


async def test_chunk_extensions_are_bounded() -> None:
    async with target(OK) as api, gateway() as at, dial(at.port) as client:
        await client.say(
            b"POST " + at.path(api) + b" HTTP/1.1\r\nHost: gw\r\nTransfer-Encoding: chunked\r\n\r\n2;x="
        )
        with suppress(ConnectionError):  # the answer may come, and the end, before all is said
            for _ in range(40):
                await client.say(b"y" * 65536)
            await client.rest()
        assert (await at.relay.call()).status_sent == 400


async def test_small_chunks_are_no_abuse() -> None:
    async with target(OK) as api, gateway() as at, dial(at.port) as client:
        await client.say(
            b"POST " + at.path(api) + b" HTTP/1.1\r\nHost: gw\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        for _ in range(20):
            await client.say(b"1\r\nx\r\n" * 10_000)
        await client.say(b"0\r\n\r\n")
        assert (await client.response())[1] == b"hi"
        assert (await at.relay.call()).request.body.size_bytes == 200_000


# --- times


@pytest.mark.parametrize("said", [b"G", b"GET / HTTP/1.1\r\nHost: gw\r\nX: ", b"\r\n"])
async def test_a_head_that_takes_too_long(said: bytes) -> None:
    async with gateway(config=HASTY) as at, dial(at.port) as client:
        await client.say(said)
        await refused(client, 408, b"client-too-slow")


async def test_drops_of_a_head_buy_no_time() -> None:
    """Each byte is progress for a timeout between bytes; not for the head's."""
    clock = ManualClock()
    async with gateway(config=HASTY, clock=clock) as at, dial(at.port) as client:
        await client.say(GET)
        for _ in range(50):
            await client.say(b"X: y\r\n")
            await clock.advance(HASTY.head_timeout_s / 10)
        await refused(client, 408, b"client-too-slow")


async def test_the_head_of_a_second_request_has_its_own_time() -> None:
    async with target(OK) as api, gateway(config=HASTY) as at, dial(at.port) as client:
        for _ in range(2):
            await client.say(b"GET " + at.path(api) + b" HTTP/1.1\r\nHost: gw\r\n\r\n")
            assert (await client.response())[1] == b"hi"
        await client.say(b"GET ")
        await refused(client, 408, b"client-too-slow")


async def test_a_client_that_says_nothing() -> None:
    async with gateway(config=Config(keep_alive_s=0.1, drain_s=0.2)) as at, dial(at.port) as client:
        assert await client.rest() == b""


async def test_a_kept_connection_that_is_not_used() -> None:
    async with target(OK) as api, gateway(config=Config(keep_alive_s=0.1)) as at, dial(at.port) as client:
        await client.say(b"GET " + at.path(api) + b" HTTP/1.1\r\nHost: gw\r\n\r\n")
        assert (await client.response())[1] == b"hi"
        assert await client.rest() == b""


@pytest.mark.parametrize("framing", [b"Content-Length: 9", b"Transfer-Encoding: chunked"])
async def test_a_body_that_stops(framing: bytes) -> None:
    left = asyncio.Event()

    async def talk(peer: Peer) -> None:
        await peer.hung_up()
        left.set()

    async with target(talk) as api, gateway(config=HASTY) as at, dial(at.port) as client:
        await client.say(
            b"POST " + at.path(api) + b" HTTP/1.1\r\nHost: gw\r\n" + framing + b"\r\n\r\n2\r\nhi"
        )
        await refused(client, 408, b"client-disconnected")
        call = await at.relay.call()
        assert call.error is not None
        assert (call.error.slug, call.status_sent) == ("client-disconnected", 408)
        await left.wait()


async def test_a_body_for_the_bin_that_stops() -> None:
    async with gateway(config=HASTY) as at, dial(at.port) as client:
        await client.say(GET.replace(b"GET", b"PUT") + b"Content-Length: 9\r\n\r\nhi")
        await refused(client, 408, b"client-disconnected")


async def test_trailers_that_do_not_end() -> None:
    async with gateway(config=HASTY) as at, dial(at.port) as client:
        await client.say(GET.replace(b"GET", b"PUT") + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX: ")
        await refused(client, 408, b"client-disconnected")


async def test_a_client_that_does_not_read_is_left() -> None:
    left = asyncio.Event()

    async def talk(peer: Peer) -> None:
        await peer.request()
        try:
            await peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
            while True:
                await peer.say(bytes(65536))
        except ConnectionError:
            left.set()

    async with target(talk) as api, gateway(config=HASTY) as at, dial(at.port) as client:
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await client.say(b"GET " + at.path(api) + b" HTTP/1.1\r\nHost: gw\r\n\r\n")
        async with asyncio.timeout(5):
            await left.wait()
        call = await at.relay.call()
        assert call.error is not None
        assert call.error.slug == "client-disconnected"


async def test_an_endless_answer_may_be_endless() -> None:
    """Whose client said all it had to say: neither timeout is about it."""
    seen = asyncio.Event()
    clock = ManualClock()

    async def talk(peer: Peer) -> None:
        await peer.head()
        await peer.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(8):
            await peer.say(b"1\r\nx\r\n")
            await seen.wait()
            seen.clear()
        await peer.say(b"0\r\n\r\n")

    config = Config(head_timeout_s=0.05, idle_timeout_s=0.3, drain_s=0.2)
    async with target(talk) as api, gateway(config=config, clock=clock) as at, dial(at.port) as client:
        await client.say(
            b"POST " + at.path(api) + b" HTTP/1.1\r\nHost: gw\r\nContent-Length: 9\r\n\r\nhalf"
        )  # and the request's body may be silent while the answer speaks
        await client.head()
        for _ in range(8):
            assert await client.reader.readexactly(6) == b"1\r\nx\r\n"
            await clock.advance(0.1)
            seen.set()
        assert await client.reader.readexactly(5) == b"0\r\n\r\n"


@pytest.mark.parametrize("begun", [False, True])
async def test_the_bound_on_a_whole_call(begun: bool) -> None:
    left = asyncio.Event()

    async def talk(peer: Peer) -> None:
        await peer.request()
        if begun:
            await peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        await peer.hung_up()
        left.set()

    config = Config(total_timeout_s=0.2, drain_s=0.2)
    async with target(talk) as api, gateway(config=config) as at, dial(at.port) as client:
        await client.say(b"GET " + at.path(api) + b" HTTP/1.1\r\nHost: gw\r\n\r\n")
        if begun:
            await client.head()
            assert await client.rest() == b"half"
        else:
            head, body = await client.response()
            assert head.startswith(b"HTTP/1.1 504 ")
            assert b"upstream-timeout" in body
        await left.wait()
        call = await at.relay.call()
        assert call.error is not None
        assert call.error.slug == "upstream-timeout"


# --- connections


async def test_one_client_s_connections() -> None:
    async with target(OK) as api, gateway(config=Config(max_connections_per_client=3)) as at:
        request = b"GET " + at.path(api) + b" HTTP/1.1\r\nHost: gw\r\n\r\n"
        async with AsyncExitStack() as open_ones:
            for _ in range(3):
                client = await open_ones.enter_async_context(dial(at.port))
                await client.say(request)
                assert (await client.response())[1] == b"hi"
            async with dial(at.port) as fourth:
                await fourth.say(request)
                await refused(fourth, 429, b"too-many-connections")
            await client.say(request)
            assert (await client.response())[1] == b"hi", "those that are there go on"
        async with dial(at.port) as again:
            await entered(at.server.admission, 1)
            await again.say(request)
            assert (await again.response())[1] == b"hi"
    assert at.server.admission.open == 0


async def entered(admission: Admission, count: int) -> None:
    """Wait until no more than so many connections are open."""
    async with asyncio.timeout(5):
        while admission.open > count:
            await turns()


async def test_everybody_s_connections() -> None:
    async with gateway(config=Config(max_connections=1)) as at, dial(at.port) as first:
        await first.say(GET + b"\r\n")
        await first.response()
        async with dial(at.port) as second:
            await refused(second, 503, b"gateway-full")


async def test_who_knocks_on_is_not_answered_any_more() -> None:
    async with gateway(config=Config(max_connections_per_client=1)) as at, dial(at.port) as first:
        await first.say(GET + b"\r\n")
        await first.response()
        async with dial(at.port) as second, dial(at.port) as third:
            with suppress(ConnectionError):
                assert await third.rest() == b""
            await refused(second, 429, b"too-many-connections")
        await entered(at.server.admission, 1)


def test_connections_are_counted_in_and_out() -> None:
    admission = Admission(3, 2)
    assert [admission.enter("a") for _ in range(2)] == [None, None]
    problem = admission.enter("a")
    assert problem is not None
    assert problem.status == 429
    problem = admission.enter("b")
    assert problem is not None
    assert problem.status == 503
    admission.leave("b")
    admission.enter("a")
    with pytest.raises(Rejected):
        admission.enter("a")
    for _ in range(4):
        admission.leave("a")
    assert admission.open == 0
    assert admission.enter("b") is None


def test_no_limit() -> None:
    admission = Admission(0, 0)
    assert all(admission.enter("a") is None for _ in range(1000))


@pytest.mark.parametrize(
    ("peer", "client"),
    [
        (("192.0.2.1", 5), "192.0.2.1"),
        (("::ffff:192.0.2.1", 5, 0, 0), "192.0.2.1"),
        (("2001:db8:1:2:3:4:5:6", 5, 0, 0), "2001:db8:1:2::/64"),
        (("fe80::1%eth0", 5, 0, 0), "fe80::/64"),
        ("", ""),
        (None, ""),
    ],
)
def test_what_a_client_is(peer: object, client: str) -> None:
    assert client_of(peer) == client


@pytest.mark.parametrize(
    ("begins", "goes_on"),
    [
        (b"HTTP/1.1 200 OK\r\n", b"X: " + b"a" * 10_000 + b"\r\n"),
        (b"", b"HTTP/1.1 103 Early\r\nX: " + b"a" * 1000 + b"\r\n\r\n"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n",
            b"X: " + b"a" * 10_000 + b"\r\n",
        ),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;", b"x" * 10_000),
    ],
    ids=["head", "informational", "trailers", "extension"],
)
async def test_a_target_s_head_without_an_end_is_not_collected_for_ever(
    begins: bytes, goes_on: bytes
) -> None:
    said_bytes = 0

    async def talk(peer: Peer) -> None:
        nonlocal said_bytes
        await peer.head()
        await peer.say(begins)
        while said_bytes < 50_000_000:
            await peer.say(goes_on)
            said_bytes += len(goes_on)

    config = Config(max_head_bytes=100_000, drain_s=0.2)
    async with target(talk) as api, gateway(config=config) as gw, dial(gw.port) as client:
        await client.say(f"GET /{KEY}/http://{api.authority}/ HTTP/1.1\r\nHost: gw\r\n\r\n".encode())
        reading = asyncio.create_task(client.hung_up())
        call = await gw.relay.call()
        await client.close()
        await reading
    assert call.error is not None
    assert call.error.slug == "upstream-malformed"
    assert said_bytes < 20_000_000  # what sockets buffer is among them


async def test_names_that_are_remembered_are_small() -> None:
    host = b"a" * 5000
    async with gateway() as at, dial(at.port) as client:
        await client.say(b"GET / HTTP/1.1\r\nHost: " + host + b"\r\n\r\n")
        await refused(client, 400, b"request-invalid")
    before = _name.cache_info().currsize
    _text(((b"x" * 60_000, b"1"), (b"x-never-seen", b"1")))
    assert _name.cache_info().currsize - before <= 1


async def test_the_bound_on_heads_is_each_response_s_own() -> None:
    answer = b"HTTP/1.1 304 Same\r\nX: " + b"a" * 30_000 + b"\r\n\r\n"
    config = Config(max_head_bytes=40_000, max_line_bytes=10_000, drain_s=0.2)
    async with target(answer) as api, gateway(config=config) as gw, dial(gw.port) as client:
        for _ in range(5):
            await client.say(b"GET " + gw.path(api) + b" HTTP/1.1\r\nHost: gw\r\n\r\n")
            head, _ = await client.response()
            assert head.startswith(b"HTTP/1.1 304 ")
    assert api.connections == 1
