"""`teams` and `members`, and their verbs."""

from __future__ import annotations

from typing import Any

import pytest

from services.cli import exits
from tests.services.cli.a_fake_api import FakeApi, Problem

TEAM = {"id": "ops", "name": "Operations", "created_at": "2026-01-31T12:00:00Z", "members": 2, "version": 1}
ADA = "ada@example.org"


def a_member(email: str = ADA, role: str = "owner", **more: Any) -> dict[str, Any]:
    added = {"person": "p1", "added_at": "2026-01-31T12:00:00Z", "has_password": False}
    return {"email": email, "role": role} | added | more


@pytest.fixture(autouse=True)
def there(api: FakeApi) -> None:
    api.answers |= {
        "GET /v1/caller": {"id": "t1", "team": "ops"},
        "GET /v1/teams": {"teams": [TEAM], "next_cursor": None},
        "GET /v1/teams/ops": TEAM,
        "GET /v1/teams/ops/members": {"members": [a_member()], "next_cursor": None},
        "GET /v1/teams/other/members": {"members": [], "next_cursor": None},
    }


def test_teams(api: FakeApi) -> None:
    assert "Operations" in api.run("teams").out
    assert api.run("teams", "--json").json["teams"] == [TEAM]
    api.answers |= {f"{method} /v1/teams/ops": TEAM for method in ("PUT", "PATCH", "DELETE")}
    assert "is there" in api.run("teams", "create", "ops", "Operations").out
    assert "is called so" in api.run("teams", "rename", "ops", "Operations").out
    assert [asked.method for asked in api.changes] == ["PUT", "PATCH"]
    assert [asked.body for asked in api.changes] == [{"name": "Operations"}] * 2
    assert api.run("teams", "create", "ops", "Operations", "--json").json == TEAM


def test_another_team_is_renamed_but_never_made(api: FakeApi) -> None:
    other = TEAM | {"id": "other"}
    api.answers["PUT /v1/teams/other"] = other
    assert api.run("teams", "rename", "other", "Others").code == exits.NOT_THERE
    assert not api.changes
    api.answers["GET /v1/teams/other"] = other
    assert api.run("teams", "rename", "other", "Others").code == exits.OK


def test_deleting_a_team_says_what_goes_and_needs_yes(api: FakeApi) -> None:
    api.answers["DELETE /v1/teams/ops"] = TEAM
    done = api.run("teams", "delete", "ops")
    assert (done.code, "Operations" in done.err, "buckets" in done.err) == (exits.USAGE, True, True)
    assert not api.changes
    assert api.run("teams", "delete", "ops", "--yes").code == exits.OK
    assert api.run("teams", "delete", "none", "--yes").code == exits.NOT_THERE


def test_members_of_the_own_team_or_another(api: FakeApi) -> None:
    told = api.run("members").out
    assert (ADA in told, "not yet" in told) == (True, True)
    assert "no members yet" in api.run("members", "--team", "other").out
    assert api.run("members", "--team", "none", "--json").error["slug"] == "not-found"


def test_add_says_how_to_sign_in(api: FakeApi) -> None:
    path = "PUT /v1/teams/ops/members/ada%40example.org"
    api.answers[path] = a_member(role="editor")
    done = api.run("members", "add", ADA, "--role", "editor")
    assert (done.code, f"members invite {ADA}" in done.out) == (exits.OK, True)
    assert api.changes[0].body == {"role": "editor"}
    assert api.run("members", "add", ADA, "--role", "king").code == exits.USAGE
    assert api.run("members", "add", ADA).code == exits.USAGE
    api.answers[path] = Problem(400, "member-invalid", "that is no e-mail address")
    assert "no e-mail address" in api.run("members", "add", ADA, "--role", "viewer").err


def test_a_role_is_changed_of_members_only(api: FakeApi) -> None:
    api.answers["PUT /v1/teams/ops/members/Ada%40example.org"] = a_member(role="viewer")
    assert "is viewer now" in api.run("members", "role", "Ada@example.org", "viewer").out
    done = api.run("members", "role", "eve@example.org", "owner", "--json")
    assert (done.code, done.error["slug"]) == (exits.NOT_THERE, "member-unknown")
    assert len(api.changes) == 1


def test_the_last_owner_stays(api: FakeApi) -> None:
    path = "DELETE /v1/teams/ops/members/ada%40example.org"
    api.answers[path] = Problem(409, "member-conflict", "the last owner")
    assert api.run("members", "remove", ADA).code == exits.INVALID
    api.answers[path] = a_member()
    assert "no member of team ops" in api.run("members", "remove", ADA).out


def test_an_invitation_is_shown_with_the_command_that_takes_it(api: FakeApi) -> None:
    made = {"email": ADA, "code": "tli_x", "expires_at": "2026-02-07T12:00:00Z"}
    api.answers["POST /v1/teams/ops/members/ada%40example.org/invitation"] = made
    assert f"trunkline accept tli_x --api-url {api.url}" in api.run("members", "invite", ADA).out
    assert api.run("members", "invite", ADA, "--json").json == made
