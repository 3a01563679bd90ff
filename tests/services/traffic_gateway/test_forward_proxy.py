"""The gateway as a forward proxy for http://: absolute-form targets, the bucket in Proxy-Authorization."""

from __future__ import annotations

import asyncio
from base64 import b64encode

import httpx
import pytest
import requests

from tests.services.loopback import dial, target
from tests.services.traffic_gateway.running import KEY, gateway

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"


def basic(text: str) -> str:
    return f"Basic {b64encode(text.encode()).decode()}"


async def test_curl_by_way_of_a_proxy() -> None:
    async with target(OK) as api, gateway() as gw:
        url = f"http://{api.authority}/a//b/../c?x=%2F&y"
        curl = await asyncio.create_subprocess_exec(
            *(
                "curl",
                "-sS",
                "--path-as-is",
                "-x",
                f"http://{KEY}@127.0.0.1:{gw.port}",
                "-H",
                "X-One: 1",
                url,
            ),
            stdout=asyncio.subprocess.PIPE,
        )
        out, _ = await curl.communicate()
        assert (curl.returncode, out) == (0, b"hi")
        call = await gw.relay.call()
    heard = api.heard[0]
    assert heard.startswith(b"GET /a//b/../c?x=%2F&y HTTP/1.1\r\n")
    assert f"\r\nHost: {api.authority}\r\n".encode() in heard
    assert b"\r\nX-One: 1\r\n" in heard
    assert b"proxy-" not in heard.lower()
    assert (call.request.url, call.origin) == (url, "gateway")
    assert not [name for name, _ in call.request.headers if name.lower().startswith("proxy-")]


async def test_requests_by_way_of_a_proxy() -> None:
    def call(proxy: str, url: str) -> tuple[int, str]:
        with requests.Session() as session:
            session.trust_env = False
            answer = session.post(url, json={"a": 1}, proxies={"http": proxy}, timeout=5)
            return answer.status_code, answer.text

    async with target(OK) as api, gateway() as gw:
        url = f"http://{api.authority}/x"
        assert await asyncio.to_thread(call, f"http://{KEY}:@127.0.0.1:{gw.port}", url) == (200, "hi")
        assert (await gw.relay.call()).request.url == url
    assert api.heard[0].endswith(b'\r\n\r\n{"a": 1}')


async def test_httpx_by_way_of_a_proxy() -> None:
    async with target(OK) as api, gateway() as gw:
        proxy = f"http://{KEY}:@127.0.0.1:{gw.port}"
        async with httpx.AsyncClient(proxy=proxy, trust_env=False) as client:
            answers = [await client.get(f"http://{api.authority}/{n}") for n in range(3)]
        assert [answer.text for answer in answers] == ["hi"] * 3
    assert len(gw.relay.calls) == 3


@pytest.mark.parametrize(
    "said",
    [
        None,
        "Basic",
        "Basic !!!",
        "Bearer abc",
        basic("no-key:x"),
        basic("aaaaaaaaaaaa:x"),
        "Basic " + b64encode(b"\xff\xfe").decode(),
    ],
)
async def test_a_client_that_names_no_bucket_is_asked_to(said: str | None) -> None:
    line = "" if said is None else f"Proxy-Authorization: {said}\r\n"
    async with target(OK) as api, gateway() as gw, dial(gw.port) as client:
        request = f"GET http://{api.authority}/ HTTP/1.1\r\nHost: {api.authority}\r\n{line}\r\n"
        for _ in range(2):  # the connection stays, so that the client may answer the challenge on it
            await client.say(request.encode())
            head, body = await client.response()
            assert head.startswith(b"HTTP/1.1 407 ")
            assert b'\r\nProxy-Authenticate: Basic realm="Trunkline bucket", charset="UTF-8"\r\n' in head
            assert b"proxy-auth-required" in body
    assert not api.heard
    assert not gw.relay.calls


async def test_the_target_goes_before_the_host_header() -> None:
    async with target(OK) as api, gateway() as gw, dial(gw.port) as client:
        await client.say(
            f"GET http://{api.authority}/x HTTP/1.1\r\nHost: {KEY}.localhost\r\n"
            f"Proxy-Authorization: {basic(KEY + ':')}\r\nProxy-Connection: keep-alive\r\n\r\n".encode()
        )
        head, body = await client.response()
        assert (head[:12], body) == (b"HTTP/1.1 200", b"hi")
    assert f"\r\nHost: {api.authority}\r\n".encode() in api.heard[0]
    assert b"Proxy" not in api.heard[0]


