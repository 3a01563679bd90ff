"""What the gateway can do, in combination: each kind of call, by each scheme, in each kind of bucket. What
holds for all of them is asserted for all of them; the tables say what differs."""

from __future__ import annotations

import asyncio
import hashlib
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from bus.message import Ask
from schemas.identity import Bucket, Redaction
from schemas.traffic_gateway import Body, CallCaptured, CapturedRequest, CapturedResponse, Timings
from services.chassis.outgoing import Policy
from services.traffic_gateway.config import Config
from services.traffic_gateway.edge import redacting
from tests.services.loopback import Peer, Target, dial, target
from tests.services.traffic_gateway.running import KEY, Running, a_bucket, gateway
from tests.services.traffic_gateway.test_frames import CLOSE, TEXT, frame

pytestmark = pytest.mark.uvloop

SCHEMES = ("path", "host", "proxy")
TOKEN = "letmein-0123456789"
SECRET = "hunter2-hunter2"
PLAYED = "01a2086d-c448-749f-af57-0ded555421f2"
ANSWER = b"HTTP/1.1 302 Found\r\nLocation: http://other.example/x\r\nContent-Length: 2\r\n\r\nhi"
ACCEPTED = b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
SAID = frame(TEXT, b"hello", mask=b"1234") + frame(CLOSE, b"\x03\xe8", mask=b"1234")
HEARD = frame(TEXT, b"hi") + frame(CLOSE, b"\x03\xe8")

# kind of call: the schemes there are for it, what the client is answered, and what the call is captured as
KINDS = {
    "plain": (SCHEMES, 302, "gateway"),
    "bin": (("path", "host"), 200, "bin"),
    "playback": (SCHEMES, 203, "playback"),
    "websocket": (SCHEMES, 101, "gateway"),
    "tunnel": (("proxy",), 200, "tunnel"),
}
CALLS = [(kind, scheme) for kind, (schemes, _, _) in KINDS.items() for scheme in schemes]
SWITCHING = ("websocket", "tunnel")
BUCKETS: dict[str, dict[str, Any]] = {
    "as made": {},
    "guarded": {},
    "strict": {"capture": "strict"},
    "off": {"capture": "off"},
    "unsampled": {"capture": "strict", "sampling": 0.0},
    "dropping": {"redaction": Redaction("strict")},
    "raw": {"redaction": Redaction("raw")},
    "rewriting": {"rewrite_location": True},
    "tiny": {"body_cap_bytes": 0},
}
UNSEEN = ("off", "unsampled")


def stored() -> CallCaptured:
    body = msgspec.json.encode({"tea": "sencha"})
    return CallCaptured(
        id=PLAYED,
        bucket=KEY,
        started_at=datetime.now(UTC),
        duration_ms=1.0,
        request=CapturedRequest("GET", "http://gone.example/", "1.1", (), Body()),
        response=CapturedResponse(
            203,
            "Kept",
            "1.1",
            (("X-Kept", "yes"), ("Connection", "X-Hop"), ("X-Hop", "1")),
            Body(len(body), len(body), hashlib.sha256(body).hexdigest(), body),
        ),
        error=None,
        timings=Timings(),
        status_sent=203,
        client_address=None,
        server_address=None,
    )


@asynccontextmanager
async def an_api() -> AsyncIterator[tuple[Target, list[bytes]]]:
    """Answers, accepts WebSockets, and is what is behind a tunnel; and the heads that it heard."""
    heads: list[bytes] = []

    async def talk(peer: Peer) -> None:
        while True:
            heads.append(await peer.head())
            if b"\r\nUpgrade: websocket\r\n" in heads[-1]:
                await peer.say(ACCEPTED + HEARD)
                await peer.rest()
                return
            await peer.say(ANSWER)

    async with target(talk) as api:
        yield api, heads


