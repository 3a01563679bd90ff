"""Who may call through a bucket, and whom: its token, its lists of hosts, its word on certificates."""

from __future__ import annotations

import ssl
from base64 import b64encode
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.traffic_gateway.domain.admission import canonical_host, host_refusal, verdict
from tests.services.loopback import dial, target
from tests.services.traffic_gateway.running import KEY, Running, a_bucket, gateway

pytestmark = pytest.mark.uvloop

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
CERTIFICATE = Path(__file__).parents[1] / "chassis" / "localhost.pem"  # signed by nobody known
TOKEN = "tlb_" + "a1" * 20


def get(path: bytes, *lines: bytes) -> bytes:
    return (
        b"GET " + path + b" HTTP/1.1\r\nHost: gw\r\n" + b"".join(line + b"\r\n" for line in lines) + b"\r\n"
    )


async def ask(at: Running, request: bytes) -> tuple[bytes, bytes]:
    async with dial(at.port) as client:
        await client.say(request)
        return await client.response()


@pytest.mark.parametrize(
    ("shown", "status", "slug"),
    [
        ((), 401, b"bucket-auth-missing"),
        ((b"Trunkline-Bucket-Auth: " + TOKEN.encode() + b"x",), 401, b"bucket-auth-refused"),
        ((b"Trunkline-Bucket-Auth: \xff\xfe",), 401, b"bucket-auth-refused"),
        ((b"trunkline-bucket-auth: " + TOKEN.encode(),), 200, b""),
        ((b"Runscope-Bucket-Auth: " + TOKEN.encode(),), 200, b""),
    ],
)
async def test_a_guarded_bucket_takes_calls_with_its_token_only(
    shown: tuple[bytes, ...], status: int, slug: bytes
) -> None:
    async with target(OK) as api, gateway() as at:
        at.buckets.guard_sha256 = sha256(TOKEN.encode()).hexdigest()
        head, body = await ask(at, get(at.path(api), *shown))
        assert head.startswith(b"HTTP/1.1 %d " % status)
        if status == 401:
            assert b"urn:trunkline:error:" + slug in body
            assert b"\r\nWWW-Authenticate: Trunkline-Bucket-Auth " in head
            assert api.heard == []
            assert at.relay.calls == []
        else:
            assert TOKEN.encode() not in api.heard[0]
            assert b"bucket-auth" not in api.heard[0].lower()
            assert TOKEN not in repr(await at.relay.call())


@pytest.mark.parametrize("guarded", [True, False])
async def test_the_token_is_in_no_echo(guarded: bool) -> None:
    async with gateway() as at:
        if guarded:
            at.buckets.guard_sha256 = sha256(TOKEN.encode()).hexdigest()
        request = get(f"/{KEY}".encode(), b"Trunkline-Bucket-Auth: " + TOKEN.encode(), b"X-One: 1")
        _, body = await ask(at, request)
        assert b"X-One" in body
        assert TOKEN.encode() not in body
        assert TOKEN not in repr(await at.relay.call())


async def test_a_proxys_client_shows_the_token_as_password() -> None:
    async with target(OK) as api, gateway() as at:
        at.buckets.guard_sha256 = sha256(TOKEN.encode()).hexdigest()
        for password, status in ((TOKEN, b"200"), ("x", b"407"), ("", b"407")):
            basic = b64encode(f"{KEY}:{password}".encode())
            url = f"http://{api.authority}/x".encode()
            said = b"GET " + url + b" HTTP/1.1\r\nHost: " + api.authority.encode()
            head, _ = await ask(at, said + b"\r\nProxy-Authorization: Basic " + basic + b"\r\n\r\n")
            assert head.split(b" ")[1] == status


def test_a_token_is_asked_for_only_where_there_is_one() -> None:
    assert verdict("", "") == verdict("", "whatever") == "admitted"


