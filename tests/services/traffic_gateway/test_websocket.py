"""WebSockets: relayed byte for byte, and their messages captured."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from schemas.traffic_gateway import Body
from services.chassis.web import listen
from services.traffic_gateway.config import Config
from tests.services.loopback import Peer, dial, target
from tests.services.traffic_gateway.running import KEY, Running, gateway
from tests.services.traffic_gateway.test_frames import BINARY, CLOSE, TEXT, frame

pytestmark = pytest.mark.uvloop

HANDSHAKE = (
    "Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
ACCEPTED = (
    b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nX-More: 1\r\n\r\n"
)
Talk = Callable[[web.WebSocketResponse], Awaitable[None]]


@asynccontextmanager
async def a_server(talk: Talk) -> AsyncIterator[str]:
    """A real server of WebSockets; its authority."""

    async def handle(request: web.BaseRequest) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(protocols=("tea.v1",))
        await socket.prepare(request)
        await talk(socket)
        return socket

    async with listen(web.Server(handle), "127.0.0.1", 0, True, drain_s=0.2) as port:
        yield f"127.0.0.1:{port}"


def lines(body: Body) -> list[dict[str, object]]:
    assert body.form == "websocket"
    return [json.loads(line) for line in (body.inline or b"").splitlines()]


async def shake(client: Peer, gw: Running, authority: str, behind: bytes = b"") -> bytes:
    await client.say(
        f"GET /{KEY}/http://{authority}/ws?a HTTP/1.1\r\nHost: gw\r\n{HANDSHAKE}\r\n".encode() + behind
    )
    return await client.head()


@pytest.mark.parametrize("compress", [0, 15])
async def test_a_real_client_and_a_real_server(compress: int) -> None:
    async def talk(socket: web.WebSocketResponse) -> None:
        async for message in socket:
            if message.type is aiohttp.WSMsgType.TEXT:
                await socket.send_str(message.data.upper())
            else:
                await socket.send_bytes(message.data[::-1])

    async with a_server(talk) as authority, gateway() as gw:
        url = f"ws://127.0.0.1:{gw.port}/{KEY}/http://{authority}/ws"
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(url, compress=compress, protocols=("tea.v1",)) as client,
        ):
            assert (client.compress, client.protocol) == (compress, "tea.v1")
            for _ in range(2):  # the window lives on
                await client.send_str("grün " * 100)
                assert await client.receive_str() == "GRÜN " * 100
            await client.send_bytes(b"\x00\x01")
            assert await client.receive_bytes() == b"\x01\x00"
            await client.close(code=4000, message=b"enough")
        call = await gw.relay.call()
    assert call.response is not None
    assert (call.response.status, call.status_sent, call.error) == (101, 101, None)
    assert (call.request.method, call.request.url) == ("GET", f"http://{authority}/ws")
    sent, received = lines(call.request.body), lines(call.response.body)
    assert [line["kind"] for line in sent] == ["text", "text", "binary", "close"]
    assert [line.get("text") for line in sent] == ["grün " * 100, "grün " * 100, None, "enough"]
    assert sent[3]["code"] == 4000
    assert [line["kind"] for line in received] == ["text", "text", "binary", "close"]
    assert (received[1]["text"], received[2]["base64"]) == ("GRÜN " * 100, "AQA=")
    times = [float(str(line["at_ms"])) for line in received]
    assert times == sorted(times)
    assert call.duration_ms >= times[-1]
    if compress:
        assert call.request.body.size_bytes < 500


async def test_every_byte_passes_unaltered() -> None:
    wire = frame(TEXT, b"one", mask=b"1234") + b"\x7f no frame at all \x00" * 50

    async def talk(peer: Peer) -> None:
        heard = await peer.head()
        assert f"GET /ws?a HTTP/1.1\r\nHost: {peer_authority[0]}\r\nConnection: Upgrade\r\n".encode() in heard
        assert b"\r\nUpgrade: WebSocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhl" in heard
        await peer.say(ACCEPTED + b"early")
        assert await peer.rest() == wire
        await peer.say(b"late")
        peer.writer.close()

    peer_authority: list[str] = []
    async with target(talk) as api, gateway() as gw, dial(gw.port) as client:
        peer_authority.append(api.authority)
        head = await shake(client, gw, api.authority, wire[:7])
        await client.say(wire[7:])
        client.writer.write_eof()
        assert await client.rest() == b"earlylate"
        call = await gw.relay.call()
    named = f"Trunkline-Call-Id: {call.id}\r\n\r\n".encode()
    assert head == ACCEPTED[:-2] + named
    assert call.request.body.size_bytes == len(wire)
    assert call.request.body.truncated
    assert [line["text"] for line in lines(call.request.body)] == ["one"]


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno", b"HTTP/1.1 204 N\r\n\r\n"]
)
async def test_a_declined_upgrade_is_an_answer_like_any(answer: bytes) -> None:
    async with target(answer) as api, gateway() as gw, dial(gw.port) as client:
        for _ in range(2):  # and the connection stays
            await client.say(
                f"GET /{KEY}/http://{api.authority}/ws HTTP/1.1\r\nHost: gw\r\n{HANDSHAKE}\r\n".encode()
            )
            head, _ = await client.response()
            assert head.startswith(answer[:12])
        assert {call.response.body.form for call in gw.relay.calls if call.response} == {"plain"}
    assert api.connections == 1


async def test_a_101_that_nobody_asked_for_is_malformed() -> None:
    async with target(ACCEPTED) as api, gateway() as gw, dial(gw.port) as client:
        await client.say(f"GET /{KEY}/http://{api.authority}/ HTTP/1.1\r\nHost: gw\r\n\r\n".encode())
        head, _ = await client.response()
    assert head.startswith(b"HTTP/1.1 502 ")


async def test_what_is_kept_ends_at_the_cap_and_relaying_does_not() -> None:
    message = frame(TEXT, b"x" * 700)

    async def talk(peer: Peer) -> None:
        await peer.head()
        await peer.say(ACCEPTED)
        for _ in range(200):
            await peer.say(message)
        peer.writer.close()

    async with target(talk) as api, gateway(body_cap_bytes=2000) as gw, dial(gw.port) as client:
        await shake(client, gw, api.authority)
        assert await client.rest() == message * 200
        client.writer.close()
        call = await gw.relay.call()
    assert call.response is not None
    body = call.response.body
    assert (body.size_bytes, body.truncated) == (len(message) * 200, True)
    assert body.captured_bytes <= 2000
    assert [line["kind"] for line in lines(body)] == ["text"] * 3
    assert lines(body)[2]["cut"] is True


async def test_a_side_that_does_not_read_holds_the_other_back() -> None:
    message = frame(BINARY, bytes(64 * 1024))
    count = 1000
    written = 0

    async def talk(peer: Peer) -> None:
        nonlocal written
        await peer.head()
        await peer.say(ACCEPTED)
        for _ in range(count):
            await peer.say(message)
            written += 1
        peer.writer.close()

    async with target(talk) as api, gateway(body_cap_bytes=100) as gw, dial(gw.port) as client:
        await shake(client, gw, api.authority)
        before = -1
        while before != written:  # until it stands still
            before = written
            for _ in range(200):
                await asyncio.sleep(0)
        assert written < count
        got = 0
        while piece := await client.reader.read(2**20):
            got += len(piece)
        assert got == count * len(message)


@pytest.mark.parametrize("closing", [False, True])
async def test_a_client_that_goes_away(closing: bool) -> None:
    async def talk(peer: Peer) -> None:
        await peer.head()
        await peer.say(ACCEPTED)
        await peer.reader.readexactly(5)
        await peer.say(b"?")
        await peer.hung_up()

    async with target(talk) as api, gateway() as gw, dial(gw.port) as client:
        await shake(client, gw, api.authority)
        await client.say(frame(CLOSE, b"\x03\xe8\x00") if closing else frame(TEXT, b"hey"))
        await client.reader.readexactly(1)
        client.reset()
        call = await gw.relay.call()
    assert (call.error and call.error.slug) == (None if closing else "client-disconnected")
    assert [line["kind"] for line in lines(call.request.body)] == ["close" if closing else "text"]


async def test_a_target_that_breaks_off_breaks_the_client_off() -> None:
    async def talk(peer: Peer) -> None:
        await peer.head()
        await peer.say(ACCEPTED + frame(TEXT, b"so"))
        await peer.reader.readexactly(1)
        peer.reset()

    async with target(talk) as api, gateway() as gw, dial(gw.port) as client:
        await shake(client, gw, api.authority)
        await client.reader.readexactly(4)
        await client.say(b"!")
        with pytest.raises(ConnectionError):
            await client.rest()
        call = await gw.relay.call()
    assert call.error is not None
    assert call.error.slug == "upstream-disconnected"
    assert call.response is not None
    assert [line["text"] for line in lines(call.response.body)] == ["so"]


async def test_a_silent_one_is_cut() -> None:
    async def talk(peer: Peer) -> None:
        await peer.head()
        await peer.say(ACCEPTED)
        await peer.hung_up()

    config = Config(drain_s=0.2, idle_timeout_s=0.05)
    async with target(talk) as api, gateway(config=config) as gw, dial(gw.port) as client:
        await shake(client, gw, api.authority)
        await client.hung_up()
        call = await gw.relay.call()
    assert call.error is not None
    assert call.error.slug == "upstream-timeout"


async def test_by_way_of_the_host_scheme_and_in_strict_mode() -> None:
    async def talk(socket: web.WebSocketResponse) -> None:
        await socket.send_str("hello")
        await socket.close()

    async with a_server(talk) as authority, gateway(capture="strict") as gw:
        url = f"http://127.0.0.1:{gw.port}/chat"
        named = {
            "Host": f"127-0-0-1-{KEY}.localhost",
            "Trunkline-Request-Port": authority.rpartition(":")[2],
        }
        async with aiohttp.ClientSession() as session, session.ws_connect(url, headers=named) as client:
            assert await client.receive_str() == "hello"
            assert (await client.receive()).type is aiohttp.WSMsgType.CLOSE
        call = await gw.relay.call()
    assert (call.strict, call.request.url) == (True, f"http://{authority}/chat")


async def test_secrets_in_messages_are_masked() -> None:
    async def talk(peer: Peer) -> None:
        await peer.head()
        await peer.say(ACCEPTED + frame(TEXT, b'{"token": "geheim-1234"}'))
        await peer.hung_up()

    async with target(talk) as api, gateway() as gw, dial(gw.port) as client:
        await shake(client, gw, api.authority)
        await client.say(frame(TEXT, b'{"user": "a", "password": "hunter2"}', mask=b"abcd"))
        client.writer.write_eof()
        await client.hung_up()
        call = await gw.relay.call()
    assert call.response is not None
    (sent,), (received,) = lines(call.request.body), lines(call.response.body)
    assert json.loads(str(sent["text"]))["user"] == "a"
    assert str(json.loads(str(sent["text"]))["password"]).startswith("[redacted:")
    assert "geheim" not in str(received)
    assert call.redacted


async def test_a_body_of_the_handshake_gives_its_memory_back() -> None:
    async def talk(peer: Peer) -> None:
        await peer.request()
        await peer.say(ACCEPTED)
        await peer.rest()

    async with target(talk) as api, gateway() as gw, dial(gw.port) as client:
        await client.say(
            f"GET /{KEY}/http://{api.authority}/ws HTTP/1.1\r\nHost: gw\r\nContent-Length: 5000\r\n"
            f"{HANDSHAKE}\r\n".encode()
            + b"x" * 5000
        )
        await client.head()
        client.writer.write_eof()
        await client.hung_up()
        await gw.relay.call()
        assert gw.held_bytes == 0


async def test_an_upgrade_to_more_than_a_websocket_is_none() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    async with target(answer) as api, gateway() as gw, dial(gw.port) as client:
        await client.say(
            f"GET /{KEY}/http://{api.authority}/ HTTP/1.1\r\nHost: gw\r\n{HANDSHAKE}"
            "Upgrade: h2c\r\n\r\n".encode()
        )
        await client.response()
    assert b"pgrade" not in api.heard[0]
