"""When something goes wrong: what the client is told, and what is captured."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from schemas.traffic_gateway import CallCaptured
from services.chassis.outgoing import Policy
from services.traffic_gateway.config import Config
from tests.services.loopback import Peer, dial, free_port, target
from tests.services.traffic_gateway.running import KEY, Running, gateway

pytestmark = pytest.mark.uvloop

HASTY = Config(connect_timeout_s=0.3, wait_timeout_s=0.2, idle_timeout_s=0.2, drain_s=0.2)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"


async def get(at: Running, path: bytes) -> tuple[int, dict[str, Any]]:
    """Status and problem of a GET."""
    async with dial(at.port) as client:
        await client.say(b"GET " + path + b" HTTP/1.1\r\nHost: gw\r\n\r\n")
        head, body = await client.response()
    assert b"Content-Type: application/problem+json\r\n" in head
    problem: dict[str, Any] = json.loads(body)
    status = int(head.split(b" ")[1])
    assert problem["status"] == status
    return status, problem


def check(call: CallCaptured, slug: str, status_sent: int) -> None:
    assert call.error is not None
    assert call.error.slug == slug
    assert call.status_sent == status_sent


async def failed(path: bytes, slug: str, status: int, words: str, config: Config = HASTY) -> None:
    """A call to `path` fails with that slug and status, saying these words."""
    async with gateway(config=config) as at:
        got, problem = await get(at, f"/{KEY}/".encode() + path)
        assert (got, problem["type"]) == (status, f"urn:trunkline:error:{slug}")
        assert problem["target"] == path.decode()
        assert words in problem["detail"]
        call = await at.relay.call()
        check(call, slug, status)
        assert call.response is None
        assert call.request.url == path.decode()
        assert problem["call"] == call.id


async def test_a_refused_connection() -> None:
    port = free_port()
    await failed(
        f"http://127.0.0.1:{port}/x".encode(), "connect-refused", 502, f"127.0.0.1:{port} takes no connection"
    )


async def test_a_name_that_does_not_exist() -> None:
    await failed(b"http://no-such-host.invalid/", "dns-failed", 502, "no-such-host.invalid")


async def test_a_target_that_never_answers() -> None:
    async def talk(peer: Peer) -> None:
        await peer.hung_up()

    async with target(talk) as api:
        await failed(f"http://{api.authority}/".encode(), "upstream-timeout", 504, "sent nothing for 0.2 s")


async def test_a_target_that_closes_without_answering() -> None:
    async def talk(peer: Peer) -> None:
        await peer.request()

    async with target(talk) as api:
        await failed(f"http://{api.authority}/".encode(), "upstream-disconnected", 502, api.authority)


@pytest.mark.parametrize(
    "answer", [b"SSH-2.0-OpenSSH_9\r\n", b"HTTP/1.1 abc\r\n\r\n", b"HTTP/1.1 200 OK\r\n: x\r\n\r\n"]
)
async def test_a_target_that_speaks_no_http(answer: bytes) -> None:
    async def talk(peer: Peer) -> None:
        await peer.request()
        await peer.say(answer)
        await peer.hung_up()

    async with target(talk) as api:
        await failed(f"http://{api.authority}/".encode(), "upstream-malformed", 502, "no HTTP/1.x")


async def test_a_target_whose_transfer_coding_cannot_be_passed_on() -> None:
    async def talk(peer: Peer) -> None:
        await peer.request()
        await peer.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nabc")

    async with target(talk) as api:
        await failed(f"http://{api.authority}/".encode(), "upstream-malformed", 502, "transfer coding")


async def test_a_target_that_does_not_speak_tls() -> None:
    async def talk(peer: Peer) -> None:
        await peer.reader.read(10)
        await peer.say(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with target(talk) as api:
        await failed(f"https://{api.authority}/".encode(), "tls-failed", 502, api.authority)


async def test_a_target_that_the_policy_forbids() -> None:
    async with target(OK) as api, gateway(policy=Policy()) as at:
        status, problem = await get(at, at.path(api))
        assert (status, problem["type"]) == (403, "urn:trunkline:error:target-refused")
        assert "127.0.0.1 is in loopback (127.0.0.0/8, RFC 1122)" in problem["detail"]
        assert "adding loopback to TRUNKLINE_TARGETS_ALLOW" in problem["detail"]
        check(await at.relay.call(), "target-refused", 403)
        assert api.connections == 0


@pytest.mark.parametrize(
    ("head", "body"),
    [
        (b"Content-Length: 10", b"12345"),
        (b"Transfer-Encoding: chunked", b"5\r\n12345\r\n"),
        (b"Transfer-Encoding: chunked", b"5\r\n123"),
    ],
    ids=["length", "between-chunks", "in-a-chunk"],
)
async def test_a_target_that_closes_in_its_body_is_never_a_whole_answer(head: bytes, body: bytes) -> None:
    relayed = asyncio.Event()

    async def talk(peer: Peer) -> None:
        await peer.request()
        await peer.say(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\n" + body)
        await relayed.wait()

    async with target(talk) as api, gateway() as at, dial(at.port) as client:
        await client.say(b"GET " + at.path(api) + b" HTTP/1.1\r\nHost: gw\r\n\r\n")
        await client.head()
        relayed.set()
        got = await client.rest()
        assert not got.endswith(b"0\r\n\r\n")
        assert len(got) < 10 or b"chunked" in head
        call = await at.relay.call()
        check(call, "upstream-disconnected", 200)
        assert call.response is not None


@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
async def test_a_reset_is_not_the_end_of_a_body_that_ends_with_its_connection(version: bytes) -> None:
    relayed = asyncio.Event()

    async def talk(peer: Peer) -> None:
        await peer.request()
        await peer.say(b"HTTP/1.1 200 OK\r\n\r\nhalf of")
        await relayed.wait()
        peer.reset()

    async with target(talk) as api, gateway() as at, dial(at.port) as client:
        await client.say(b"GET " + at.path(api) + b" HTTP/" + version + b"\r\nHost: gw\r\n\r\n")
        await client.head()
        assert b"half of" in await client.reader.readuntil(b"half of")
        relayed.set()
        if version == b"1.1":
            assert await client.rest() in (b"", b"\r\n")
        else:
            with pytest.raises(ConnectionResetError):
                await client.rest()
        check(await at.relay.call(), "upstream-disconnected", 200)


async def test_broken_chunks_of_a_target_break_the_answer_off() -> None:
    relayed = asyncio.Event()

    async def talk(peer: Peer) -> None:
        await peer.request()
        await peer.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n")
        await relayed.wait()
        await peer.say(b"zz\r\n")
        await peer.hung_up()

    async with target(talk) as api, gateway() as at, dial(at.port) as client:
        await client.say(b"GET " + at.path(api) + b" HTTP/1.1\r\nHost: gw\r\n\r\n")
        await client.head()
        relayed.set()
        assert b"0\r\n\r\n" not in await client.rest()
        check(await at.relay.call(), "upstream-malformed", 200)


async def test_a_target_that_stops_in_its_body() -> None:
    async def talk(peer: Peer) -> None:
        await peer.request()
        await peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345")
        await peer.hung_up()

    async with target(talk) as api, gateway(config=HASTY) as at, dial(at.port) as client:
        await client.say(b"GET " + at.path(api) + b" HTTP/1.1\r\nHost: gw\r\n\r\n")
        await client.head()
        assert await client.rest() == b"12345"
        check(await at.relay.call(), "upstream-timeout", 200)


@pytest.mark.parametrize("capture", ["relaxed", "strict"])
async def test_a_client_that_leaves_ends_the_call_to_the_target(capture: Any) -> None:
    left = asyncio.Event()

    async def talk(peer: Peer) -> None:
        await peer.request()
        await peer.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n")
        await peer.hung_up()
        left.set()

    async with target(talk) as api, gateway(capture=capture) as at:
        async with dial(at.port) as client:
            await client.say(b"GET " + at.path(api) + b" HTTP/1.1\r\nHost: gw\r\n\r\n")
            await client.reader.readuntil(b"hi\r\n")
        async with asyncio.timeout(5):
            await left.wait()
        call = await at.relay.call()
        check(call, "client-disconnected", 200)
        assert call.response is not None
        assert call.response.body.inline == b"hi"


async def test_a_client_that_leaves_before_the_answer() -> None:
    heard, left = asyncio.Event(), asyncio.Event()

    async def talk(peer: Peer) -> None:
        await peer.request()
        heard.set()
        await peer.hung_up()
        left.set()

    async with target(talk) as api, gateway() as at:
        async with dial(at.port) as client:
            await client.say(b"GET " + at.path(api) + b" HTTP/1.1\r\nHost: gw\r\n\r\n")
            await heard.wait()
        async with asyncio.timeout(5):
            await left.wait()
        call = await at.relay.call()
        check(call, "client-disconnected", 0)
        assert call.response is None


async def test_a_client_that_leaves_in_its_body() -> None:
    left = asyncio.Event()

    async def talk(peer: Peer) -> None:
        await peer.head()
        assert await peer.reader.readexactly(5) == b"hello"
        heard.set()
        await peer.hung_up()
        left.set()

    heard = asyncio.Event()
    async with target(talk) as api, gateway() as at:
        async with dial(at.port) as client:
            await client.say(
                b"POST " + at.path(api) + b" HTTP/1.1\r\nHost: gw\r\nContent-Length: 10\r\n\r\nhello"
            )
            await heard.wait()
        async with asyncio.timeout(5):
            await left.wait()
        call = await at.relay.call()
        check(call, "client-disconnected", 0)
        assert call.request.body.inline == b"hello"


async def test_broken_chunks_of_a_client_are_its_own_fault() -> None:
    heard, left = asyncio.Event(), asyncio.Event()

    async def talk(peer: Peer) -> None:
        await peer.head()
        heard.set()
        await peer.hung_up()
        left.set()

    async with target(talk) as api, gateway() as at, dial(at.port) as client:
        await client.say(
            b"POST "
            + at.path(api)
            + b" HTTP/1.1\r\nHost: gw\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n"
        )
        await heard.wait()
        await client.say(b"zz\r\n")
        assert (await client.rest()).startswith(b"HTTP/1.1 400 ")
        async with asyncio.timeout(5):
            await left.wait()
        check(await at.relay.call(), "client-disconnected", 400)


async def test_a_kept_connection_that_went_stale_is_not_the_client_s_problem() -> None:
    async def talk(peer: Peer) -> None:
        await peer.request()
        await peer.say(OK)
        await peer.request()  # the second request on a connection is never answered

    async with target(talk) as api, gateway() as at, dial(at.port) as client:
        for _ in range(3):
            await client.say(b"GET " + at.path(api) + b" HTTP/1.1\r\nHost: gw\r\n\r\n")
            assert (await client.response())[1] == b"hi"
        assert api.connections == 3


async def test_an_unknown_bucket() -> None:
    async with gateway() as at:
        status, problem = await get(at, b"/aaaaaaaaaaaa/http://127.0.0.1/")
        assert (status, problem["type"]) == (404, "urn:trunkline:error:bucket-unknown")
        assert "aaaaaaaaaaaa" in problem["detail"]
    assert at.relay.calls == []


async def test_a_bucket_that_cannot_be_looked_up() -> None:
    async with gateway() as at:
        at.buckets.away = True
        status, problem = await get(at, f"/{KEY}/http://127.0.0.1/".encode())
        assert (status, problem["type"]) == (503, "urn:trunkline:error:bucket-unchecked")


@pytest.mark.parametrize(
    ("path", "word"),
    [
        (b"/", "bucket key"),
        (b"/robots.txt", "robots.txt"),
        (b"/" + KEY.encode() + b"/ftp://h/", "ftp"),
        (b"/" + KEY.encode() + b"/http://h:99999/", "99999"),
        (b"ftp://example.com/x", "ftp://example.com/x"),
    ],
)
async def test_a_malformed_address_is_told_what_is_wrong_with_it(path: bytes, word: str) -> None:
    async with gateway() as at:
        status, problem = await get(at, path)
        assert (status, problem["type"]) == (400, "urn:trunkline:error:address-invalid")
        assert word in problem["detail"]


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GARBAGE\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: gw\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: gw\r\nBad Header: 1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: gw\r\n folded: 1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: gw\r\nHost: gw\r\n\r\n",
        b"GET /\xc3\xa9 HTTP/1.1\r\nHost: gw\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: gw\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: gw\r\nContent-Length: -1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\x00" * 100,
    ],
)
async def test_what_is_no_http_gets_a_problem_and_no_traceback(request_bytes: bytes) -> None:
    async with gateway() as at, dial(at.port) as client:
        await client.say(request_bytes)
        answer = await client.rest()
    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.0 400 "))
    assert b"urn:trunkline:error:request-invalid" in answer
    assert b"Traceback" not in answer
    assert at.relay.calls == []


async def test_headers_that_are_too_long_together() -> None:
    many = b"".join(b"X-%d: %b\r\n" % (i, b"a" * 30_000) for i in range(10))
    async with gateway() as at, dial(at.port) as client:
        await client.say(b"GET /%b HTTP/1.1\r\nHost: gw\r\n%b\r\n" % (KEY.encode(), many))
        head, body = await client.response()
    assert head.startswith(b"HTTP/1.1 431 ")
    assert b"head-too-large" in body


async def test_a_fault_in_the_gateway_is_captured_and_told_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise KeyError("secret detail")

    async with target(OK) as api, gateway() as at:
        monkeypatch.setattr("services.traffic_gateway.edge.relaying.Framing", broken)
        status, problem = await get(at, at.path(api))
        assert (status, problem["type"]) == (500, "urn:trunkline:error:internal-error")
        assert "secret" not in json.dumps(problem)
        check(await at.relay.call(), "gateway-failed", 500)


async def test_a_gateway_that_stops_breaks_its_calls_off_and_captures_them() -> None:
    heard = asyncio.Event()

    async def talk(peer: Peer) -> None:
        await peer.request()
        heard.set()
        await peer.hung_up()

    async with target(talk) as api:
        async with gateway(config=Config(drain_s=0.05)) as at:
            client = dial(at.port)
            peer = await client.__aenter__()
            await peer.say(b"GET " + at.path(api) + b" HTTP/1.1\r\nHost: gw\r\n\r\n")
            await heard.wait()
        assert await peer.rest() == b""
        await client.__aexit__(None, None, None)
        call = await at.relay.call()
        assert call.error is not None
        assert call.error.slug in ("gateway-failed", "client-disconnected")


async def test_a_failing_call_in_strict_is_kept_before_it_is_told() -> None:
    async with gateway(capture="strict") as at, dial(at.port) as client:
        at.relay.open.clear()
        await client.say(f"GET /{KEY}/http://127.0.0.1:{free_port()}/ HTTP/1.1\r\nHost: gw\r\n\r\n".encode())
        await at.relay.asked.wait()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await client.reader.read(1)
        at.relay.open.set()
        assert (await client.response())[0].startswith(b"HTTP/1.1 502 ")
        assert len(at.relay.calls) == 1
