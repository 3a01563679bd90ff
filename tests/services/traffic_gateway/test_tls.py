"""The gateway's TLS listener, and its certificate."""

from __future__ import annotations

import asyncio
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from bus.testing import ManualClock
from schemas.identity import PutBucket
from schemas.request_vault import GetCall
from services.chassis.config import ConfigInvalid, load
from services.chassis.web import listen
from services.traffic_gateway.config import Config
from services.traffic_gateway.edge.certificate import LOOKS_S, Certificate
from tests.services.loopback import Peer, dial, free_port, target
from tests.services.traffic_gateway.running import KEY
from tests.services.traffic_gateway.test_service import installation, kept
from tests.services.traffic_gateway.test_tunnel import CERTIFICATE

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"


def config() -> Config:
    return Config(
        port=0, tls_port=free_port(), tls_cert=str(CERTIFICATE), targets_allow=("loopback",), drain_s=0.2
    )


def trusting() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(CERTIFICATE))


async def curl(*arguments: str) -> tuple[int | None, bytes]:
    running = await asyncio.create_subprocess_exec(
        "curl", "-sS", "--cacert", str(CERTIFICATE), *arguments, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await running.communicate()
    return running.returncode, out


def a_pair(folder: Path, name: str = "new", passphrase: bytes | None = None) -> tuple[Path, Path]:
    """A certificate of its own, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = folder / f"{name}.crt", folder / f"{name}.key"
    cert_file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    locked = (
        serialization.NoEncryption()
        if passphrase is None
        else serialization.BestAvailableEncryption(passphrase)
    )
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, locked)
    )
    return cert_file, key_file


async def test_it_speaks_tls_beside_plain_http(tmp_path: Path) -> None:
    settings = config()
    async with target(OK) as api, installation(tmp_path, settings) as (bus, port):
        await bus.ask(PutBucket("c1", "first", KEY))
        where = f"/{KEY}/http://{api.authority}/x"
        assert await curl(f"https://localhost:{settings.tls_port}{where}") == (0, b"hi")
        assert await curl(f"http://localhost:{port}{where}") == (0, b"hi")
        assert len(await kept(bus, 2)) == 2


async def test_the_host_scheme_means_https_when_it_is_reached_by_tls(tmp_path: Path) -> None:
    async def talk(peer: Peer) -> None:
        await peer.reader.read(1)

    settings = config()
    async with target(talk) as api, installation(tmp_path, settings) as (bus, _):
        await bus.ask(PutBucket("c1", "first", KEY))
        await curl(
            *("-H", f"Host: 127-0-0-1-{KEY}.localhost", "-H", f"Trunkline-Request-Port: {api.port}"),
            f"https://localhost:{settings.tls_port}/x",
        )
        (summary,) = await kept(bus, 1)
        record = await bus.ask(GetCall(summary.id, KEY))
        assert record.call.request.url == f"https://{api.authority}/x"
        assert record.call.error is not None
        assert record.call.error.slug == "tls-failed"  # the target speaks none


async def test_forward_proxy_and_tunnel_by_tls(tmp_path: Path) -> None:
    settings = config()
    proxy = ("--proxy-cacert", str(CERTIFICATE), "-x", f"https://{KEY}@localhost:{settings.tls_port}")
    async with target(OK) as api, installation(tmp_path, settings) as (bus, _):
        await bus.ask(PutBucket("c1", "first", KEY))
        assert await curl(*proxy, f"http://{api.authority}/x") == (0, b"hi")
        assert await curl(*proxy, "--proxytunnel", f"http://{api.authority}/x") == (0, b"hi")
        assert {call.origin for call in await kept(bus, 2)} == {"gateway", "tunnel"}


async def test_a_websocket_by_tls(tmp_path: Path) -> None:
    async def handle(request: web.BaseRequest) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(message.data)
        return socket

    settings = config()
    async with (
        listen(web.Server(handle), "127.0.0.1", 0, True, drain_s=0.2) as api,
        installation(tmp_path, settings) as (bus, _),
    ):
        await bus.ask(PutBucket("c1", "first", KEY))
        url = f"wss://localhost:{settings.tls_port}/{KEY}/http://127.0.0.1:{api}/"
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(url, ssl=trusting()) as client,
        ):
            await client.send_str("hello")
            assert await client.receive_str() == "hello"
        (summary,) = await kept(bus, 1)
        assert (summary.status, summary.error) == (101, None)


async def test_only_http_1_and_tls_of_today(tmp_path: Path) -> None:
    settings = config()
    async with installation(tmp_path, settings):
        offering = trusting()
        offering.set_alpn_protocols(["h2", "http/1.1"])
        _, writer = await asyncio.open_connection("localhost", settings.tls_port, ssl=offering)
        assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"
        writer.close()
        await writer.wait_closed()
        async with dial(settings.tls_port) as client:  # plain HTTP on it
            await client.say(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            await client.hung_up()
    made = Certificate(str(CERTIFICATE), "").context
    assert made.minimum_version is ssl.TLSVersion.TLSv1_2


async def shown(port: int) -> bytes:
    """The certificate that a new connection gets."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    found: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    await writer.wait_closed()
    return found


async def test_new_files_are_used_without_a_restart(tmp_path: Path) -> None:
    cert_file, key_file = a_pair(tmp_path, "used")
    certificate = Certificate(str(cert_file), str(key_file))

    async def handle(request: web.BaseRequest) -> web.Response:
        return web.Response()

    clock = ManualClock()
    async with (
        listen(web.Server(handle), "127.0.0.1", 0, True, drain_s=0.2, tls=certificate.context) as port,
        asyncio.TaskGroup() as tasks,
    ):
        following = tasks.create_task(certificate.follow(clock))
        first = await shown(port)
        new_cert, new_key = a_pair(tmp_path)
        new_cert.replace(cert_file)
        await clock.advance(LOOKS_S)
        assert await shown(port) == first  # half of a pair
        new_key.replace(key_file)
        await clock.advance(LOOKS_S)
        second = await shown(port)
        assert second != first
        key_file.unlink()
        assert not certificate.renew()
        assert await shown(port) == second
        following.cancel()


def test_files_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    cert_file, key_file = a_pair(tmp_path)
    _, other_key = a_pair(tmp_path, "other")
    _, locked = a_pair(tmp_path, "locked", b"secret")
    empty = tmp_path / "empty.pem"
    empty.write_text("")
    missing = tmp_path / "missing.pem"
    for cert, key, named, words in (
        (missing, key_file, missing, "CERT: .*No such file"),
        (cert_file, missing, missing, "KEY: .*No such file"),
        (tmp_path, key_file, tmp_path, "CERT: .*directory"),
        (empty, key_file, empty, "CERT: .*no certificate"),
        (cert_file, empty, empty, "KEY: .*no private key"),
        (cert_file, other_key, other_key, "cannot be used: key values mismatch"),
        (cert_file, locked, locked, "KEY: .*encrypted"),
        (cert_file, "", cert_file, "KEY: .*no private key"),
    ):
        with pytest.raises(ConfigInvalid, match=words) as caught:
            Certificate(str(cert), str(key))
        assert str(named) in str(caught.value)
    with pytest.raises(ConfigInvalid, match="TRUNKLINE_GATEWAY_TLS_CERT"):
        Certificate("", "")


def test_the_settings_reach_the_gateway(tmp_path: Path) -> None:
    said = {
        "TRUNKLINE_GATEWAY_TLS_PORT": "7443",
        "TRUNKLINE_GATEWAY_TLS_CERT": "/c.pem",
        "TRUNKLINE_GATEWAY_TLS_KEY": "/k.pem",
    }
    loaded = load({"traffic_gateway": Config}, environment=said, folder=tmp_path)
    found = loaded.rooms["traffic_gateway"]
    assert (found.tls_port, found.tls_cert, found.tls_key) == (7443, "/c.pem", "/k.pem")
