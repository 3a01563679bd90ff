"""CONNECT: bytes both ways through the guard, and one call that says so."""

from __future__ import annotations

import asyncio
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from services.chassis.outgoing import Policy
from services.traffic_gateway.config import Config
from tests.services.loopback import Peer, dial, free_port, target
from tests.services.traffic_gateway.running import KEY, Running, a_bucket, gateway

pytestmark = pytest.mark.uvloop

CERTIFICATE = Path(__file__).parents[1] / "chassis" / "localhost.pem"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
CREDENTIALS = f"Proxy-Authorization: Basic {b64encode(f'{KEY}:'.encode()).decode()}\r\n"


def server_tls() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    return context


@asynccontextmanager
async def tunnel(gw: Running, where: str, behind: bytes = b"") -> AsyncIterator[tuple[Peer, bytes]]:
    """A client with a tunnel, and the head of the answer. behind: sent with the request."""
    async with dial(gw.port) as client:
        await client.say(f"CONNECT {where} HTTP/1.1\r\nHost: {where}\r\n{CREDENTIALS}\r\n".encode() + behind)
        yield client, await client.head()


async def test_curl_through_a_tunnel() -> None:
    async with target(OK, ssl=server_tls()) as api, gateway() as gw:
        url = f"https://localhost:{api.port}/secret?x=1"
        curl = await asyncio.create_subprocess_exec(
            *("curl", "-sS", "-x", f"http://{KEY}@127.0.0.1:{gw.port}", "--cacert", str(CERTIFICATE), url),
            stdout=asyncio.subprocess.PIPE,
        )
        out, _ = await curl.communicate()
        assert (curl.returncode, out) == (0, b"hi")
        call = await gw.relay.call()
    assert api.heard[0].startswith(b"GET /secret?x=1 HTTP/1.1\r\n")
    assert (call.origin, call.request.method, call.request.url) == (
        "tunnel",
        "CONNECT",
        f"localhost:{api.port}",
    )
    assert call.response is not None
    assert (call.response.status, call.status_sent, call.error) == (200, 200, None)
    assert call.request.body.size_bytes > 300  # a handshake and a request
    assert call.response.body.size_bytes > 300
    assert not call.request.body.inline
    assert not call.response.body.inline
    assert (call.request.body.captured_bytes, call.response.body.captured_bytes) == (0, 0)
    assert not gw.relay.bodies
    assert call.timings.connect_ms is not None
    assert call.server_address is not None
    assert "secret" not in str(call)


async def test_httpx_through_a_tunnel() -> None:
    trust = ssl.create_default_context(cafile=str(CERTIFICATE))
    async with target(OK, ssl=server_tls()) as api, gateway() as gw:
        proxy = f"http://{KEY}:@127.0.0.1:{gw.port}"
        async with httpx.AsyncClient(proxy=proxy, verify=trust, trust_env=False) as client:
            answer = await client.get(f"https://localhost:{api.port}/")
        assert answer.text == "hi"
        assert (await gw.relay.call()).origin == "tunnel"


async def test_each_direction_ends_by_itself() -> None:
    async def talk(peer: Peer) -> None:
        assert await peer.rest() == b"early and late"  # the client has ended its side, and listens
        await peer.say(b"all heard")
        peer.writer.close()

    async with target(talk) as api, gateway() as gw:
        async with tunnel(gw, api.authority, b"early ") as (client, head):
            assert head.startswith(b"HTTP/1.1 200 Connection established\r\n")
            await client.say(b"and late")
            client.writer.write_eof()
            assert await client.rest() == b"all heard"
        call = await gw.relay.call()
    assert f"Trunkline-Call-Id: {call.id}\r\n".encode() in head
    assert call.error is None
    assert (call.request.body.size_bytes, call.response and call.response.body.size_bytes) == (14, 9)


async def test_the_target_may_end_first() -> None:
    async def talk(peer: Peer) -> None:
        await peer.say(b"bye")
        peer.writer.write_eof()
        assert await peer.rest() == b"so long"

    async with target(talk) as api, gateway() as gw, tunnel(gw, api.authority) as (client, _):
        assert await client.rest() == b"bye"
        await client.say(b"so long")
        client.writer.write_eof()
        assert (await gw.relay.call()).error is None


async def test_a_side_that_does_not_read_holds_the_other_back() -> None:
    total = 64 * 1024 * 1024
    listening = asyncio.Event()
    written = 0

    async def talk(peer: Peer) -> None:
        nonlocal written
        piece = b"x" * 65536
        while written < total:
            await peer.say(piece)
            written += len(piece)
            listening.set()
        peer.writer.close()

    async with target(talk) as api, gateway() as gw, tunnel(gw, api.authority) as (client, _):
        await listening.wait()
        async with asyncio.timeout(5):
            before = -1
            while before != written:  # until it stands still
                before = written
                for _ in range(200):
                    await asyncio.sleep(0)
        assert written < total
        got = 0
        while piece := await client.reader.read(2**20):
            got += len(piece)
        assert got == total
        client.writer.close()
        call = await gw.relay.call()
    assert call.response is not None
    assert call.response.body.size_bytes == total


