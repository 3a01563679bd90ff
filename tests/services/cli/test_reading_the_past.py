"""Traces, the log of events, buckets as they were, and the vault's own verbs, against a running
installation."""

from __future__ import annotations

import hashlib
import json
import tomllib
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from services.cli import exits
from tests.services.cli.an_installation import Installation, an_installation

pytestmark = pytest.mark.slow

CALLS = 5


@pytest.fixture(scope="module")
def it(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with an_installation(tmp_path_factory.mktemp("past") / "data", "--sample") as found:
        for number in range(CALLS):
            found.shown(found.call(f"/teas/sencha?page={number}")[2])
        yield found


def asked(it: Installation, path: str, method: str = "GET", body: object = None, **query: object) -> Any:
    """What the API answers."""
    token = tomllib.loads((it.data_dir / "credentials.toml").read_text())["token"]
    request = urllib.request.Request(
        f"{it.told['api_url']}{path}?{urllib.parse.urlencode(query)}",
        data=None if body is None else json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        method=method,
    )
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.load(answer)


def test_a_call_is_traced_by_its_id_the_end_of_it_and_its_events_id(it: Installation) -> None:
    (call,) = it.json("calls", "-n", "1")["calls"]
    traced = it.json("trace", "last")
    assert traced == it.json("trace", call["id"]) == it.json("trace", call["id"][-8:])
    (event,) = traced["events"]
    assert (event["type"], event["subject"], event["data"]["id"]) == (
        "traffic.call.captured",
        call["id"],
        call["id"],
    )
    assert it.json("trace", event["id"]) == traced
    assert traced["root"] == event["id"]
    told = it.run("trace", "last").stdout
    for part in ("traffic.call.captured", "traffic_gateway", call["id"], f"in {it.told['bucket']}"):
        assert part in told


@pytest.mark.parametrize("id", ["01a2060f-898d-75b2-b6b4-4120d8631b76", "00000000", "no such/id?#%"])
def test_an_id_that_does_not_exist(it: Installation, id: str) -> None:
    done = it.run("trace", id)
    assert done.returncode == exits.NOT_THERE
    assert repr(id)[1:-1] in done.stderr
    assert json.loads(it.run("trace", id, "--json").stderr)["error"]["slug"] == "event-unknown"


def test_the_log_over_http_holds_no_secret(it: Installation) -> None:
    token = tomllib.loads((it.data_dir / "credentials.toml").read_text())["token"]
    events, after = [], ""
    while True:
        page = asked(it, "/v1/events", limit=3, after=after)
        assert len(page["events"]) <= 3
        events += page["events"]
        if page["next_cursor"] is None:
            break
        after = page["next_cursor"]
    assert token not in json.dumps(events)
    (created,) = (event for event in events if event["type"] == "identity.token.created")
    assert created["data"]["sha256"] == hashlib.sha256(token.encode()).hexdigest()
    calls = asked(it, "/v1/events", type="traffic.call.*", key=it.told["bucket"])["events"]
    assert len(calls) == CALLS
    subject = calls[2]["subject"]
    assert asked(it, "/v1/events", subject=subject)["events"] == [calls[2]]
    assert asked(it, "/v1/events", type="identity.#,vault.#", limit=500)["events"][0]["position"] == [0, 1]


def test_a_bucket_as_it_was(it: Installation) -> None:
    made = asked(it, "/v1/buckets/pastbucket01", "PUT", {"name": "first"})
    (created,) = asked(it, "/v1/events", subject="pastbucket01")["events"]
    asked(it, "/v1/buckets/pastbucket01", "PUT", {"name": "second"})
    first = it.json("buckets", "pastbucket01", "--at", created["recorded_at"])
    assert first == made
    assert it.json("buckets", "pastbucket01")["name"] == "second"
    assert it.json("buckets", "pastbucket01", "--at", "0s")["name"] == "second"
    asked(it, "/v1/buckets/pastbucket01", "DELETE")
    assert it.json("buckets", "pastbucket01", "--at", created["recorded_at"]) == made
    for arguments, slug in (
        (["pastbucket01"], "bucket-unknown"),
        (["pastbucket01", "--at", "1h"], "bucket-unknown"),
        (["pastbucket01", "--at", "0s"], "bucket-gone"),
        (["otherbucket1", "--at", "0s"], "bucket-unknown"),
    ):
        done = it.run("buckets", *arguments, "--json")
        assert done.returncode == exits.NOT_THERE
        assert json.loads(done.stderr)["error"]["slug"] == slug
    assert "first" in it.run("buckets", "pastbucket01", "--at", created["recorded_at"]).stdout
    without_seconds = created["recorded_at"][:16] + "Z"
    assert asked(it, f"/v1/buckets/{it.told['bucket']}", at="2100-01-01T12:00Z")["name"] == "first bucket"
    assert it.run("buckets", "pastbucket01", "--at", without_seconds).returncode == exits.NOT_THERE
    assert it.run("buckets", "--at", "1h").returncode == exits.USAGE
    assert it.run("buckets", "pastbucket01", "--at", "yesterday").returncode == exits.USAGE


def test_the_vaults_verbs_while_it_runs(it: Installation, tmp_path: Path) -> None:
    assert it.json("vault", "verify")["sound"] is True
    held = it.json("vault", "stats")
    assert (held["engine"], held["calls"] >= CALLS) == ("sqlite", True)
    it.json("vault", "backup", str(tmp_path / "backup"))
    it.json("vault", "export", str(tmp_path / "export.ndjson.zst"))
    done = it.run("vault", "import", str(tmp_path / "export.ndjson.zst"))
    assert (done.returncode, "in use by process" in done.stderr) == (exits.CONFIG, True)
    done = it.run("vault", "restore", str(tmp_path / "backup"))
    assert done.returncode == exits.CANNOT_WRITE
    other = tmp_path / "other"
    it.json("vault", "restore", str(tmp_path / "backup"), "--to", str(other))
    assert it.json("vault", "verify", "--data-dir", str(other))["sound"] is True


def test_an_installation_goes_on_from_an_import(it: Installation, tmp_path: Path) -> None:
    """Calls, buckets and tokens are there again: whoever had a token can go on using it."""
    it.json("vault", "export", str(tmp_path / "export.ndjson.gz"))
    data_dir = tmp_path / "data"
    credentials = (it.data_dir / "credentials.toml").read_bytes()
    calls = it.json("calls", "-n", "500")["calls"]
    moved = Installation(data_dir)
    moved.json("vault", "import", str(tmp_path / "export.ndjson.gz"))
    (data_dir / "credentials.toml").write_bytes(credentials)
    with an_installation(data_dir) as again:
        assert again.told["bucket"] == it.told["bucket"]
        assert again.json("calls", "-n", "500")["calls"] == calls
        assert asked(again, "/v1/buckets")["buckets"] == asked(it, "/v1/buckets")["buckets"]
        assert again.json("vault", "verify")["sound"] is True
