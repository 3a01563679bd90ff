"""Playback: a stored response instead of a call."""

from __future__ import annotations

import gzip
from pathlib import Path

import msgspec
import pytest

from schemas.identity import PutBucket
from schemas.request_vault import GetCall
from schemas.traffic_gateway import Body, CallCaptured, CallError
from services.traffic_gateway.config import Config
from tests.services.loopback import Target, dial, target
from tests.services.traffic_gateway.running import KEY, Running, gateway
from tests.services.traffic_gateway.test_service import installation, kept

ZIPPED = gzip.compress(b"the answer, zipped")
ANSWER = (
    b"HTTP/1.1 201 Made So\r\nContent-Encoding: gzip\r\nX-Twice: 1\r\nx-twice: 2\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(ZIPPED), ZIPPED)
)


async def ask(gw: Running, where: str, lines: str = "", method: str = "GET") -> tuple[bytes, bytes]:
    async with dial(gw.port) as client:
        await client.say(f"{method} {where} HTTP/1.1\r\nHost: gw\r\n{lines}\r\n".encode())
        return await client.response(bodiless=method == "HEAD")


async def a_call(gw: Running, api: Target) -> CallCaptured:
    """One that was made and is in the vault."""
    await ask(gw, f"/{KEY}/http://{api.authority}/first")
    call = await gw.relay.call()
    gw.vault.keep(call)
    gw.vault.bodies.update(gw.relay.bodies)
    gw.relay.calls.clear()
    return call


def answered(call: CallCaptured, **changes: object) -> CallCaptured:
    assert call.response is not None
    return msgspec.structs.replace(call, response=msgspec.structs.replace(call.response, **changes))


@pytest.mark.parametrize("where", ["header", "alias", "parameter"])
@pytest.mark.parametrize("path", ["/http://nowhere.invalid/other?a=1", ""])
async def test_it_answers_with_what_was_stored_and_calls_nobody(where: str, path: str) -> None:
    async with target(ANSWER) as api, gateway() as gw:
        played = await a_call(gw, api)
        names = {"header": "Trunkline-Playback-Id", "alias": "Runscope-Playback-Id"}
        lines = f"{names[where]}: {played.id}\r\n" if where in names else ""
        sign = "&" if "?" in path else "?"
        query = f"{sign}trunkline-playback-id={played.id}" if where == "parameter" else ""
        head, body = await ask(gw, f"/{KEY}{path}{query}", lines)
        call = await gw.relay.call()
    assert api.connections == 1
    assert body == ZIPPED
    assert head == (
        b"HTTP/1.1 201 Made So\r\nContent-Encoding: gzip\r\nX-Twice: 1\r\nx-twice: 2\r\n"
        b"Content-Length: %d\r\nTrunkline-Call-Id: %b\r\n\r\n" % (len(ZIPPED), call.id.encode())
    )
    assert (call.origin, call.replay_of, call.status_sent, call.error) == ("playback", played.id, 201, None)
    assert call.response is not None
    assert call.response.body.inline == ZIPPED
    assert "playback-id" not in call.request.url
    assert not [name for name, _ in call.request.headers if "playback" in name.lower()]


