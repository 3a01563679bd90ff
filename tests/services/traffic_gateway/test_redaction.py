"""What leaves the gateway is redacted: over real sockets, wherever a secret stands, however its body is
coded, framed or cut, and whatever goes wrong meanwhile."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
import threading
import zlib
from typing import Any
from urllib.parse import quote_plus

import brotli  # type: ignore[import-untyped]
import msgspec
import pytest
import zstandard

from schemas.identity import CaptureMode, Redaction
from schemas.traffic_gateway import Body, CallCaptured, Masked
from services.calls.redaction.marks import Marker, Tally
from services.calls.redaction.redactor import Redactor
from services.chassis.access import MAX_STALE_S
from services.traffic_gateway.config import Config
from services.traffic_gateway.edge.redacting import AT_ONCE_BYTES, PURPOSE
from tests.services.loopback import Target, dial, target
from tests.services.traffic_gateway.running import KEY, SECRETS, Running, a_bucket, gateway

pytestmark = pytest.mark.uvloop

SECRET = "correct-horse-battery-staple-7"
CAPTURES: list[CaptureMode] = ["relaxed", "strict"]
MARKER = Marker(SECRETS.derived(PURPOSE, KEY))
FILLER = [{"id": number, "name": f"order {number}"} for number in range(40)]
CODINGS = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstandard.ZstdCompressor().compress,
}


def mark(rule: str, secret: str = SECRET) -> str:
    return MARKER.mark(rule, secret.encode()).decode()


def published(at: Running) -> bytes:
    """Everything that left the gateway for the bus."""
    return msgspec.msgpack.encode(at.relay.calls) + b"".join(at.relay.bodies.values())


def kept(at: Running, body: Body) -> bytes:
    data = body.inline if body.inline is not None else at.relay.bodies.get(body.sha256 or "", b"")
    assert len(data) == body.captured_bytes
    assert body.sha256 == (hashlib.sha256(data).hexdigest() if data else None)
    return data


def framed(body: bytes, headers: dict[str, str], *, chunked: bool) -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    if not chunked:
        return f"{lines}Content-Length: {len(body)}\r\n\r\n".encode() + body
    pieces = [body[at : at + 700] for at in range(0, len(body), 700)]
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return f"{lines}Transfer-Encoding: chunked\r\n\r\n".encode() + chunks + b"0\r\n\r\n"


async def call(at: Running, api: Target, request: bytes) -> tuple[bytes, bytes, CallCaptured]:
    async with dial(at.port) as client:
        await client.say(request)
        head, body = await client.response()
    return head, body, await at.relay.call()


@pytest.mark.parametrize("capture", CAPTURES)
async def test_a_secret_is_masked_in_the_capture_and_nowhere_else(capture: CaptureMode) -> None:
    """URL, headers and bodies of both sides."""
    plain = json.dumps({"password": SECRET}).encode()
    answer = framed(
        plain, {"Set-Cookie": f"s={SECRET}; Path=/", "Content-Type": "application/json"}, chunked=False
    )
    async with target(b"HTTP/1.1 200 OK\r\n" + answer) as api, gateway(capture=capture) as at:
        said = framed(plain, {"Host": "gw", "AUTHORIZATION": f"Bearer {SECRET}"}, chunked=False)
        path = at.path(api, f"/x?id=1&api_key={SECRET}")
        head, body, told = await call(at, api, b"POST " + path + b" HTTP/1.1\r\n" + said)
        assert api.heard[0].count(SECRET.encode()) == 3
        assert f"Set-Cookie: s={SECRET}; Path=/".encode() in head
        assert body == plain
        assert SECRET.encode() not in published(at)
    assert told.request.url.endswith(f"/x?id=1&api_key={mark('query')}")
    assert ("AUTHORIZATION", f"Bearer {mark('header')}") in told.request.headers
    assert told.response is not None
    assert told.response.headers[0] == ("Set-Cookie", f"s={mark('cookie')}; Path=/")
    for side in (told.request.body, told.response.body):
        assert kept(at, side) == json.dumps({"password": mark("key")}).encode()
        assert (side.size_bytes, side.decoded, side.truncated) == (len(plain), False, False)
    assert set(told.redacted) == {
        Masked("request.url", "query", "api_key"),
        Masked("request.header", "header", "authorization"),
        Masked("request.body", "key", "password"),
        Masked("response.header", "cookie", "set-cookie"),
        Masked("response.body", "key", "password"),
    }


@pytest.mark.parametrize("capture", CAPTURES)
@pytest.mark.parametrize("coding", [None, *CODINGS])
@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("size", ["short", "long"])
async def test_a_secret_in_a_body_is_published_in_no_form(
    capture: CaptureMode, coding: str | None, chunked: bool, size: str
) -> None:
    items = FILLER if size == "short" else FILLER * 100
    plain = json.dumps({"first": items, "login": {"password": SECRET}, "last": items}).encode()
    sent = plain if coding is None else CODINGS[coding](plain)
    headers = {"Content-Type": "application/json"} | ({} if coding is None else {"Content-Encoding": coding})
    answer = b"HTTP/1.1 200 OK\r\n" + framed(sent, headers, chunked=chunked)
    async with target(answer) as api, gateway(capture=capture) as at:
        said = framed(sent, {"Host": "gw"} | headers, chunked=chunked)
        _, body, told = await call(at, api, b"POST " + at.path(api) + b" HTTP/1.1\r\n" + said)
        assert sent in body or chunked
        assert told.response is not None
        for side in (told.request.body, told.response.body):
            data = kept(at, side)
            assert data == plain.replace(SECRET.encode(), mark("key").encode())
            assert (side.size_bytes, side.decoded, side.truncated) == (len(sent), coding is not None, False)
        assert SECRET.encode() not in published(at)
        assert sent not in published(at)


@pytest.mark.parametrize("coding", list(CODINGS))
async def test_a_coded_body_without_a_secret_is_captured_as_it_came(coding: str) -> None:
    sent = CODINGS[coding](json.dumps(FILLER).encode())
    answer = b"HTTP/1.1 200 OK\r\n" + framed(sent, {"Content-Encoding": coding}, chunked=False)
    async with target(answer) as api, gateway() as at:
        _, _, told = await call(at, api, b"GET " + at.path(api) + b" HTTP/1.1\r\nHost: gw\r\n\r\n")
        assert told.response is not None
        assert kept(at, told.response.body) == sent
        assert (told.response.body.decoded, told.redacted) == (False, ())


@pytest.mark.parametrize("coding", [None, *CODINGS])
async def test_a_body_that_is_cut_anywhere_gives_nothing_away(coding: str | None) -> None:
    plain = json.dumps({"first": FILLER, "password": SECRET * 20, "last": FILLER}).encode()
    sent = plain if coding is None else CODINGS[coding](plain)
    headers = {} if coding is None else {"Content-Encoding": coding}
    answer = b"HTTP/1.1 200 OK\r\n" + framed(sent, headers, chunked=False)
    for cap_bytes in range(1, len(sent) + 10, max(1, len(sent) // 40)):
        async with target(answer) as api, gateway(body_cap_bytes=cap_bytes) as at:
            _, _, told = await call(at, api, b"GET " + at.path(api) + b" HTTP/1.1\r\nHost: gw\r\n\r\n")
            assert told.response is not None
            data = kept(at, told.response.body)
            assert told.response.body.truncated == (cap_bytes < len(sent))
            assert SECRET[:6].encode() not in data
            assert SECRET[:6].encode() not in published(at)


@pytest.mark.parametrize("capture", CAPTURES)
async def test_the_request_bin_shows_its_client_all_and_tells_nobody(capture: CaptureMode) -> None:
    async with gateway(capture=capture) as at, dial(at.port) as client:
        form = f"user=a&password={SECRET}".encode()
        headers = {"Host": "gw", "Cookie": f"s={SECRET}", "X-Api-Key": SECRET}
        path = f"/{KEY}?token={SECRET}".encode()
        await client.say(b"POST " + path + b" HTTP/1.1\r\n" + framed(form, headers, chunked=False))
        _, body = await client.response()
        told = await at.relay.call()
        assert body.count(SECRET.encode()) == 4
        assert SECRET.encode() not in published(at)
        assert told.response is not None
        echoed = json.loads(kept(at, told.response.body))
        assert ["X-Api-Key", mark("header")] in echoed["headers"]
        assert echoed["body"] == f"user=a&password={mark('field')}"
        assert told.response.body.size_bytes == len(body)


async def test_an_error_names_no_secret() -> None:
    answer = (
        b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: %b\r\n" % (n, b"x" * 1000) for n in range(20)) + b"\r\n"
    )
    config = Config(max_head_bytes=10_000, drain_s=0.2)
    for mode in ("default", "strict"):
        bucket = a_bucket(redaction=Redaction(mode))
        async with target(answer) as api, gateway(config=config, bucket=bucket) as at:
            path = at.path(api, f"/x?token={SECRET}")
            _, _, told = await call(at, api, b"GET " + path + b" HTTP/1.1\r\nHost: gw\r\n\r\n")
            assert told.error is not None
            assert told.error.slug == "upstream-malformed"
            assert SECRET.encode() not in published(at)


async def test_a_buckets_own_rules_are_used_and_change_at_once() -> None:
    body = json.dumps({"iban": SECRET, "note": f"order {SECRET}", "plain": "kept"}).encode()
    rules = Redaction(headers=("X-Tenant",), paths=("$.iban",), patterns=("battery-[a-z]+",))
    async with (
        target(b"HTTP/1.1 200 OK\r\n" + framed(body, {}, chunked=False)) as api,
        gateway(bucket=a_bucket(redaction=rules)) as at,
    ):
        said = b"GET " + at.path(api) + b" HTTP/1.1\r\nHost: gw\r\nX-Tenant: acme\r\n\r\n"
        _, _, told = await call(at, api, said)
        assert ("X-Tenant", mark("bucket-header", "acme")) in told.request.headers
        assert told.response is not None
        assert json.loads(kept(at, told.response.body)) == {
            "iban": mark("bucket-path"),
            "note": f"order correct-horse-{mark('bucket-pattern', 'battery-staple')}-7",
            "plain": "kept",
        }
        at.buckets.known = a_bucket(redaction=Redaction(headers=("X-Other",)))
        at.relay.calls.clear()
        _, _, told = await call(at, api, said)
        assert ("X-Tenant", "acme") in told.request.headers


async def test_raw_masks_nothing_and_strict_everything() -> None:
    body = json.dumps({"note": SECRET, "count": 3}).encode()
    answer = b"HTTP/1.1 200 OK\r\n" + framed(
        body, {"Content-Type": "application/json", "X-A": "1"}, chunked=False
    )
    async with target(answer) as api:
        said = f"?a={SECRET} HTTP/1.1\r\nHost: gw\r\nX-B: 2\r\n\r\n".encode()
        async with gateway(bucket=a_bucket(redaction=Redaction("raw"))) as at:
            _, _, told = await call(at, api, b"GET " + at.path(api) + said)
            assert told.response is not None
            assert (kept(at, told.response.body), told.redacted) == (body, ())
        async with gateway(bucket=a_bucket(redaction=Redaction("strict"))) as at:
            _, _, told = await call(at, api, b"GET " + at.path(api) + said)
            assert told.response is not None
            assert json.loads(kept(at, told.response.body)) == {"note": "[redacted]", "count": "[redacted]"}
            assert ("X-B", "[redacted]") in told.request.headers
            assert SECRET.encode() not in published(at)


@pytest.mark.parametrize("mode", ["default", "raw"])
async def test_settings_that_may_be_old_are_not_trusted(mode: str) -> None:
    async with (
        target(b"HTTP/1.1 200 OK\r\n" + framed(b'{"note":"x"}', {}, chunked=False)) as api,
        gateway(bucket=a_bucket(redaction=Redaction(mode))) as at,  # type: ignore[arg-type]
    ):
        said = b"GET " + at.path(api) + b" HTTP/1.1\r\nHost: gw\r\n\r\n"
        for stale_s, expected in (
            (MAX_STALE_S, b'{"note":"x"}'),
            (MAX_STALE_S + 1, b'{"note":"[redacted]"}'),
        ):
            at.buckets.stale_s = stale_s
            at.relay.calls.clear()
            _, body, told = await call(at, api, said)
            assert body == b'{"note":"x"}'
            assert told.response is not None
            assert kept(at, told.response.body) == expected


async def test_a_rule_that_cannot_be_used_drops_everything() -> None:
    rules = Redaction(patterns=("(",))
    async with (
        target(b"HTTP/1.1 200 OK\r\n" + framed(b'{"note":"x"}', {}, chunked=False)) as api,
        gateway(bucket=a_bucket(redaction=rules)) as at,
    ):
        _, _, told = await call(at, api, b"GET " + at.path(api) + b" HTTP/1.1\r\nHost: gw\r\n\r\n")
        assert told.response is not None
        assert kept(at, told.response.body) == b'{"note":"[redacted]"}'


@pytest.mark.parametrize("capture", CAPTURES)
@pytest.mark.parametrize("fault", ["url", "headers", "body"])
async def test_a_call_that_cannot_be_masked_is_told_of_without_its_contents(
    capture: CaptureMode, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError(SECRET)

    monkeypatch.setattr(Redactor, fault, fails)
    answer = b"HTTP/1.1 200 OK\r\n" + framed(
        b'{"password":"%b"}' % SECRET.encode(), {"X-A": SECRET}, chunked=False
    )
    async with target(answer) as api, gateway(capture=capture) as at:
        said = framed(b"hello", {"Host": "gw", "X-B": SECRET}, chunked=False)
        path = at.path(api, f"/{SECRET}?a={SECRET}")
        head, body, told = await call(at, api, b"POST " + path + b" HTTP/1.1\r\n" + said)
        assert head.startswith(b"HTTP/1.1 200 ")
        assert SECRET.encode() in body
        assert SECRET.encode() not in published(at)
        assert at.relay.bodies == {}
    assert told.request.url == f"http://{api.authority}/"
    assert ("X-B", "[redacted]") in told.request.headers
    assert told.request.body == Body(5, truncated=True)
    assert told.response is not None
    assert (told.response.status, told.response.body.captured_bytes) == (200, 0)
    assert {(masked.rule, masked.name) for masked in told.redacted} == {("failed", "RuntimeError")}


@pytest.mark.parametrize("capture", CAPTURES)
async def test_a_long_body_holds_no_other_call_up(
    capture: CaptureMode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While its masking takes as long as it likes, others are answered, captured and told of."""
    going, threads = threading.Event(), set[int]()
    masks = Redactor.body

    def slow(self: Redactor, data: bytes, *args: Any, **kwargs: Any) -> Any:
        if len(data) > AT_ONCE_BYTES:
            threads.add(threading.get_ident())
            assert going.wait(10)
        return masks(self, data, *args, **kwargs)

    monkeypatch.setattr(Redactor, "body", slow)
    long = json.dumps({"password": SECRET, "rest": "x" * AT_ONCE_BYTES}).encode()
    answer = b"HTTP/1.1 200 OK\r\n" + framed(b"hi", {}, chunked=False)
    async with target(answer) as api, gateway(capture=capture) as at, asyncio.TaskGroup() as tasks:
        try:
            said = (
                b"POST "
                + at.path(api, "/long")
                + b" HTTP/1.1\r\n"
                + framed(long, {"Host": "gw"}, chunked=False)
            )
            waiting = [tasks.create_task(at_once(at, said)) for _ in range(5)]
            for _ in range(10):
                assert await at_once(at, b"GET " + at.path(api) + b" HTTP/1.1\r\nHost: gw\r\n\r\n") == b"hi"
            told = list(at.relay.calls)
            assert [call.request.method for call in told] == ["GET"] * 10
            assert capture == "relaxed" or not any(task.done() for task in waiting)
        finally:
            going.set()
        assert [await task for task in waiting] == [b"hi"] * 5
        await at.relay.count(15)
        assert SECRET.encode() not in published(at)
    assert threading.get_ident() not in threads
    assert len(threads) <= 2


