"""`trunkline up` as a person meets it: first start, restart, kill -9, ports, folders in use."""

from __future__ import annotations

import json
import signal
import socket
import stat
import subprocess
import sys
import tomllib
import urllib.request
from pathlib import Path

import pytest

from services.cli import exits
from tests.services.cli.an_installation import Installation, an_installation

pytestmark = pytest.mark.slow


def ids(installation: Installation) -> list[str]:
    return [call["id"] for call in installation.json("calls", "--limit", "500")["calls"]]


def all_readable(installation: Installation, wanted: set[str]) -> list[str]:
    """The ids of the calls, once all that are wanted are there; what a relaxed capture answered is readable a
    moment later."""
    for _ in range(40):
        found = ids(installation)
        if wanted <= set(found):
            break
    return found


def test_first_start_and_restarts(tmp_path: Path) -> None:
    with an_installation(tmp_path / "data", "--sample") as it:
        file = tmp_path / "data" / "credentials.toml"
        first = tomllib.loads(file.read_text())
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700
        assert set(first) == {"api_url", "gateway_url", "bucket", "token"}
        assert first["bucket"] == it.told["bucket"]
        status, _, id = it.call("/teas")
        assert status == 200
        assert all_readable(it, {id}) == [id]
        assert it.stop(signal.SIGINT) == (0, "")

        it.start("--sample")
        second = tomllib.loads(file.read_text())
        assert (second["bucket"], second["token"]) == (first["bucket"], first["token"])
        assert ids(it) == [id], "what was captured before is there"
        _, _, again = it.call("/teas")
        assert set(all_readable(it, {again})) == {id, again}

        # Without notice, right after an answer that the vault may not have seen yet.
        more = [it.call("/teas")[2] for _ in range(20)]
        all_readable(it, set(more))
        it.kill()
        it.start()
        assert set(ids(it)) == {id, again, *more}
        assert [bucket["key"] for bucket in it.json("buckets")["buckets"]] == [first["bucket"]]
        code, err = it.stop()
        assert (code, err) == (0, "")


def test_a_folder_in_use_is_told(tmp_path: Path) -> None:
    with an_installation(tmp_path / "data") as it:
        second = it.run_alone("up")
        assert second.returncode == exits.CONFIG
        assert "in use by" in second.stderr
        assert str(it.process.pid) in second.stderr
        assert "Traceback" not in second.stderr
        assert it.json("status")["well"] is True


def test_a_port_that_was_set_and_is_taken_is_told(tmp_path: Path) -> None:
    it = Installation(tmp_path / "data")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = it.run_alone("up", TRUNKLINE_GATEWAY_PORT=port)
    assert done.returncode == exits.CONFIG
    assert done.stderr.startswith("trunkline: traffic_gateway cannot start: ")
    assert port in done.stderr


def test_a_misspelt_setting_is_told_for_people_and_for_programs(tmp_path: Path) -> None:
    it = Installation(tmp_path / "data")
    done = it.run_alone("up", TRUNKLINE_BUS_ULR="x")
    assert done.returncode == exits.CONFIG
    assert "did you mean TRUNKLINE_BUS_URL?" in done.stderr
    done = it.run_alone("up", "--json", TRUNKLINE_BUS_ULR="x")
    assert json.loads(done.stderr)["error"]["slug"] == "config-invalid"
    assert done.stdout == ""


def test_a_deleted_bucket_and_a_revoked_token_are_replaced_at_the_next_start(tmp_path: Path) -> None:
    with an_installation(tmp_path / "data") as it:
        file = tmp_path / "data" / "credentials.toml"
        first = tomllib.loads(file.read_text())
        request = urllib.request.Request(
            f"{first['api_url']}/v1/buckets/{first['bucket']}",
            method="DELETE",
            headers={"Authorization": f"Bearer {first['token']}"},
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            assert answer.status == 200
        it.stop()
        it.start()
        second = tomllib.loads(file.read_text())
        assert second["bucket"] not in ("", first["bucket"])
        assert [bucket["key"] for bucket in it.json("buckets")["buckets"]] == [second["bucket"]]


def test_the_page_for_people(tmp_path: Path) -> None:
    it = Installation(tmp_path / "data")
    with subprocess.Popen(
        [sys.executable, "-m", "services", "up", "--sample"],
        env=it.environment,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        page = ""
        for line in process.stdout:
            page += line
            if "Ctrl-C" in line:
                break
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    stored = tomllib.loads((tmp_path / "data" / "credentials.toml").read_text())
    assert f"curl {stored['gateway_url']}/{stored['bucket']}/http://127.0.0.1:" in page
    assert stored["token"] in page
    assert str(tmp_path / "data") in page
    assert process.returncode == 0