async def test_a_client_that_goes_away_ends_the_tunnel() -> None:
    gone = asyncio.Event()

    async def talk(peer: Peer) -> None:
        await peer.say(b"?")
        await peer.hung_up()
        gone.set()

    async with target(talk) as api, gateway() as gw, tunnel(gw, api.authority) as (client, _):
        assert await client.reader.readexactly(1) == b"?"
        client.reset()
        async with asyncio.timeout(5):
            await gone.wait()
        assert (await gw.relay.call()).error is None


async def test_a_target_that_breaks_off_breaks_the_client_off() -> None:
    async def talk(peer: Peer) -> None:
        await peer.say(b"half")
        await peer.reader.readexactly(2)
        peer.reset()

    async with target(talk) as api, gateway() as gw, tunnel(gw, api.authority) as (client, _):
        assert await client.reader.readexactly(4) == b"half"
        await client.say(b"go")
        with pytest.raises(ConnectionError):
            await client.rest()
        call = await gw.relay.call()
    assert call.error is None
    assert call.request.body.size_bytes == 2


async def test_a_silent_tunnel_is_cut() -> None:
    async def talk(peer: Peer) -> None:
        await peer.hung_up()

    config = Config(drain_s=0.2, idle_timeout_s=0.05)
    async with target(talk) as api, gateway(config=config) as gw, tunnel(gw, api.authority) as (client, _):
        await client.hung_up()
        call = await gw.relay.call()
    assert call.error is not None
    assert call.error.slug == "upstream-timeout"


@pytest.mark.parametrize(
    ("where", "policy", "status", "slug"),
    [
        ("127.0.0.1:1", Policy(), 403, "target-refused"),
        ("[::ffff:10.0.0.1]:443", None, 403, "target-refused"),
        ("0x7f000001:443", Policy(), 403, "target-refused"),
        ("nowhere.invalid:443", None, 502, "dns-failed"),
    ],
)
async def test_a_tunnel_goes_through_the_guard(
    where: str, policy: Policy | None, status: int, slug: str
) -> None:
    async with gateway(policy=policy) as gw, tunnel(gw, where) as (_, head):
        assert head.startswith(f"HTTP/1.1 {status} ".encode())
        call = await gw.relay.call()
    assert call.error is not None
    assert (call.error.slug, call.status_sent, call.request.url) == (slug, status, where)


async def test_nobody_listens_there() -> None:
    async with gateway() as gw, tunnel(gw, f"127.0.0.1:{free_port()}") as (_, head):
        assert head.startswith(b"HTTP/1.1 502 ")


@pytest.mark.parametrize("where", ["127.0.0.1", "127.0.0.1:0", "127.0.0.1:65536", "u@127.0.0.1:1"])
async def test_what_is_no_target_of_a_tunnel(where: str) -> None:
    async with gateway() as gw, tunnel(gw, where) as (_, head):
        assert head.split()[1] == b"400"
    assert not gw.relay.calls


async def test_a_bucket_s_hosts_apply_to_tunnels() -> None:
    async with (
        target(OK) as api,
        gateway(bucket=a_bucket(denied_hosts=("127.0.0.1",))) as gw,
        tunnel(gw, api.authority) as (_, head),
    ):
        assert head.startswith(b"HTTP/1.1 403 ")
    assert not api.connections


async def test_a_tunnel_needs_a_bucket() -> None:
    async with target(OK) as api, gateway() as gw, dial(gw.port) as client:
        await client.say(f"CONNECT {api.authority} HTTP/1.1\r\nHost: {api.authority}\r\n\r\n".encode())
        head, _ = await client.response()
        assert head.startswith(b"HTTP/1.1 407 ")
        assert b"\r\nProxy-Authenticate: Basic " in head
        # ... and the connection is as good as before
        await client.say(f"CONNECT {api.authority} HTTP/1.1\r\nHost: x\r\n{CREDENTIALS}\r\n".encode())
        assert (await client.head()).startswith(b"HTTP/1.1 200 ")
        await client.say(b"GET / HTTP/1.1\r\n\r\n")
        head, body = await client.response()
        assert body == b"hi"


async def test_a_gateway_that_stops_ends_its_tunnels() -> None:
    async def talk(peer: Peer) -> None:
        await peer.hung_up()

    async with target(talk) as api:
        async with gateway() as gw, dial(gw.port) as client:
            await client.say(f"CONNECT {api.authority} HTTP/1.1\r\nHost: x\r\n{CREDENTIALS}\r\n".encode())
            await client.head()
        call = await gw.relay.call()
    assert call.origin == "tunnel"