def request(kind: str, scheme: str, api: Target, *, token: str = "", secret: str = SECRET) -> bytes:
    """With all that is for the gateway and nobody else, and a secret that is for the API."""
    lines = [f"Authorization: Bearer {secret}", "Runscope-Anything: 1", "Connection: x-gone", "X-Gone: 1"]
    tail = f"/a?api_key={secret}&b=2"
    if kind == "playback":
        lines.append(f"Trunkline-Playback-Id: {PLAYED}")
    if kind == "websocket":
        lines += ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"]
    if scheme == "proxy":
        where = api.authority if kind == "tunnel" else f"http://{api.authority}{tail}"
        lines.append(f"Proxy-Authorization: Basic {b64encode(f'{KEY}:{token}'.encode()).decode()}")
        host = api.authority
    else:
        if token:
            lines.append(f"Trunkline-Bucket-Auth: {token}")
        if scheme == "path":
            host = "gw"
            where = f"/{KEY}?{tail[3:]}" if kind == "bin" else f"/{KEY}/http://{api.authority}{tail}"
        else:
            host = f"{KEY}.localhost" if kind == "bin" else f"127-0-0-1-{KEY}.localhost"
            where = tail
            lines.append(f"Trunkline-Request-Port: {api.port}")
    method = "CONNECT" if kind == "tunnel" else "GET"
    return "\r\n".join((f"{method} {where} HTTP/1.1", f"Host: {host}", *lines, "", "")).encode()


async def converse(client: Peer, kind: str) -> bytes:
    """The rest of a call of this kind, from the answer on; its head."""
    head = await client.head()
    if b" 101 " in head.splitlines()[0]:
        await client.say(SAID)
        client.writer.write_eof()
        assert await client.rest() == HEARD
    elif kind == "tunnel" and b" 200 " in head.splitlines()[0]:
        await client.say(b"GET /inner HTTP/1.1\r\nHost: inner\r\n\r\n")
        await client.reader.readexactly(len(ANSWER))
        client.writer.write_eof()
        assert await client.rest() == b""
    else:
        await client.response_body(head)
    return head


def status_of(head: bytes) -> int:
    return int(head.split(b" ", 2)[1])


@asynccontextmanager
async def running(name: str, **more: Any) -> AsyncIterator[Running]:
    bucket: Bucket = a_bucket(**BUCKETS.get(name, {}))
    async with gateway(bucket=bucket, **more) as gw:
        gw.vault.keep(stored())
        if name == "guarded":
            gw.buckets.guard_sha256 = hashlib.sha256(TOKEN.encode()).hexdigest()
        yield gw
    assert gw.held_bytes == 0
    assert gw.server.admission.open == 0


@pytest.mark.parametrize("name", BUCKETS)
@pytest.mark.parametrize(("kind", "scheme"), CALLS)
async def test_each_call_in_each_bucket(kind: str, scheme: str, name: str) -> None:
    _, status, origin = KINDS[kind]
    async with an_api() as (api, heads), running(name) as gw:
        async with dial(gw.port) as client:
            await client.say(request(kind, scheme, api, token=TOKEN if name == "guarded" else ""))
            head = await converse(client, kind)
        if name not in UNSEEN:
            await gw.relay.call()
    assert status_of(head) == status
    assert (b"\r\nTrunkline-Call-Id: " in head) == (name not in UNSEEN)
    assert b"\r\nX-Hop" not in head
    assert len(heads) == (kind in ("plain", "websocket", "tunnel"))
    for heard in heads:
        lower = heard.lower()
        for ours in (b"trunkline", b"runscope", b"proxy-", b"x-gone", TOKEN.encode()):
            assert ours not in lower
        if kind != "tunnel":
            assert lower.count(b"\r\nhost: ") == 1
            assert f"Bearer {SECRET}".encode() in heard
    if kind == "plain":
        moved = name == "rewriting" and scheme != "proxy"
        assert (b"\r\nLocation: http://other.example/x\r\n" in head) != moved
        assert (KEY.encode() in head) == moved
    if name in UNSEEN:
        assert gw.relay.calls == []
        return
    (call,) = gw.relay.calls
    assert (call.origin, call.status_sent, call.error) == (origin, status, None)
    assert call.strict == (name == "strict")
    assert call.replay_of == (PLAYED if kind == "playback" else None)
    kept = repr(call) + repr(gw.relay.bodies)
    assert TOKEN not in kept
    assert (SECRET in kept) == (name == "raw")
    if kind == "websocket" and call.response is not None:
        assert call.response.body.form == call.request.body.form == "websocket"
        assert (call.request.body.captured_bytes > 0) == (name != "tiny")