async def at_once(at: Running, request: bytes) -> bytes:
    async with dial(at.port) as client, asyncio.timeout(5):
        await client.say(request)
        return (await client.response())[1]


async def test_the_memory_of_bodies_that_wait_for_their_masking_is_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    going = threading.Event()
    masks = Redactor.body

    def slow(self: Redactor, *args: Any, **kwargs: Any) -> Any:
        assert going.wait(10)
        return masks(self, *args, **kwargs)

    monkeypatch.setattr(Redactor, "body", slow)
    long = b"x" * 100_000
    config = Config(capture_memory_bytes=270_000, drain_s=0.2)
    async with (
        target(b"HTTP/1.1 200 OK\r\n" + framed(b"", {}, chunked=False)) as api,
        gateway(config=config) as at,
    ):
        said = b"POST " + at.path(api) + b" HTTP/1.1\r\n" + framed(long, {"Host": "gw"}, chunked=False)
        try:
            for _ in range(4):
                await at_once(at, said)
        finally:
            going.set()
        await at.relay.count(4)
        assert sorted(call.request.body.captured_bytes for call in at.relay.calls) == [
            0,
            70_000,
            100_000,
            100_000,
        ]
        at.relay.calls.clear()
        await at_once(at, said)
        assert (await at.relay.call()).request.body.captured_bytes == 100_000


def test_a_form_is_masked_however_it_is_written() -> None:
    """The mark is the same for a secret in a form, in JSON and in a header."""
    redactor = Redactor(Redaction(), SECRETS.derived(PURPOSE, KEY))
    form = f"password={quote_plus(SECRET)}".encode()
    assert redactor.body(form, (), "request", Tally()).data.endswith(mark("field")[-9:].encode())
    assert mark("field")[-9:] == mark("key")[-9:]
