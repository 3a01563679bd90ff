"""Buckets whose redirects lead to the gateway again."""

from __future__ import annotations

from base64 import b64encode

import pytest

from services.calls.address import parse_path, parse_url
from services.traffic_gateway.domain.location import Way, relocated
from services.traffic_gateway.domain.loops import Loops
from tests.services.loopback import dial, target
from tests.services.traffic_gateway.running import KEY, a_bucket, gateway

pytestmark = pytest.mark.uvloop

BY_PATH = Way("http://gw.example:7080", KEY, by_host=False)
BY_HOST = Way("http://gw.example:7080", KEY, by_host=True)
HTTPS = Way("https://gw.example", KEY, by_host=True)
LOOPS = Loops("gw.example", "", "1")


def location(value: str, way: Way = BY_PATH, called: str = "http://api.example.com/a/b?q=1") -> str:
    headers = [(b"X", b"1"), (b"LOCATION", value.encode("latin-1"))]
    after = relocated(headers, parse_url(called), way, LOOPS.may_begin)
    assert (after[0], after[1][0]) == (headers[0], b"LOCATION")
    return after[1][1].decode("latin-1")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("https://api.example.com/x?y#z", f"http://gw.example:7080/{KEY}/https://api.example.com/x?y#z"),
        ("HTTP://Other.Example:8080", f"http://gw.example:7080/{KEY}/http://other.example:8080/"),
        ("/login?next=%2Fa", f"http://gw.example:7080/{KEY}/http://api.example.com/login?next=%2Fa"),
        ("c", f"http://gw.example:7080/{KEY}/http://api.example.com/a/c"),
        ("../../../c", f"http://gw.example:7080/{KEY}/http://api.example.com/c"),
        ("//other.example/c", f"http://gw.example:7080/{KEY}/http://other.example/c"),
        ("http://[::1]:9/", f"http://gw.example:7080/{KEY}/http://[::1]:9/"),
        ("http://h/caf\xc3\xa9", f"http://gw.example:7080/{KEY}/http://h/caf\xc3\xa9"),
    ],
)
def test_in_the_path_scheme_the_gateway_stands_in_front(given: str, expected: str) -> None:
    assert location(given) == expected
    back = parse_path(expected.partition("#")[0].removeprefix("http://gw.example:7080"))
    assert back.target is not None


@pytest.mark.parametrize(
    ("way", "given", "expected"),
    [
        (HTTPS, "https://foo-bar.example.org/x", f"https://foo--bar-example-org-{KEY}.gw.example/x"),
        (BY_HOST, "http://a.example/x#y", f"http://a-example-{KEY}.gw.example:7080/x#y"),
        (BY_HOST, "//a.example/x", f"http://a-example-{KEY}.gw.example:7080/x"),
        # Another port needs a header that the client does not send.
        (BY_HOST, "http://a.example:81/x", f"http://gw.example:7080/{KEY}/http://a.example:81/x"),
        (BY_HOST._replace(port="81"), "http://a.example:81/x", f"http://a-example-{KEY}.gw.example:7080/x"),
        # And one that it goes on sending would be wrong.
        (
            BY_HOST._replace(port="81"),
            "http://a.example/x",
            f"http://gw.example:7080/{KEY}/http://a.example/x",
        ),
        (BY_HOST, "https://a.example/x", f"http://gw.example:7080/{KEY}/https://a.example/x"),
        (BY_HOST._replace(port="443"), "https://a.example/x", f"http://a-example-{KEY}.gw.example:7080/x"),
        (HTTPS, "https://[::1]/x", f"https://gw.example/{KEY}/https://[::1]/x"),
        (HTTPS, f"https://{'a' * 60}.example/", f"https://gw.example/{KEY}/https://{'a' * 60}.example/"),
    ],
)
def test_in_the_host_scheme_the_host_names_it(way: Way, given: str, expected: str) -> None:
    assert location(given, way) == expected


@pytest.mark.parametrize(
    ("way", "given"),
    [
        (BY_HOST, "/login"),
        (BY_HOST, "c"),
        (BY_PATH, "?page=2"),
        (BY_PATH, "#top"),
        (BY_PATH, ""),
        (BY_PATH, "mailto:a@example.com"),
        (BY_PATH, "app://open/x"),
        (BY_PATH, "http://"),
        (BY_PATH, "http://[::1"),
        (BY_PATH, "http://a b/"),
        (BY_HOST, f"http://a-example-{KEY}.gw.example:7080/x"),
        (BY_PATH, f"http://gw.example:7080/{KEY}/http://a.example/"),
    ],
)
def test_what_is_in_view_or_cannot_be_is_left(way: Way, given: str) -> None:
    assert location(given, way) == given


def redirect(to: str) -> bytes:
    named = f"Location: {to}\r\nContent-Location: {to}\r\n"
    return f"HTTP/1.1 302 Found\r\n{named}Content-Length: 0\r\n\r\n".encode()


@pytest.mark.parametrize("capture", ["relaxed", "strict"])
async def test_the_client_comes_back_and_the_capture_shows_what_the_target_said(capture: str) -> None:
    bucket = a_bucket(capture=capture, rewrite_location=True)  # type: ignore[arg-type]
    async with target(redirect("https://other.example/x")) as api, gateway(bucket=bucket) as at:
        async with dial(at.port) as client:
            await client.say(b"GET " + at.path(api) + b" HTTP/1.1\r\nHost: gw:7080\r\n\r\n")
            head, _ = await client.response()
        call = await at.relay.call()
    assert f"\r\nLocation: http://gw:7080/{KEY}/https://other.example/x\r\n".encode() in head
    assert b"\r\nContent-Location: https://other.example/x\r\n" in head
    assert call.response is not None
    assert ("Location", "https://other.example/x") in call.response.headers


@pytest.mark.parametrize("rewrite", [True, False])
async def test_the_host_scheme_is_kept(rewrite: bool) -> None:
    async with (
        target(redirect("http://other.example/x")) as api,
        gateway(bucket=a_bucket(rewrite_location=rewrite)) as at,
        dial(at.port) as client,
    ):
        host = f"127-0-0-1-{KEY}.localhost:{at.port}"
        said = f"GET / HTTP/1.1\r\nHost: {host}\r\nTrunkline-Request-Port: {api.port}\r\n\r\n"
        await client.say(said.encode())
        head, _ = await client.response()
    expected = "http://other.example/x"
    if rewrite:
        expected = f"http://localhost:{at.port}/{KEY}/{expected}"
    assert f"\r\nLocation: {expected}\r\n".encode() in head


async def test_a_forward_proxys_client_is_told_what_the_target_said() -> None:
    async with (
        target(redirect("http://other.example/x")) as api,
        gateway(bucket=a_bucket(rewrite_location=True)) as at,
        dial(at.port) as client,
    ):
        basic = b64encode(f"{KEY}:".encode()).decode()
        said = f"GET http://{api.authority}/ HTTP/1.1\r\nHost: {api.authority}\r\n"
        await client.say(f"{said}Proxy-Authorization: Basic {basic}\r\n\r\n".encode())
        head, _ = await client.response()
    assert b"\r\nLocation: http://other.example/x\r\n" in head