@pytest.mark.parametrize("token", ["", "another"])
@pytest.mark.parametrize(("kind", "scheme"), CALLS)
async def test_a_guarded_bucket_does_nothing_without_its_token(kind: str, scheme: str, token: str) -> None:
    async with an_api() as (api, heads), running("guarded") as gw:
        async with dial(gw.port) as client:
            await client.say(request(kind, scheme, api, token=token))
            head = await converse(client, kind)
        assert api.connections == 0
    assert status_of(head) == (407 if scheme == "proxy" else 401)
    assert (heads, gw.relay.calls) == ([], [])


@pytest.mark.parametrize(("kind", "scheme"), CALLS)
async def test_strict_with_a_full_spool(kind: str, scheme: str) -> None:
    """What had its answer held back gets 503; what switched is over when the capture fails."""
    async with an_api() as (api, _), running("strict") as gw:
        gw.relay.broken = True
        async with dial(gw.port) as client:
            await client.say(request(kind, scheme, api))
            if kind in SWITCHING:
                assert status_of(await client.head()) == KINDS[kind][1]
                await client.say(SAID)
                client.writer.write_eof()
                await client.hung_up()
            else:
                assert status_of(await converse(client, kind)) == 503
    assert gw.relay.calls == []


@pytest.mark.parametrize("mode", ["relaxed", "strict"])
@pytest.mark.parametrize(("kind", "scheme"), CALLS)
async def test_when_masking_fails(kind: str, scheme: str, mode: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise ZeroDivisionError(SECRET)

    monkeypatch.setattr(redacting, "masked", fails)
    async with an_api() as (api, _), gateway(capture=mode) as gw:
        gw.vault.keep(stored())
        async with dial(gw.port) as client:
            await client.say(request(kind, scheme, api))
            assert status_of(await converse(client, kind)) == KINDS[kind][1]
        call = await gw.relay.call()
    assert SECRET not in repr(call) + repr(gw.relay.bodies)
    assert {masked.rule for masked in call.redacted} == {"failed"}
    assert call.request.body.inline is None


@pytest.mark.parametrize(("kind", "scheme"), [call for call in CALLS if call[0] in SWITCHING])
@pytest.mark.parametrize("name", ["as made", "strict", "off"])
async def test_the_bound_on_a_whole_call_holds_for_what_switched(kind: str, scheme: str, name: str) -> None:
    config = Config(total_timeout_s=0.2, drain_s=0.2)
    async with an_api() as (api, _), running(name, config=config) as gw:
        async with dial(gw.port) as client:
            await client.say(request(kind, scheme, api))
            assert status_of(await client.head()) == KINDS[kind][1]
            await client.hung_up()
        if name != "off":
            call = await gw.relay.call()
            assert call.error is not None
            assert call.error.slug == "upstream-timeout"
    assert len(gw.relay.calls) == (name != "off")


@pytest.mark.parametrize("name", ["as made", "strict", "off"])
@pytest.mark.parametrize(("kind", "scheme"), [call for call in CALLS if call[0] != "bin"])
async def test_a_client_that_leaves_in_the_middle(kind: str, scheme: str, name: str) -> None:
    """Of playback, while the vault is asked; of what switched, after it has."""
    there, gone = asyncio.Event(), asyncio.Event()

    async def talk(peer: Peer) -> None:
        if kind != "tunnel":
            await peer.head()
        if kind == "websocket":
            await peer.say(ACCEPTED)
        there.set()
        await peer.hung_up()
        gone.set()

    async def never(ask: Ask[Any], *, timeout_s: float = 5.0) -> Any:
        there.set()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            gone.set()

    async with target(talk) as api, running(name) as gw:
        gw.vault.ask = never  # type: ignore[method-assign]
        async with dial(gw.port) as client:
            await client.say(request(kind, scheme, api))
            if kind in SWITCHING:
                await client.head()
            await there.wait()
            client.reset()
            await gone.wait()
        if name != "off":
            call = await gw.relay.call()
            slug = call.error and call.error.slug
            assert slug == (None if kind == "tunnel" else "client-disconnected")
    assert len(gw.relay.calls) == (name != "off")


@pytest.mark.parametrize(
    ("id", "bucket"), [(PLAYED, "anotherkey00"), ("01a2086d-0000-7000-8000-000000000000", KEY)]
)
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("name", ["as made", "strict", "off"])
async def test_a_call_of_another_bucket_is_none_as_a_deleted_one_is(
    id: str, bucket: str, scheme: str, name: str
) -> None:
    async with an_api() as (api, _), running(name) as gw:
        gw.vault.calls.clear()
        gw.vault.keep(msgspec.structs.replace(stored(), id=id, bucket=bucket))
        async with dial(gw.port) as client:
            await client.say(request("playback", scheme, api))
            head = await client.head()
            body = await client.response_body(head)
        assert status_of(head) == 404
        assert b":playback-unknown" in body
        assert api.connections == 0


LOOPBACK_IN_DISGUISE = (
    "127.0.0.1",
    "127.1",
    "0x7f000001",
    "0177.0.0.1",
    "2130706433",
    "[::1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[64:ff9b::7f00:1]",
    "\u2460\u2461\u2466.0.0.1",
    "127\u30020\u30020\u30021",
    "%31%32%37.0.0.1",
)


@pytest.mark.parametrize("host", LOOPBACK_IN_DISGUISE)
@pytest.mark.parametrize("kind", ["path", "proxy", "tunnel", "websocket"])
async def test_no_scheme_leads_into_a_refused_network(kind: str, host: str) -> None:
    credentials = f"Proxy-Authorization: Basic {b64encode(f'{KEY}:'.encode()).decode()}\r\n"
    upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\n" if kind == "websocket" else ""
    async with an_api() as (api, _), gateway(policy=Policy()) as gw:
        where = f"{host}:{api.port}"
        line = {
            "path": f"GET /{KEY}/http://{where}/",
            "websocket": f"GET /{KEY}/http://{where}/",
            "proxy": f"GET http://{where}/",
            "tunnel": f"CONNECT {where}",
        }[kind]
        async with dial(gw.port) as client:
            await client.say(f"{line} HTTP/1.1\r\nHost: gw\r\n{credentials}{upgrade}\r\n".encode())
            head = await client.head()
        if status_of(head) != 400:  # it is no address, to the parser or to IDNA
            assert status_of(head) == 403
            call = await gw.relay.call()
            assert call.error is not None
            assert call.error.slug == "target-refused"
        else:
            assert not host.isascii() or (kind, "%" in host) == ("tunnel", True)
        assert api.connections == 0


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_a_loop_is_seen_by_whatever_scheme_it_begins(scheme: str) -> None:
    """The API is the gateway itself, called for the API that is the gateway itself."""
    async with running("as made") as gw:
        around = Target(port=gw.port)
        asked = request("plain", scheme, around).replace(
            b"/a?", f"/{KEY}/http://{around.authority}/{KEY}/http://api.example/a?".encode(), 1
        )
        async with dial(gw.port) as client:
            await client.say(asked)
            assert status_of(await converse(client, "plain")) == 508


BEHIND = b"GET /smuggled HTTP/1.1\r\nHost: gw\r\n\r\n"


@pytest.mark.parametrize("framing", ["Content-Length: 36", "Transfer-Encoding: chunked"])
@pytest.mark.parametrize(("kind", "scheme"), CALLS)
async def test_a_body_where_none_is_usual_is_nobody_s_next_request(
    kind: str, scheme: str, framing: str
) -> None:
    """What stands behind the head is the body, or (CONNECT) bytes of the tunnel; never another call."""
    body = BEHIND if framing.startswith("Content") else b"%x\r\n%b\r\n0\r\n\r\n" % (len(BEHIND), BEHIND)
    async with an_api() as (api, _), running("as made") as gw:
        lines = request(kind, scheme, api).replace(b"\r\nHost:", f"\r\n{framing}\r\nHost:".encode(), 1)
        async with dial(gw.port) as client:
            await client.say(lines + body)
            await client.head()
            client.writer.write_eof()
            await client.hung_up()
        calls = await gw.relay.call()
        assert "smuggled" not in calls.request.url
