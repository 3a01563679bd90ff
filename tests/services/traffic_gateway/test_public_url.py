"""A gateway behind a proxy that speaks TLS: its clients reach it by https, and their addresses mean that."""

from __future__ import annotations

import pytest

from services.traffic_gateway.config import Config
from tests.services.loopback import dial
from tests.services.traffic_gateway.running import KEY, gateway


@pytest.mark.parametrize(("public_url", "scheme"), [("https://gw.example.com", "https"), ("", "http")])
@pytest.mark.parametrize("host", [f"{KEY}.localhost", f"no-such-host-invalid-{KEY}.localhost"])
async def test_a_host_name_means_the_scheme_that_its_client_used(
    public_url: str, scheme: str, host: str
) -> None:
    async with gateway(config=Config(public_url=public_url, drain_s=0.2)) as at, dial(at.port) as client:
        await client.say(f"GET /x HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        await client.response()
        call = await at.relay.call()
    wanted = "no.such.host.invalid" if "invalid" in host else host
    assert call.request.url == f"{scheme}://{wanted}/x"
