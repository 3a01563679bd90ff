"""What is captured of a call, and when: relaxed, strict, off; short bodies and long ones."""

from __future__ import annotations

import asyncio
import hashlib

import pytest

from services.traffic_gateway.config import Config
from tests.services.loopback import Peer, dial, target
from tests.services.traffic_gateway.running import KEY, Running, gateway

pytestmark = pytest.mark.uvloop

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
BIG = bytes(range(256)) * 4096  # 1 MiB


def sized(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


def post(path: bytes, body: bytes) -> bytes:
    return b"POST %b HTTP/1.1\r\nHost: gw\r\nContent-Length: %d\r\n\r\n%b" % (path, len(body), body)


async def ask(at: Running, request: bytes) -> tuple[bytes, bytes]:
    async with dial(at.port) as client:
        await client.say(request)
        return await client.response()


async def test_a_call_is_captured_as_the_target_saw_it() -> None:
    answer = b"HTTP/1.1 201 Made\r\nX-A: caf\xe9\r\nx-a: 2\r\nContent-Length: 2\r\n\r\nhi"
    async with target(answer) as api, gateway() as at:
        head, _ = await ask(at, post(at.path(api, "/x?y=1"), b"hello"))
        call = await at.relay.call()
        url = f"http://{api.authority}/x?y=1"
    assert b"Trunkline-Call-Id: " + call.id.encode() in head
    assert (call.bucket, call.origin, call.strict) == (KEY, "gateway", False)
    request, response = call.request, call.response
    assert (request.method, request.url, request.http_version) == ("POST", url, "1.1")
    assert request.headers == (("Host", api.authority), ("Content-Length", "5"))
    assert (request.body.inline, request.body.size_bytes, request.body.truncated) == (b"hello", 5, False)
    assert request.body.sha256 == hashlib.sha256(b"hello").hexdigest()
    assert response is not None
    assert (response.status, response.reason, response.http_version) == (201, "Made", "1.1")
    assert response.headers == (("X-A", "caf\xe9"), ("x-a", "2"), ("Content-Length", "2"))
    assert response.body.inline == b"hi"
    assert (call.status_sent, call.error) == (201, None)
    assert call.client_address == "127.0.0.1"
    assert call.server_address == api.authority
    timings = call.timings
    assert timings.tls_ms is None
    assert None not in (
        timings.dns_ms,
        timings.connect_ms,
        timings.send_ms,
        timings.wait_ms,
        timings.receive_ms,
    )
    assert call.duration_ms > 0


async def test_a_body_over_16_kib_travels_beside_the_call() -> None:
    async with target(sized(BIG[: 16 * 1024 + 1])) as api, gateway() as at:
        await ask(at, post(at.path(api), BIG[: 16 * 1024]))
        call = await at.relay.call()
        assert call.request.body.inline == BIG[: 16 * 1024]
        assert call.response is not None
        body = call.response.body
        assert (body.inline, body.truncated) == (None, False)
        assert body.sha256 is not None
        assert at.relay.bodies == {body.sha256: BIG[: 16 * 1024 + 1]}
        assert body.sha256 == hashlib.sha256(BIG[: 16 * 1024 + 1]).hexdigest()


async def test_a_body_over_the_cap_is_relayed_whole_and_captured_to_the_cap() -> None:
    async with target(sized(BIG)) as api, gateway(body_cap_bytes=100_000) as at:
        _, body = await ask(at, post(at.path(api), BIG))
        assert body == BIG
        assert api.heard[0].endswith(b"\r\n\r\n" + BIG)
        call = await at.relay.call()
        assert call.response is not None
        for kept in (call.request.body, call.response.body):
            assert (kept.size_bytes, kept.captured_bytes, kept.truncated) == (len(BIG), 100_000, True)
            assert kept.sha256 == hashlib.sha256(BIG[:100_000]).hexdigest()
        assert list(at.relay.bodies.values()) == [BIG[:100_000]]


async def test_bodies_in_flight_share_a_bounded_memory() -> None:
    many, room = 20, 3 * 1024 * 1024
    everybody = asyncio.Barrier(many)

    async def talk(peer: Peer) -> None:
        await peer.request()
        await peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BIG))
        await everybody.wait()
        await peer.say(BIG)

    config = Config(capture_memory_bytes=room, drain_s=0.2)
    async with target(talk) as api, gateway(config=config) as at:
        answers = await asyncio.gather(
            *(ask(at, b"GET " + at.path(api) + b" HTTP/1.1\r\nHost: gw\r\n\r\n") for _ in range(many))
        )
        assert all(body == BIG for _, body in answers)
        await at.relay.count(many)
        for _ in range(2):
            at.relay.calls.clear()
            await ask(at, post(f"/{KEY}".encode(), BIG))  # the memory is given back
            assert not (await at.relay.call()).request.body.truncated


async def test_relaxed_answers_before_the_capture_is_safe() -> None:
    async with target(OK) as api, gateway() as at:
        at.relay.open.clear()
        _, body = await ask(at, b"GET " + at.path(api) + b" HTTP/1.1\r\nHost: gw\r\n\r\n")
        assert body == b"hi"