async def test_a_large_body_is_read_part_by_part() -> None:
    body = bytes(range(256)) * 4000
    large = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    async with target(large) as api, gateway() as gw:
        played = await a_call(gw, api)
        head, got = await ask(gw, f"/{KEY}", f"Trunkline-Playback-Id: {played.id}\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert got == body


async def test_an_answer_to_head_has_no_body() -> None:
    async with target(ANSWER) as api, gateway() as gw:
        played = await a_call(gw, api)
        head, body = await ask(gw, f"/{KEY}", f"Trunkline-Playback-Id: {played.id}\r\n", "HEAD")
    assert f"\r\nContent-Length: {len(ZIPPED)}\r\n".encode() in head
    assert body == b""


async def test_the_request_s_body_is_captured() -> None:
    async with target(ANSWER) as api, gateway() as gw:
        played = await a_call(gw, api)
        async with dial(gw.port) as client:
            await client.say(
                f"POST /{KEY} HTTP/1.1\r\nHost: gw\r\nTrunkline-Playback-Id: {played.id}\r\n"
                "Expect: 100-continue\r\nContent-Length: 5\r\n\r\n".encode()
            )
            assert (await client.head()).startswith(b"HTTP/1.1 100 ")
            await client.say(b"hello")
            head, _ = await client.response()
        assert head.startswith(b"HTTP/1.1 201 ")
        assert (await gw.relay.call()).request.body.inline == b"hello"


async def test_a_coding_that_was_undone_to_mask_is_not_said_again() -> None:
    async with target(ANSWER) as api, gateway() as gw:
        played = await a_call(gw, api)
        gw.vault.keep(answered(played, body=Body(4, 4, None, b"[re]", decoded=True)))
        head, body = await ask(gw, f"/{KEY}", f"Trunkline-Playback-Id: {played.id}\r\n")
    assert b"Content-Encoding" not in head
    assert body == b"[re]"


async def test_what_cannot_be_played_back_says_why() -> None:
    async with target(ANSWER) as api, gateway() as gw:
        played = await a_call(gw, api)
        cut = Body(9, 4, None, b"1234", truncated=True)
        gone = Body(99_999, 99_999, "0" * 64)
        frames = Body(4, 4, None, b"{}\n", form="websocket")
        for stored, status, slug in (
            (answered(played, body=cut), 409, "playback-truncated"),
            (answered(played, body=gone), 410, "playback-gone"),
            (answered(played, body=frames), 409, "playback-impossible"),
            (msgspec.structs.replace(played, origin="tunnel"), 409, "playback-impossible"),
            (
                msgspec.structs.replace(
                    played, response=None, error=CallError("dns-failed", "no such name"), status_sent=502
                ),
                502,
                "dns-failed",
            ),
        ):
            gw.vault.keep(stored)
            gw.relay.calls.clear()
            head, body = await ask(gw, f"/{KEY}", f"Trunkline-Playback-Id: {played.id}\r\n")
            assert head.startswith(f"HTTP/1.1 {status} ".encode()), slug
            assert msgspec.json.decode(body)["type"].endswith(f":{slug}")
            call = await gw.relay.call()
            assert call.error is not None
            assert (call.error.slug, call.status_sent, call.replay_of) == (slug, status, played.id)


@pytest.mark.parametrize("id", ["nobody", "x" * 5000, "%0d%0a"])
async def test_a_call_that_the_bucket_does_not_have(id: str) -> None:
    async with gateway() as gw:
        head, body = await ask(gw, f"/{KEY}?trunkline-playback-id={id}")
        assert head.startswith(b"HTTP/1.1 404 ")
        assert len(body) < 1000
        call = await gw.relay.call()
    assert (call.origin, call.replay_of) == ("playback", None)


async def test_when_the_vault_is_away() -> None:
    async with target(ANSWER) as api, gateway() as gw:
        played = await a_call(gw, api)
        gw.vault.away = True
        head, _ = await ask(gw, f"/{KEY}", f"Trunkline-Playback-Id: {played.id}\r\n")
    assert head.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nRetry-After: 2\r\n" in head


async def test_with_the_real_vault(tmp_path: Path) -> None:
    async with target(ANSWER) as api, installation(tmp_path) as (bus, port):
        await bus.ask(PutBucket("c1", "first", KEY))
        async with dial(port) as client:
            await client.say(f"GET /{KEY}/http://{api.authority}/x HTTP/1.1\r\nHost: gw\r\n\r\n".encode())
            await client.response()
            (first,) = await kept(bus, 1)
            await client.say(
                f"GET /{KEY} HTTP/1.1\r\nHost: gw\r\nTrunkline-Playback-Id: {first.id}\r\n\r\n".encode()
            )
            head, body = await client.response()
        assert head.startswith(b"HTTP/1.1 201 Made So\r\n")
        assert body == ZIPPED
        second, _ = await kept(bus, 2)
        assert (await bus.ask(GetCall(second.id, KEY))).call.replay_of == first.id
        assert api.connections == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"headers": (("X-One", "1\r\nSet-Cookie: a=b"),)},
        {"headers": (("X-One", "1\nX-Two: 2"),)},
        {"headers": (("X-One: 1\r\nX-Two", "2"),)},
        {"headers": (("", "1"),)},
        {"headers": (("X One", "1"),)},
        {"headers": (("X-One", "\x00"),)},
        {"reason": "OK\r\nX-Two: 2"},
        {"status": 100},
        {"status": 1200},
    ],
)
async def test_a_head_that_would_be_another_one_on_the_wire_is_not_played(changes: dict[str, object]) -> None:
    """Stored calls also come from archives and from other producers of events."""
    async with target(ANSWER) as api, gateway() as gw:
        played = await a_call(gw, api)
        gw.vault.keep(answered(played, **changes))
        head, body = await ask(gw, f"/{KEY}", f"Trunkline-Playback-Id: {played.id}\r\n")
    assert head.startswith(b"HTTP/1.1 409 ")
    assert b"X-Two" not in head
    assert msgspec.json.decode(body)["type"].endswith(":playback-impossible")


