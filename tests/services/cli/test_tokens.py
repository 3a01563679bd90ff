"""`tokens` and its verbs."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest

from schemas.operation import ROLE_SCOPES, SCOPES
from services.cli import exits
from services.cli.credentials import FILE_NAME
from tests.services.cli.a_fake_api import TOKEN, FakeApi, Problem

ONE = "5b08eb0b-776d-897b-a32b-ef42c3bfb72d"
TWO = "10dddd59-3486-893d-9524-1878c682cebc"


def a_token(id: str = ONE, name: str = "ci", **more: Any) -> dict[str, Any]:
    return {
        "id": id, "name": name, "scopes": sorted(SCOPES), "buckets": [], "created_at": "2026-01-31T12:00:00Z",
        "expires_at": None, "secret": None, "last_used_at": None, "overlap_ends_at": None, "created_by": "",
    } | more  # fmt: skip


@pytest.fixture(autouse=True)
def listed(api: FakeApi) -> None:
    viewer = a_token(TWO, "dash", scopes=sorted(ROLE_SCOPES["viewer"]), buckets=["7xzcnsgbwox2"])
    api.answers |= {
        "GET /v1/tokens": {"tokens": [a_token(), viewer], "next_cursor": None},
        "GET /v1/caller": {"id": TWO},
    }


def test_the_list(api: FakeApi) -> None:
    told = api.run("tokens").out
    for part in ("ci", "everything", "never", "as viewer", "7xzcnsgbwox2", ONE, TWO):
        assert part in told
    assert len(api.run("tokens", "--json").json["tokens"]) == 2


def test_create_by_role_or_scopes(api: FakeApi) -> None:
    api.answers["POST /v1/tokens"] = lambda asked: a_token() | asked.body | {"secret": "tl_new"}
    done = api.run(
        "tokens",
        "create",
        "x",
        "--role",
        "viewer",
        "-b",
        "a",
        "--bucket",
        "b",
        "--expires",
        "2030-01-01T00:00Z",
    )
    assert (done.code, "tl_new" in done.out, "shown this once" in done.out) == (exits.OK, True, True)
    assert api.changes[0].body == {
        "name": "x",
        "scopes": sorted(ROLE_SCOPES["viewer"]),
        "buckets": ["a", "b"],
        "expires_at": "2030-01-01T00:00:00Z",
    }
    made = api.run("tokens", "create", "y", "--scopes", "calls:read, status:read", "--json").json
    assert (made["scopes"], made["secret"]) == (["calls:read", "status:read"], "tl_new")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "either --scopes or --role"),
        (["--role", "viewer", "--scopes", "calls:read"], "either --scopes or --role"),
        (["--scopes", "calls:rd"], "there is no scope 'calls:rd'"),
        (["--role", "king"], "owner"),
        (["--role", "viewer", "--expires", "soon"], "--expires 'soon' is no time"),
    ],
)
def test_create_refuses_what_is_wrong(api: FakeApi, arguments: list[str], said: str) -> None:
    done = api.run("tokens", "create", "x", *arguments)
    assert done.code == exits.USAGE
    assert said in done.err + done.out
    assert not api.changes


def test_nobody_gives_away_more_than_they_have(api: FakeApi) -> None:
    api.answers["POST /v1/tokens"] = Problem(403, "scope-forbidden", "you lack calls:write")
    done = api.run("tokens", "create", "x", "--role", "editor")
    assert (done.code, "calls:write" in done.err, "whoami" in done.err) == (exits.NOT_ALLOWED, True, True)


@pytest.mark.parametrize("named", [ONE, ONE[-8:], "ci"])
def test_a_token_is_named_by_id_end_of_id_or_name(api: FakeApi, named: str) -> None:
    api.answers |= {
        f"POST /v1/tokens/{ONE}/rotation": a_token(secret="tl_new", overlap_ends_at="2026-02-01T12:00:00Z"),
        f"PATCH /v1/tokens/{ONE}": a_token(name="other"),
        f"DELETE /v1/tokens/{ONE}": a_token(),
    }
    told = api.run("tokens", "rotate", named, "--overlap", "2h").out
    assert "tl_new" in told
    assert "2026-02-01T12:00:00Z" in told
    assert api.changes[-1].body == {"overlap_s": 7200}
    assert "other" in api.run("tokens", "rename", named, "other").out
    assert "revoked" in api.run("tokens", "revoke", named).out


def test_a_name_that_several_have_or_none(api: FakeApi) -> None:
    api.answers["GET /v1/tokens"] = {"tokens": [a_token(), a_token(TWO)], "next_cursor": None}
    done = api.run("tokens", "revoke", "ci")
    assert (done.code, ONE in done.err, TWO in done.err) == (exits.USAGE, True, True)
    assert api.run("tokens", "revoke", "nobody", "--json").error["slug"] == "token-unknown"
    assert not api.changes


def test_rotating_the_token_in_use_keeps_the_new_one(api: FakeApi) -> None:
    api.answers[f"POST /v1/tokens/{TWO}/rotation"] = a_token(TWO, secret="tl_new")
    file = api.folder / FILE_NAME
    before = tomllib.loads(file.read_text())
    done = api.run("tokens", "rotate", TWO, said={"TRUNKLINE_TOKEN": "tl_environment"})
    assert tomllib.loads(file.read_text())["token"] == TOKEN
    assert "credentials.toml" not in done.out
    done = api.run("tokens", "rotate", TWO)
    assert "credentials.toml" in done.out
    assert tomllib.loads(file.read_text()) == before | {"token": "tl_new"}
