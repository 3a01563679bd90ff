"""What an installation may call: `up` on one machine allows that machine and its neighbours, and says so;
`run` does not."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from services import catalog
from services.chassis import config
from services.cli import exits
from services.cli.running import at_home
from services.traffic_gateway.config import Config
from tests.services.cli.an_installation import Installation


def gateway(tmp_path: Path, **environment: str) -> tuple[Config, Config]:
    """The gateway's settings under `run` and under `up`."""
    given = {f"TRUNKLINE_{name}": value for name, value in environment.items()}
    given["TRUNKLINE_DATA_DIR"] = str(tmp_path)
    loaded = config.load(catalog.config_types(), environment=given, folder=tmp_path)
    return loaded.rooms["traffic_gateway"], at_home(loaded).rooms["traffic_gateway"]


def test_up_allows_loopback_and_private_and_run_nothing(tmp_path: Path) -> None:
    run, up = gateway(tmp_path)
    assert run.targets_allow == ()
    assert up.targets_allow == ("loopback", "private")


@pytest.mark.parametrize("name", ["TARGETS_ALLOW", "TRAFFIC_GATEWAY_TARGETS_ALLOW"])
@pytest.mark.parametrize(
    ("said", "taken"), [("", ()), ("10.1.0.0/16, loopback", ("10.1.0.0/16", "loopback"))]
)
def test_what_was_set_goes_before(tmp_path: Path, name: str, said: str, taken: tuple[str, ...]) -> None:
    for found in gateway(tmp_path, **{name: said}):
        assert found.targets_allow == taken


@pytest.mark.slow
def test_up_says_it_and_stops_at_what_it_cannot_read(tmp_path: Path) -> None:
    it = Installation(tmp_path / "data")
    process = subprocess.Popen(
        [sys.executable, "-m", "services", "up"],
        env=it.environment,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        said = next(line for line in process.stdout if "Targets" in line)
        process.send_signal(signal.SIGTERM)
        rest = process.communicate(timeout=30)[0]
    assert said.split(maxsplit=1)[1].strip() == "the internet, loopback, private  (TRUNKLINE_TARGETS_ALLOW)"
    assert "Targets" not in rest
    wrong = it.run_alone("up", TRUNKLINE_TARGETS_ALLOW="loopback,privat")
    assert wrong.returncode == exits.CONFIG
    assert "traffic_gateway cannot start: TRUNKLINE_TARGETS_ALLOW holds 'privat'" in wrong.stderr
    assert "did you mean private?" in wrong.stderr
