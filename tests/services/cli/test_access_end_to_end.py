"""Buckets, tokens, people, marks and erasure by the command line, against a running installation."""

from __future__ import annotations

import io
import json
import time
import tomllib
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import pytest

from services.cli import exits
from tests.services.cli.an_installation import Ended, Installation, an_installation

pytestmark = pytest.mark.slow

ADA = "ada@example.org"
PASSWORD, NEW_PASSWORD = "correct horse battery", "another horse battery"


@pytest.fixture(scope="module")
def it(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with an_installation(tmp_path_factory.mktemp("access") / "data", "--sample") as found:
        yield found


@pytest.fixture
def call(it: Installation) -> str:
    """The id of a new call."""
    id = it.call("/teas/sencha", None, **{"X-User": "u1", "Authorization": "Bearer of-nobodys-business"})[2]
    it.shown(id)
    return id


@contextmanager
def signed_in(it: Installation, password: str) -> Iterator[None]:
    assert with_password(it, "login", ADA, lines=(password,)).returncode == exits.OK
    yield
    assert it.run("logout").returncode == exits.OK


def with_password(it: Installation, *arguments: str, lines: tuple[str, ...]) -> Ended:
    with mock.patch("sys.stdin", io.StringIO("".join(f"{line}\n" for line in lines))):
        return it.run(*arguments, "--password-stdin")


def read(url: str) -> tuple[int, bytes]:
    """What anybody gets who has a link."""
    try:
        with urllib.request.urlopen(url, timeout=20) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def test_a_bucket_from_its_creation_to_its_end(it: Installation) -> None:
    made = it.json("buckets", "create", "orders", "capture=strict", "retention.max_age_s=30d")
    key = made["key"]
    assert (made["capture"], made["retention"]["max_age_s"]) == ("strict", 30 * 86400)
    assert it.run("buckets", "create", "again", "--key", key).returncode == exits.INVALID
    changed = it.json("buckets", "set", key, "retention.max_calls=9", "redaction.headers=x-a,x-b")
    assert changed["retention"] == {"max_age_s": 30 * 86400, "max_calls": 9, "max_bytes": None}
    assert (changed["redaction"]["headers"], changed["capture"]) == (["x-a", "x-b"], "strict")
    done = it.run("buckets", "set", key, "notes=x", "--if-version", str(made["version"]))
    assert (done.returncode, "has changed since" in done.stderr) == (exits.INVALID, True)
    assert it.run("buckets", "set", key, "sampling=7").returncode == exits.INVALID
    rotated = it.json("buckets", "rotate", key, "--overlap", "0s")
    assert rotated["address"] != key
    url = it.run("url", "https://api.example.com/", "--bucket", key).stdout
    assert rotated["address"] in url
    assert it.json("buckets", "guard", key)["secret"].startswith("tlb_")
    assert it.json("buckets", key)["guarded"] is True
    it.json("buckets", "unguard", key)
    assert it.run("buckets", "delete", key).returncode == exits.USAGE
    assert it.run("buckets", "delete", key, "--yes").returncode == exits.OK
    assert it.run("buckets", key).returncode == exits.NOT_THERE
    assert key not in [bucket["key"] for bucket in it.json("buckets")["buckets"]]


def test_a_token_from_its_creation_to_its_end(it: Installation) -> None:
    made = it.json(
        "tokens", "create", "dash", "--role", "viewer", "--bucket", it.told["bucket"], "--expires", "1h"
    )
    environment = {"TRUNKLINE_TOKEN": made["secret"]}
    who = it.run("whoami", "--json", **environment)
    assert json.loads(who.stdout)["id"] == made["id"]
    assert it.run("calls", **environment).returncode == exits.OK
    assert it.run("tokens", "create", "x", "--role", "owner", **environment).returncode == exits.NOT_ALLOWED
    assert (
        it.run("buckets", "set", it.told["bucket"], "notes=x", **environment).returncode == exits.NOT_ALLOWED
    )
    rotated = it.json("tokens", "rotate", "dash", "--overlap", "1h")
    for secret in (made["secret"], rotated["secret"]):
        assert it.run("whoami", TRUNKLINE_TOKEN=secret).returncode == exits.OK
    it.json("tokens", "rename", "dash", "dashboard")
    it.json("tokens", "revoke", "dashboard")
    until = time.monotonic() + 10
    while it.run("whoami", TRUNKLINE_TOKEN=rotated["secret"]).returncode != exits.NOT_ALLOWED:
        assert time.monotonic() < until
    assert made["id"] not in [token["id"] for token in it.json("tokens")["tokens"]]


def test_the_token_in_use_can_be_rotated(it: Installation) -> None:
    file = it.data_dir / "credentials.toml"
    before = tomllib.loads(file.read_text())["token"]
    own = it.json("whoami")["id"]
    assert it.json("tokens", "rotate", own, "--overlap", "0s")["secret"] != before
    until = time.monotonic() + 10
    while it.run("whoami", TRUNKLINE_TOKEN=before).returncode != exits.NOT_ALLOWED:
        assert time.monotonic() < until
    assert it.json("whoami")["id"] == own


def test_a_person_from_invitation_to_removal(it: Installation) -> None:
    assert it.json("members", "add", ADA, "--role", "editor")["has_password"] is False
    it.json("members", "add", "owner@example.org", "--role", "owner")
    assert with_password(it, "accept", "tli_wrong", lines=(PASSWORD,)).returncode == exits.NOT_THERE
    code = it.json("members", "invite", ADA)["code"]
    assert with_password(it, "accept", code, lines=("short",)).returncode == exits.INVALID
    assert with_password(it, "accept", code, lines=(PASSWORD,)).returncode == exits.OK
    assert with_password(it, "accept", code, lines=(PASSWORD,)).returncode == exits.NOT_THERE
    assert (it.json("whoami")["email"], it.json("whoami")["role"]) == (ADA, "editor")
    assert it.run("tokens", "create", "x", "--role", "viewer").returncode == exits.NOT_ALLOWED
    done = with_password(it, "password", lines=(PASSWORD, NEW_PASSWORD))
    assert (done.returncode, it.json("whoami")["email"]) == (exits.OK, ADA)
    assert it.run("logout").returncode == exits.OK
    assert it.json("whoami")["kind"] == "token"
    assert with_password(it, "login", ADA, lines=(PASSWORD,)).returncode == exits.NOT_ALLOWED
    it.json("members", "role", ADA, "owner")
    with signed_in(it, NEW_PASSWORD):
        it.json("tokens", "create", "adas", "--role", "owner")
        assert it.run("teams", "create", "other", "Other").returncode == exits.NOT_ALLOWED
    it.json("members", "remove", ADA)
    assert it.run("members", "remove", "owner@example.org").returncode == exits.INVALID
    assert [member["email"] for member in it.json("members")["members"]] == ["owner@example.org"]


def test_teams(it: Installation) -> None:
    it.json("teams", "create", "ops", "Operations")
    assert it.json("teams", "rename", "ops", "Ops")["name"] == "Ops"
    assert it.run("teams", "rename", "none", "None").returncode == exits.NOT_THERE
    it.json("members", "add", "eve@example.org", "--role", "owner", "--team", "ops")
    assert [member["email"] for member in it.json("members", "--team", "ops")["members"]] == [
        "eve@example.org"
    ]
    assert {team["id"] for team in it.json("teams")["teams"]} == {"default", "ops"}
    assert it.run("teams", "delete", "ops", "--yes").returncode == exits.OK
    assert it.run("members", "--team", "ops").returncode == exits.NOT_THERE


def test_marks(it: Installation, call: str) -> None:
    assert it.json("star", call)["starred"] is True
    it.json("note", call[-8:], "look here")
    marks = it.json("tag", call, "+slow", "+new")
    assert (marks["tags"], marks["note"]) == (["new", "slow"], "look here")
    assert it.json("tag", call, "-new")["tags"] == ["slow"]
    assert it.run("tag", call, "+has blanks").returncode == exits.INVALID
    assert [found["id"] for found in it.json("calls", "tag:slow is:starred")["calls"]] == [call]
    assert it.json("unstar", call)["starred"] is False
    it.json("delete", call)
    assert it.run("show", call).returncode == exits.NOT_THERE
    it.json("undelete", call)
    assert it.shown(call)["id"] == call


def test_a_shared_call_is_read_by_its_link_without_secrets(it: Installation, call: str) -> None:
    link = it.run("share", call, "--expires", "1d").stdout.strip()
    status, content = read(link)
    assert (status, json.loads(content)["id"]) == (200, call)
    assert b"of-nobodys-business" not in content
    assert it.run("unshare", call).returncode == exits.OK
    assert read(link)[0] == 404


def test_what_is_erased_is_gone(it: Installation, call: str) -> None:
    assert it.run("erase", call, "--yes").returncode == exits.OK
    assert it.run("show", call).returncode == exits.NOT_THERE
    again = it.call("/teas", None, **{"X-User": "u2"})[2]
    it.shown(again)
    done = it.json("erase-subject", it.told["bucket"], "--header", "X-User", "--value", "u2", "--yes")
    assert (done["state"], done["calls"]) == ("finished", 1)
    assert it.run("undelete", again).returncode == exits.NOT_THERE
    done_ = it.run("erase-subject", it.told["bucket"], "--path", "user.id[", "--value", "u2", "--yes")
    assert done_.returncode == exits.INVALID


def test_who_changed_what(it: Installation) -> None:
    it.json("buckets", "create", "watched", "--key", "watched00001")
    own = it.json("whoami")
    created = it.json("audit", "--type", "identity.bucket.created", "--since", "10m")["entries"]
    entry = next(each for each in created if each["about"] == "watched00001")
    assert (entry["by"], entry["by_name"], entry["bucket"]) == (own["id"], own["name"], "watched00001")
    by_me = it.json("audit", "--by", own["id"], "-n", "500")["entries"]
    assert {each["by"] for each in by_me} == {own["id"]}
    assert len(it.json("audit", "-n", "2")["entries"]) == 2
    assert "identity.bucket.created" in it.run("audit", "-n", "500").stdout
    everything = it.run("audit", "-n", "500", "--json").stdout
    for secret in (
        PASSWORD,
        NEW_PASSWORD,
        tomllib.loads((it.data_dir / "credentials.toml").read_text())["token"],
    ):
        assert secret not in everything
    assert it.run("audit", "--team", "nobodys").returncode == exits.NOT_THERE
    assert it.run("audit", "--type", "a..b").returncode == exits.INVALID


def test_every_service_says_its_key(it: Installation) -> None:
    (key,) = it.json("status")["keys"]
    assert key in it.run("status").stdout
