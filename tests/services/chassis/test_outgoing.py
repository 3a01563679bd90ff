"""The guarded client: resolve once, filter, pin; kept connections; TLS; every failure by its own name."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bus.clock import SystemClock
from bus.testing import ManualClock
from services.chassis.outgoing import (
    BodyFailed,
    ConnectRefused,
    ConnectTimeout,
    DnsFailed,
    Limits,
    Origin,
    Outgoing,
    OutgoingError,
    Policy,
    Request,
    Response,
    TlsFailed,
    UpstreamDisconnected,
    UpstreamTimeout,
)
from services.chassis.outgoing.guard import Resolved, resolve
from tests.services.loopback import Peer, Target, free_port, target

pytestmark = pytest.mark.uvloop

LOOPBACK = Policy.of(allow=("loopback",))
BUT_ONE = Policy.of(allow=("loopback",), deny=("127.0.0.99",))
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
CERTIFICATE = Path(__file__).parent / "localhost.pem"
HASTY = Limits(connect_timeout_s=0.3, wait_timeout_s=0.2, idle_timeout_s=0.2)


def request(at: Target | int, method: str = "GET", **fields: Any) -> Request:
    port = at if isinstance(at, int) else at.port
    return Request(Origin("http", "127.0.0.1", port), method, b"/x", ((b"Host", b"h"),), **fields)


async def whole(outgoing: Outgoing, sent: Request) -> tuple[int, bytes]:
    async with outgoing.send(sent) as response:
        return response.status, await body(response)


async def body(response: Response) -> bytes:
    parts = []
    while piece := await response.read():
        parts.append(piece)
    return b"".join(parts)


async def test_what_is_sent_is_what_was_written() -> None:
    headers = ((b"hOsT", b"h"), (b"X", b"\xff"), (b"X", b""))
    async with target(OK) as api, Outgoing(LOOPBACK, SystemClock()) as outgoing:
        sent = Request(Origin("http", "127.0.0.1", api.port), "GET", b"/x?", headers)
        assert await whole(outgoing, sent) == (200, b"hi")
        assert api.heard == [b"GET /x? HTTP/1.1\r\nhOsT: h\r\nX: \xff\r\nX: \r\n\r\n"]


async def test_redirects_and_cookies_are_the_caller_s_business() -> None:
    answer = b"HTTP/1.1 302 Found\r\nLocation: /y\r\nSet-Cookie: a=1\r\nContent-Length: 0\r\n\r\n"
    async with target(answer) as api, Outgoing(LOOPBACK, SystemClock()) as outgoing:
        for _ in range(2):
            assert (await whole(outgoing, request(api)))[0] == 302
        assert all(heard.startswith(b"GET /x ") and b"Cookie" not in heard for heard in api.heard)


# --- resolve once, filter, pin


class Names:
    """A resolver for tests: answers in turn, and counts."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> None:
        self.asked: list[str] = []
        self._answers = list(answers)
        monkeypatch.setattr("services.chassis.outgoing.wire.resolve", self._resolve)

    async def _resolve(self, host: str, port: int) -> list[Resolved]:
        self.asked.append(host)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        return [address for text in answer for address in await resolve(text, port)]