@pytest.mark.parametrize(
    ("answer", "visible"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b""),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (OK, b""),
    ],
    ids=["empty", "no-content", "short"],
)
async def test_strict_holds_a_short_answer_whole(answer: bytes, visible: bytes) -> None:
    async with target(answer) as api, gateway(capture="strict") as at, dial(at.port) as client:
        at.relay.open.clear()
        await client.say(b"GET " + at.path(api) + b" HTTP/1.1\r\nHost: gw\r\n\r\n")
        await at.relay.asked.wait()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await client.reader.read(1)
        at.relay.open.set()
        assert (await client.response())[0].startswith(answer[:12])
        assert (await at.relay.call()).strict


@pytest.mark.parametrize(
    ("head", "body", "shown", "held"),
    [
        (b"Content-Length: 10", b"0123456789", b"012345678", b"9"),
        (
            b"Transfer-Encoding: chunked",
            b"a\r\n0123456789\r\n0\r\n\r\n",
            b"a\r\n0123456789\r\n",
            b"0\r\n\r\n",
        ),
    ],
    ids=["length", "chunked"],
)
async def test_strict_holds_the_end_of_a_streamed_answer_only(
    head: bytes, body: bytes, shown: bytes, held: bytes
) -> None:
    rest = asyncio.Event()

    async def talk(peer: Peer) -> None:
        await peer.request()
        await peer.say(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\n")
        await rest.wait()
        await peer.say(body)
        await peer.hung_up()

    async with target(talk) as api, gateway(capture="strict") as at, dial(at.port) as client:
        at.relay.open.clear()
        await client.say(b"GET " + at.path(api) + b" HTTP/1.1\r\nHost: gw\r\n\r\n")
        await client.head()
        rest.set()
        assert await client.reader.readexactly(len(shown)) == shown
        await at.relay.asked.wait()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await client.reader.read(1)
        assert at.relay.calls == []
        at.relay.open.set()
        assert await client.reader.readexactly(len(held)) == held
        call = await at.relay.call()
        assert call.response is not None
        assert call.response.body.inline == b"0123456789"


async def test_strict_withholds_an_answer_that_cannot_be_kept() -> None:
    async with target(OK) as api, gateway(capture="strict") as at:
        at.relay.broken = True
        head, body = await ask(at, b"GET " + at.path(api) + b" HTTP/1.1\r\nHost: gw\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 ")
    assert b"urn:trunkline:error:capture-failed" in body
    assert b"the spool is full" in body


async def test_strict_breaks_off_an_answer_that_has_begun_and_cannot_be_kept() -> None:
    begun = asyncio.Event()

    async def talk(peer: Peer) -> None:
        await peer.request()
        await peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n01234")
        await begun.wait()
        await peer.say(b"56789")
        await peer.hung_up()

    async with target(talk) as api, gateway(capture="strict") as at, dial(at.port) as client:
        at.relay.broken = True
        await client.say(b"GET " + at.path(api) + b" HTTP/1.1\r\nHost: gw\r\n\r\n")
        await client.head()
        begun.set()
        assert await client.rest() == b"012345678"


async def test_a_client_that_leaves_a_strict_call_at_its_end_is_told_of_once() -> None:
    async with target(OK) as api, gateway(capture="strict") as at:
        at.relay.open.clear()
        async with dial(at.port) as client:
            await client.say(b"GET " + at.path(api) + b" HTTP/1.1\r\nHost: gw\r\n\r\n")
            await at.relay.asked.wait()
        at.relay.open.set()
        await at.relay.call()
    assert len(at.relay.calls) == 1


async def test_a_bucket_may_capture_nothing() -> None:
    async with target(OK) as api, gateway(capture="off") as at:
        head, body = await ask(at, post(at.path(api), b"hello"))
        assert body == b"hi"
        assert b"Trunkline-Call-Id" not in head
    assert at.relay.calls == []


@pytest.mark.parametrize("host", ["gw", f"{KEY}.localhost"])
async def test_a_bucket_without_a_target_is_a_request_bin(host: str) -> None:
    path = f"/{KEY}?a=1" if host == "gw" else "/any/path?a=1"
    async with gateway() as at:
        request = f"PUT {path} HTTP/1.1\r\nHost: {host}\r\nX-One: 1\r\nContent-Length: 5\r\n\r\nhello"
        head, body = await ask(at, request.encode())
        call = await at.relay.call()
    assert head.startswith(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n")
    assert b'"body":"hello"' in body
    assert b'["X-One","1"]' in body
    assert (call.origin, call.request.url) == ("bin", f"http://{host}{path}")
    assert call.request.body.inline == b"hello"
    assert call.response is not None
    assert call.response.body.inline == body


async def test_concurrent_calls_are_all_captured_apart() -> None:
    async def talk(peer: Peer) -> None:
        while True:
            path = (await peer.request()).split(b" ")[1]
            await peer.say(sized(path * 1000))

    async with target(talk) as api, gateway() as at:

        async def one(client_number: int) -> None:
            async with dial(at.port) as client:
                for i in range(20):
                    path = f"/{client_number}-{i}"
                    await client.say(b"GET " + at.path(api, path) + b" HTTP/1.1\r\nHost: gw\r\n\r\n")
                    assert (await client.response())[1] == path.encode() * 1000

        await asyncio.gather(*(one(i) for i in range(20)))
        assert len({call.id for call in at.relay.calls}) == 400
        for call in at.relay.calls:
            path = call.request.url.removeprefix(f"http://{api.authority}").encode()
            assert call.response is not None
            assert call.response.body.inline == path * 1000
