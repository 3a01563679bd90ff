"""`trunkline run`: services one by one, and a second instance by starting it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from services.cli import exits
from tests.services.cli.an_installation import Installation, an_installation

pytestmark = pytest.mark.slow


def start(it: Installation, *services: str) -> tuple[subprocess.Popen[str], dict[str, str]]:
    """`run` in a process of its own, and what each service told at its start (`<service>` -> url)."""
    process = subprocess.Popen(
        [sys.executable, "-m", "services", "run", *services],
        env=it.environment | {"TRUNKLINE_LOG_FORMAT": "json", "TRUNKLINE_TARGETS_ALLOW": "loopback"},
        cwd=it.data_dir.parent,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    told: dict[str, str] = {}
    said = []
    while len(told) < len(services):
        line = process.stderr.readline()
        said.append(line)
        assert line, "".join(said)
        document = json.loads(line)
        if document["event"] == "service ready":
            told[document["name"]] = document.get("url", "")
    return process, told


def test_some_services_run_and_drain(tmp_path: Path) -> None:
    it = Installation(tmp_path / "data")
    process, told = start(it, "identity", "request_vault")
    with process:
        assert set(told) == {"identity", "request_vault"}
        process.send_signal(signal.SIGTERM)
        said = [json.loads(line)["event"] for line in process.communicate(timeout=30)[1].splitlines()]
    assert process.returncode == exits.OK
    assert said == ["draining", "ended"]


def test_on_a_shared_bus_it_needs_the_installations_key(tmp_path: Path) -> None:
    """Before anything is connected to; what one process makes for itself, the others would not have."""
    it = Installation(tmp_path / "data", TRUNKLINE_BUS_URL="amqp://nobody:x@127.0.0.1:9/")
    done = it.run_alone("run", "identity")
    assert done.returncode == exits.CONFIG
    assert "TRUNKLINE_SECRET_KEY" in done.stderr
    assert "token_urlsafe" in done.stderr, "and how to make one"
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "data" / "installation.key").exists()


def test_a_second_gateway_is_started_by_starting_it(tmp_path: Path, amqp_url: str) -> None:
    with an_installation(tmp_path / "data", "--sample", TRUNKLINE_BUS_URL=amqp_url) as it:
        process, told = start(it, "traffic_gateway")
        with process:
            first = it.told["gateway_url"]
            it.told["gateway_url"] = told["traffic_gateway"]
            status, _, id = it.call("/teas?by=second")
            assert status == 200
            for _ in range(100):
                if found := it.json("calls", "--path", "/teas")["calls"]:
                    break
            assert [call["id"] for call in found] == [id]
            gateways = [one for one in it.json("status")["services"] if one["service"] == "traffic_gateway"]
            assert sorted(one["announced"]["url"] for one in gateways) == sorted(
                [first, told["traffic_gateway"]]
            )
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=30)
        assert process.returncode == exits.OK
        it.told["gateway_url"] = first
        assert it.call("/teas")[0] == 200
        assert it.stop() == (0, "")