async def test_the_address_that_was_checked_is_the_one_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that changes its mind after the check (DNS rebinding) is not asked a second time."""
    names = Names(monkeypatch, ["127.0.0.1"], ["127.0.0.99"])
    async with target(OK) as api, Outgoing(BUT_ONE, SystemClock()) as outgoing:
        sent = Request(Origin("http", "rebinding.example", api.port), "GET", b"/", ())
        async with outgoing.send(sent) as response:
            assert response.address == f"127.0.0.1:{api.port}"
            await response.read()
        assert names.asked == ["rebinding.example"]


async def test_forbidden_addresses_of_a_name_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    Names(monkeypatch, ["127.0.0.99", "127.0.0.1"])
    async with target(OK) as api, Outgoing(BUT_ONE, SystemClock()) as outgoing:
        sent = Request(Origin("http", "two.example", api.port), "GET", b"/", ())
        async with outgoing.send(sent) as response:
            assert response.address == f"127.0.0.1:{api.port}"


async def test_the_next_address_is_tried_when_one_takes_no_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Names(monkeypatch, ["127.0.0.2", "127.0.0.1"])
    async with target(OK) as api, Outgoing(LOOPBACK, SystemClock()) as outgoing:
        assert await whole(outgoing, Request(Origin("http", "two.example", api.port), "GET", b"/", ())) == (
            200,
            b"hi",
        )


# --- failures


async def test_a_name_without_an_address() -> None:
    async with Outgoing(LOOPBACK, SystemClock()) as outgoing:
        with pytest.raises(DnsFailed, match=r"nowhere\.invalid"):
            await whole(outgoing, Request(Origin("http", "nowhere.invalid", 80), "GET", b"/", ()))


async def test_a_resolver_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(host: str, port: int) -> list[Resolved]:
        await asyncio.Event().wait()
        return []

    monkeypatch.setattr("services.chassis.outgoing.wire.resolve", never)
    async with Outgoing(LOOPBACK, SystemClock(), HASTY) as outgoing:
        with pytest.raises(DnsFailed, match=r"within 0\.3 s"):
            await whole(outgoing, Request(Origin("http", "slow.example", 80), "GET", b"/", ()))


async def test_a_port_that_nobody_listens_on() -> None:
    port = free_port()
    async with Outgoing(LOOPBACK, SystemClock()) as outgoing:
        with pytest.raises(ConnectRefused, match="takes no connection: connection refused"):
            await whole(outgoing, request(port))


async def test_a_connection_that_is_not_taken_in_time() -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        waiting = []
        for _ in range(4):  # the backlog is full then, and further SYNs are dropped
            sock = socket.socket()
            sock.setblocking(False)
            sock.connect_ex(("127.0.0.1", port))
            waiting.append(sock)
        async with Outgoing(LOOPBACK, SystemClock(), HASTY) as outgoing:
            with pytest.raises(ConnectTimeout, match=r"within 0\.3 s"):
                await whole(outgoing, request(port))
        for sock in waiting:
            sock.close()


async def test_a_body_that_stops_or_ends_early() -> None:
    async def talk(peer: Peer) -> None:
        path = (await peer.request()).split(b" ")[1]
        await peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345")
        if path == b"/stops":
            await peer.hung_up()

    async with target(talk) as api, Outgoing(LOOPBACK, SystemClock(), HASTY) as outgoing:
        origin = Origin("http", "127.0.0.1", api.port)
        with pytest.raises(UpstreamTimeout):
            await whole(outgoing, Request(origin, "GET", b"/stops", ()))
        with pytest.raises(UpstreamDisconnected):
            await whole(outgoing, Request(origin, "GET", b"/ends", ()))


async def test_a_body_source_that_fails_breaks_the_request_off() -> None:
    left = asyncio.Event()

    async def talk(peer: Peer) -> None:
        await peer.head()
        await peer.hung_up()
        left.set()

    async def pieces() -> AsyncIterator[bytes]:
        yield b"hello"
        raise ValueError("out of pieces")

    async with target(talk) as api, Outgoing(LOOPBACK, SystemClock()) as outgoing:
        with pytest.raises(BodyFailed, match="out of pieces") as caught:
            await whole(outgoing, request(api, "POST", body=pieces(), chunked=True))
        assert isinstance(caught.value.__cause__, ValueError)
        async with asyncio.timeout(5):
            await left.wait()


async def test_a_target_that_does_not_take_the_body() -> None:
    async def talk(peer: Peer) -> None:
        await peer.head()
        await asyncio.Event().wait()

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield bytes(65536)

    async with target(talk) as api, Outgoing(LOOPBACK, SystemClock(), HASTY) as outgoing:
        with pytest.raises(UpstreamTimeout, match="stopped reading"):
            await whole(outgoing, request(api, "POST", body=endless(), chunked=True))


def test_every_failure_is_named_for_the_capture() -> None:
    named = (kind for kind in OutgoingError.__subclasses__() if kind.__module__ == OutgoingError.__module__)
    slugs = {kind.slug for kind in named}
    assert slugs == {
        "target-refused",
        "dns-failed",
        "connect-refused",
        "connect-timeout",
        "tls-failed",
        "upstream-timeout",
        "upstream-disconnected",
        "upstream-malformed",
        "client-disconnected",
    }


# --- kept connections


async def test_a_connection_is_kept_and_used_again() -> None:
    async with target(OK) as api, Outgoing(LOOPBACK, SystemClock()) as outgoing:
        async with outgoing.send(request(api)) as first:
            assert first.connecting.connect_s is not None
            await body(first)
        async with outgoing.send(request(api)) as second:
            assert second.connecting.connect_s is None
            await body(second)
        assert api.connections == 1


async def test_a_response_that_is_not_read_to_its_end_costs_its_connection() -> None:
    async with target(OK) as api, Outgoing(LOOPBACK, SystemClock()) as outgoing:
        for _ in range(2):
            async with outgoing.send(request(api)):
                pass
        assert api.connections == 2


@pytest.mark.parametrize("answer", [b"Connection: close\r\n", b""], ids=["says-close", "no-length"])
async def test_a_connection_that_ends_with_its_response_is_not_kept(answer: bytes) -> None:
    async def talk(peer: Peer) -> None:
        await peer.request()
        length = b"Content-Length: 2\r\n" if answer else b""
        await peer.say(b"HTTP/1.1 200 OK\r\n" + answer + length + b"\r\nhi")

    async with target(talk) as api, Outgoing(LOOPBACK, SystemClock()) as outgoing:
        for _ in range(2):
            assert await whole(outgoing, request(api)) == (200, b"hi")
        assert api.connections == 2


async def test_a_connection_is_kept_for_so_long() -> None:
    clock = ManualClock()
    async with target(OK) as api, Outgoing(LOOPBACK, clock) as outgoing:
        await whole(outgoing, request(api))
        await clock.advance(14)
        await whole(outgoing, request(api))
        assert api.connections == 1
        await clock.advance(16)
        await whole(outgoing, request(api))
        assert api.connections == 2


async def test_unused_connections_are_closed() -> None:
    clock, closed = ManualClock(), asyncio.Event()

    async def talk(peer: Peer) -> None:
        await peer.request()
        await peer.say(OK)
        await peer.hung_up()
        closed.set()

    async with target(talk) as api, Outgoing(LOOPBACK, clock) as outgoing:
        await whole(outgoing, request(api))
        await clock.advance(60)
        async with asyncio.timeout(5):
            await closed.wait()


async def test_what_cannot_be_repeated_only_uses_a_connection_that_was_used_a_moment_ago() -> None:
    clock = ManualClock()
    async with target(OK) as api, Outgoing(LOOPBACK, clock) as outgoing:
        await whole(outgoing, request(api))
        await clock.advance(1)
        await whole(outgoing, request(api, "POST"))
        assert api.connections == 1
        await clock.advance(3)
        await whole(outgoing, request(api, "POST"))
        assert api.connections == 2


async def test_a_stale_connection_is_replaced_for_what_may_be_repeated_only() -> None:
    async def talk(peer: Peer) -> None:
        await peer.request()
        await peer.say(OK)
        await peer.request()

    async with target(talk) as api, Outgoing(LOOPBACK, SystemClock()) as outgoing:
        await whole(outgoing, request(api))
        assert await whole(outgoing, request(api, "PUT")) == (200, b"hi")
        with pytest.raises(UpstreamDisconnected):
            await whole(outgoing, request(api, "POST"))


async def test_leaving_closes_every_connection() -> None:
    closed = asyncio.Event()

    async def talk(peer: Peer) -> None:
        await peer.request()
        await peer.say(OK)
        await peer.hung_up()
        closed.set()

    async with target(talk) as api:
        async with Outgoing(LOOPBACK, SystemClock()) as outgoing:
            await whole(outgoing, request(api))
        async with asyncio.timeout(5):
            await closed.wait()


# --- TLS


@pytest.fixture
def server_tls() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    return context


async def test_a_trusted_target_over_tls(server_tls: ssl.SSLContext) -> None:
    trust = ssl.create_default_context(cafile=str(CERTIFICATE))
    async with (
        target(OK, ssl=server_tls) as api,
        Outgoing(LOOPBACK, SystemClock(), tls=trust) as outgoing,
    ):
        sent = Request(Origin("https", "127.0.0.1", api.port), "GET", b"/", ())
        async with outgoing.send(sent) as response:
            assert response.connecting.tls_s is not None
            assert await body(response) == b"hi"


async def test_a_target_whose_certificate_is_not_trusted(server_tls: ssl.SSLContext) -> None:
    async with target(OK, ssl=server_tls) as api, Outgoing(LOOPBACK, SystemClock()) as outgoing:
        with pytest.raises(TlsFailed, match="self-signed certificate"):
            await whole(outgoing, Request(Origin("https", "127.0.0.1", api.port), "GET", b"/", ()))
        assert api.heard == []


async def test_a_certificate_for_another_name(
    server_tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    Names(monkeypatch, ["127.0.0.1"])
    trust = ssl.create_default_context(cafile=str(CERTIFICATE))
    async with (
        target(OK, ssl=server_tls) as api,
        Outgoing(LOOPBACK, SystemClock(), tls=trust) as outgoing,
    ):
        with pytest.raises(TlsFailed, match=r"other\.example"):
            await whole(outgoing, Request(Origin("https", "other.example", api.port), "GET", b"/", ()))


async def test_a_handshake_that_is_never_finished() -> None:
    async def talk(peer: Peer) -> None:
        await peer.hung_up()

    async with target(talk) as api, Outgoing(LOOPBACK, SystemClock(), HASTY) as outgoing:
        with pytest.raises(TlsFailed, match=r"within 0\.3 s"):
            await whole(outgoing, Request(Origin("https", "127.0.0.1", api.port), "GET", b"/", ()))