async def test_what_was_for_one_hop_or_said_how_long_is_not_played() -> None:
    hostile = (
        ("Connection", "close, X-Hop"),
        ("X-Hop", "1"),
        ("Keep-Alive", "timeout=1"),
        ("Proxy-Authenticate", "Basic"),
        ("Content-Length", "99"),
        ("content-length", "7"),
        ("Transfer-Encoding", "gzip, chunked"),
        ("Trailer", "X"),
        ("Upgrade", "h2c"),
        ("Trunkline-Call-Id", "another"),
        ("Set-Cookie", "a=1"),
        ("Set-Cookie", "b=2"),
    )
    async with target(ANSWER) as api, gateway() as gw:
        played = await a_call(gw, api)
        gw.vault.keep(answered(played, headers=hostile, body=Body(2, 2, None, b"hi")))
        head, body = await ask(gw, f"/{KEY}", f"Trunkline-Playback-Id: {played.id}\r\n")
        call = await gw.relay.call()
    assert head == (
        b"HTTP/1.1 201 Made So\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 2\r\n"
        b"Trunkline-Call-Id: %b\r\n\r\n" % call.id.encode()
    )
    assert body == b"hi"


async def test_a_205_says_that_it_has_no_body() -> None:
    """A client would wait for the connection's end (RFC 9112 6.3)."""
    async with target(ANSWER) as api, gateway() as gw:
        played = await a_call(gw, api)
        gw.vault.keep(answered(played, status=205, body=Body(0)))
        head, _ = await ask(gw, f"/{KEY}", f"Trunkline-Playback-Id: {played.id}\r\n")
    assert b"\r\nContent-Length: 0\r\n" in head


async def test_bodies_that_are_played_share_the_memory_of_those_in_flight() -> None:
    large = b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n" + b"x" * 60_000
    async with target(large) as api, gateway(config=Config(capture_memory_bytes=70_000)) as gw:
        played = await a_call(gw, api)
        asked = f"Trunkline-Playback-Id: {played.id}\r\n"
        assert (await ask(gw, f"/{KEY}", asked))[0].startswith(b"HTTP/1.1 200 ")
        gw.vault.keep(answered(played, body=Body(80_000, 80_000, "0" * 64)))
        head, _ = await ask(gw, f"/{KEY}", asked)
        assert head.startswith(b"HTTP/1.1 503 ")
        assert gw.held_bytes == 0