@pytest.mark.parametrize("capture", ["relaxed", "strict"])
async def test_a_host_that_is_denied_is_not_called_but_told(capture: str) -> None:
    bucket = a_bucket(capture=capture, denied_hosts=("127.0.0.1",))  # type: ignore[arg-type]
    async with target(OK) as api, gateway(bucket=bucket) as at:
        for host in ("127.0.0.1", "127.1", "0x7f000001", "[::ffff:127.0.0.1]"):
            at.relay.calls.clear()
            path = f"/{KEY}/http://{host}:{api.port}/".encode()
            head, body = await ask(at, get(path))
            assert head.startswith(b"HTTP/1.1 403 ")
            assert b"urn:trunkline:error:host-refused" in body
            call = await at.relay.call()
            assert call.error is not None
            assert (call.error.slug, call.response, call.status_sent) == ("host-refused", None, 403)
        assert api.connections == 0


async def test_a_tunnel_to_a_denied_host_is_not_opened() -> None:
    async with target(OK) as api, gateway(bucket=a_bucket(allowed_hosts=("example.org",))) as at:
        basic = b64encode(f"{KEY}:".encode())
        said = f"CONNECT {api.authority} HTTP/1.1\r\nHost: {api.authority}\r\n".encode()
        head, _ = await ask(at, said + b"Proxy-Authorization: Basic " + basic + b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 403 ")
        assert api.connections == 0


async def test_a_host_that_is_allowed_is_called() -> None:
    async with target(OK) as api, gateway(bucket=a_bucket(allowed_hosts=("127.0.0.1",))) as at:
        assert (await ask(at, get(at.path(api))))[1] == b"hi"
        _, body = await ask(at, get(f"/{KEY}/http://localhost:{api.port}/".encode()))
        assert b"host-refused" in body


@pytest.mark.parametrize(
    ("host", "allowed", "denied", "refused"),
    [
        ("api.example.org", (), (), False),
        ("api.example.org", ("*.example.org",), (), False),
        ("a.b.example.org", ("*.example.org",), (), False),
        ("example.org", ("*.example.org",), (), True),
        ("notexample.org", ("*.example.org",), (), True),
        ("example.org.evil.net", ("*.example.org", "example.org"), (), True),
        ("API.Example.org.", ("api.example.org",), (), False),
        ("api.example.org", ("API.EXAMPLE.ORG.",), (), False),
        ("api.example.org", ("*.example.org",), ("api.example.org",), True),
        ("api.example.org", ("api.example.org",), ("*.example.org",), True),
        ("www.example.org", (), ("api.example.org",), False),
        ("xn--bcher-kva.example", ("bücher.example",), (), False),
        ("BÜCHER.example", ("xn--bcher-kva.example",), (), False),
        ("a.xn--bcher-kva.example", ("*.bücher.example",), (), False),
        ("127.1", (), ("127.0.0.1",), True),
        ("0177.0.0.1", (), ("127.0.0.1",), True),
        ("2130706433", (), ("127.0.0.1",), True),
        ("::ffff:10.0.0.1", (), ("10.0.0.1",), True),
        ("0:0:0:0:0:0:0:1", ("::1",), (), False),
        ("::1", ("[::1]",), (), False),
        ("10.0.0.1", ("*.0.0.1",), (), True),
        ("10.0.0.1", (), ("*.0.0.1",), False),
    ],
)
def test_hosts_are_compared_by_what_they_mean(
    host: str, allowed: tuple[str, ...], denied: tuple[str, ...], refused: bool
) -> None:
    assert (host_refusal(host, allowed, denied) is not None) == refused


names = st.from_regex(r"[a-z0-9-]{1,8}(\.[a-z0-9-]{1,8}){0,3}", fullmatch=True)


@given(names, names)
def test_what_is_denied_is_refused_whatever_is_allowed(host: str, other: str) -> None:
    assert host_refusal(host, (host, other), (host,)) is not None
    assert host_refusal(f"{host.upper()}.", (), (host,)) is not None
    assert (host_refusal(host, (other,), ()) is None) == (canonical_host(host) == canonical_host(other))


async def test_a_bucket_may_take_any_certificate_and_shares_no_connection() -> None:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(CERTIFICATE)
    async with target(OK, ssl=server) as api, gateway(bucket=a_bucket(verify_tls=False)) as at:
        path = f"/{KEY}/https://{api.authority}/".encode()
        assert (await ask(at, get(path)))[1] == b"hi"
        at.buckets.known = a_bucket()
        _, body = await ask(at, get(path))
        assert b"urn:trunkline:error:tls-failed" in body
        assert api.connections == 1
