"""The gateway's public address is what everything prints, wherever the gateway listens."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from services.chassis.web import listening_url
from services.cli import exits
from tests.services.cli.an_installation import Installation, an_installation


@pytest.mark.slow
def test_what_is_printed_is_the_public_address(tmp_path: Path) -> None:
    said = {"TRUNKLINE_GATEWAY_PUBLIC_URL": "https://gw.example.com/", "TRUNKLINE_BIND": "0.0.0.0"}
    with an_installation(tmp_path / "data", **said) as it:
        url = "https://gw.example.com"
        assert it.told["gateway_url"] == url
        assert it.told["api_url"].startswith("http://127.0.0.1:")
        stored = tomllib.loads((tmp_path / "data" / "credentials.toml").read_text())
        assert stored["gateway_url"] == url
        status = it.json("status")
        assert status["gateway_url"] == url
        (gateway,) = [each for each in status["services"] if each["service"] == "traffic_gateway"]
        assert gateway["announced"]["url"] == url
        key = it.told["bucket"]
        assert it.json("url", "https://a.example/x")["url"] == f"{url}/{key}/https://a.example/x"
        by_host = it.json("url", "--host", "https://a.example/x")
        assert by_host == {"url": f"https://a-example-{key}.gw.example.com/x", "headers": {}}


def test_one_that_is_none_ends_the_start(tmp_path: Path) -> None:
    done = Installation(tmp_path / "data").run_alone("up", TRUNKLINE_GATEWAY_PUBLIC_URL="gw.example.com/x")
    assert done.returncode == exits.CONFIG
    assert "TRUNKLINE_GATEWAY_PUBLIC_URL is 'gw.example.com/x'; expected http://" in done.stderr


def test_an_ipv6_address_stands_in_brackets() -> None:
    assert listening_url("::1", 7080) == "http://[::1]:7080"
    assert listening_url("127.0.0.1", 7080) == "http://127.0.0.1:7080"
