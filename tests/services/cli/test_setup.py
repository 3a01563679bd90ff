"""`setup` and `health` without services, or on a bus that only one process has. (With services:
tests/deploy/test_compose.py.)"""

from __future__ import annotations

from pathlib import Path

import pytest

from services.cli import exits
from tests.services.cli.an_installation import Installation, an_installation


def test_setup_says_which_services_are_not_there(tmp_path: Path) -> None:
    it = Installation(tmp_path / "data")
    done = it.run_alone("setup", "--wait", "0.1")
    assert done.returncode == exits.DOWN
    assert "not ready on this bus within 0.1 s: traffic_gateway, request_vault, identity, api" in done.stderr
    assert not (tmp_path / "data" / "credentials.toml").exists()


@pytest.mark.slow
def test_an_embedded_bus_is_for_one_process(tmp_path: Path) -> None:
    with an_installation(tmp_path / "data") as it:
        before = (tmp_path / "data" / "credentials.toml").read_text()
        done = it.run_alone("setup")
        assert done.returncode == exits.CONFIG
        assert str(it.process.pid) in done.stderr
        assert (tmp_path / "data" / "credentials.toml").read_text() == before
        done = it.run_alone("health")
        assert done.returncode == exits.CONFIG
        assert "trunkline status" in done.stderr


def test_health_without_a_broker_is_told(tmp_path: Path) -> None:
    it = Installation(tmp_path / "data", TRUNKLINE_BUS_URL="amqp://nobody:x@127.0.0.1:9/")
    done = it.run_alone("health", "--timeout", "2")
    assert done.returncode == exits.DOWN
    assert "Traceback" not in done.stderr