async def test_an_address_of_the_host_scheme_may_be_written_out() -> None:
    async with target(OK) as api, gateway() as gw, dial(gw.port) as client:
        await client.say(
            f"GET http://127-0-0-1-{KEY}.localhost:{gw.port}/x HTTP/1.1\r\nHost: whatever\r\n"
            f"Trunkline-Request-Port: {api.port}\r\n\r\n".encode()
        )
        head, _ = await client.response()
        assert head.startswith(b"HTTP/1.1 200 ")
    assert api.heard[0].startswith(f"GET /x HTTP/1.1\r\nHost: {api.authority}\r\n".encode())


async def test_options_of_a_whole_server() -> None:
    async with target(OK) as api, gateway() as gw, dial(gw.port) as client:
        await client.say(
            f"OPTIONS http://{api.authority} HTTP/1.1\r\nHost: x\r\n"
            f"Proxy-Authorization: {basic(KEY + ':')}\r\n\r\n".encode()
        )
        await client.response()
    assert api.heard[0].startswith(b"OPTIONS * HTTP/1.1\r\n")


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("user:p%40w@", "user:p@w"),
        ("user@", "user:"),
        (":pw@", ":pw"),
        ("b%C3%BC:a:b@", "bü:a:b"),
    ],
)
async def test_user_information_of_the_target_becomes_its_authorization(written: str, sent: str) -> None:
    async with target(OK) as api, gateway() as gw, dial(gw.port) as client:
        await client.say(
            f"GET /{KEY}/http://{written}{api.authority}/x HTTP/1.1\r\nHost: gw\r\n\r\n".encode()
        )
        await client.response()
        call = await gw.relay.call()
    assert f"\r\nAuthorization: {basic(sent)}\r\n".encode() in api.heard[0]
    assert f"\r\nHost: {api.authority}\r\n".encode() in api.heard[0]
    assert call.request.url == f"http://{api.authority}/x"
    assert basic(sent) not in str(call)


async def test_the_client_s_own_authorization_goes_before_user_information() -> None:
    async with target(OK) as api, gateway() as gw, dial(gw.port) as client:
        await client.say(
            f"GET /{KEY}/http://a:b@{api.authority}/x HTTP/1.1\r\nHost: gw\r\n"
            "Authorization: Bearer mine\r\n\r\n".encode()
        )
        await client.response()
    assert api.heard[0].lower().count(b"authorization:") == 1
    assert b"\r\nAuthorization: Bearer mine\r\n" in api.heard[0]


@pytest.mark.parametrize("name", ["Trunkline-Request-Port", "runscope-request-port"])
@pytest.mark.parametrize("where", ["header", "parameter"])
async def test_the_port_is_told_by_header_or_parameter_and_not_relayed(name: str, where: str) -> None:
    async with target(OK) as api, gateway() as gw, dial(gw.port) as client:
        header = f"{name}: {api.port}\r\n" if where == "header" else ""
        query = "" if where == "header" else f"&{name}={api.port}"
        await client.say(
            f"GET /x?a=%20+b{query}&c HTTP/1.1\r\nHost: 127-0-0-1-{KEY}.localhost\r\n{header}"
            "Trunkline-Anything: 1\r\nX-Kept: 1\r\n\r\n".encode()
        )
        head, _ = await client.response()
        assert head.startswith(b"HTTP/1.1 200 ")
        call = await gw.relay.call()
    assert api.heard[0] == (
        f"GET /x?a=%20+b&c HTTP/1.1\r\nHost: {api.authority}\r\nX-Kept: 1\r\n\r\n".encode()
    )
    assert call.request.url == f"http://{api.authority}/x?a=%20+b&c"


async def test_an_internationalised_host_is_called_by_its_name_in_dns() -> None:
    async with gateway() as gw, dial(gw.port) as client:
        await client.say(
            f"GET /{KEY}/http://b%C3%BCcher.invalid/%C3%BC HTTP/1.1\r\nHost: gw\r\n\r\n".encode()
        )
        head, _ = await client.response()
        assert head.startswith(b"HTTP/1.1 502 ")
        call = await gw.relay.call()
    assert call.error is not None
    assert call.error.slug == "dns-failed"
    assert call.request.url == "http://xn--bcher-kva.invalid/%C3%BC"
    assert ("Host", "xn--bcher-kva.invalid") in call.request.headers
