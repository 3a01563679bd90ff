"""Signing in and out: what is sent, what is kept, and who a command is then."""

from __future__ import annotations

import stat
import tomllib
from typing import Any
from unittest import mock

import pytest

from services.cli import exits
from services.cli.credentials import FILE_NAME, SESSION_FILE_NAME
from tests.services.cli.a_fake_api import BUCKET, TOKEN, Ended, FakeApi, Problem

ADA = "ada@example.org"
SECRET = "tls_secret"
PASSWORD = "correct horse battery"
SESSION = {
    "id": "s1", "email": ADA, "team": "ops", "role": "editor", "expires_at": "2026-02-14T12:00:00Z",
    "secret": SECRET,
}  # fmt: skip
CALLER: dict[str, Any] = {
    "kind": "token", "id": "t1", "name": "first token", "team": "ops", "scopes": ["calls:read"],
    "buckets": [], "email": "", "role": None, "expires_at": None,
}  # fmt: skip


@pytest.fixture(autouse=True)
def there(api: FakeApi) -> None:
    api.answers |= {
        "POST /v1/sessions": SESSION,
        "POST /v1/invitations/accept": SESSION,
        "DELETE /v1/sessions/current": SESSION,
        "PUT /v1/password": SESSION,
        "GET /v1/caller": CALLER,
    }


def shown(api: FakeApi, **said: str) -> str:
    """The secret that a command shows the API."""
    api.run("whoami", said=said)
    return api.asked[-1].headers["Authorization"].removeprefix("Bearer ")


def login(api: FakeApi, *more: str) -> Ended:
    return api.run("login", ADA, "--password-stdin", *more, stdin=f"{PASSWORD}\n")


def test_a_session_goes_before_the_token_until_it_is_closed(api: FakeApi) -> None:
    before = (api.folder / FILE_NAME).read_text()
    done = login(api)
    assert (done.code, "signed in to team ops as editor" in done.out) == (exits.OK, True)
    assert SECRET not in done.out + done.err
    assert PASSWORD not in done.out + done.err
    assert api.asked[0].body == {"email": ADA, "password": PASSWORD}
    assert "Authorization" not in api.asked[0].headers
    file = api.folder / SESSION_FILE_NAME
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert shown(api) == SECRET
    assert shown(api, TRUNKLINE_TOKEN="tl_said") == "tl_said"
    assert f"{ADA} is signed out" in api.run("logout").out
    assert api.asked[-1].headers["Authorization"] == f"Bearer {SECRET}"
    assert not file.exists()
    assert shown(api) == TOKEN
    assert (api.folder / FILE_NAME).read_text() == before


def test_json_tells_where_it_is_kept_and_no_secret(api: FakeApi) -> None:
    done = login(api, "--json", "--team", "ops")
    assert (done.json["email"], "secret" in done.json) == (ADA, False)
    assert done.json["kept_in"] == str(api.folder / SESSION_FILE_NAME)
    assert api.asked[0].body["for_team"] == "ops"
    assert api.run("logout", "--json").json == {"signed_out": ADA}


def test_a_session_is_shown_to_no_other_api(api: FakeApi) -> None:
    login(api)
    with mock.patch("http.client.HTTPConnection.request", side_effect=OSError) as asked:
        api.run("whoami", said={"TRUNKLINE_API_URL": "http://other.example:1"})
    assert asked.call_args.kwargs["headers"]["Authorization"] == f"Bearer {TOKEN}"


def test_it_moves_with_the_installation(api: FakeApi) -> None:
    login(api)
    file = api.folder / FILE_NAME
    file.write_text(file.read_text().replace(api.url, f"{api.url}/"))
    assert shown(api) == SECRET
    assert tomllib.loads((api.folder / SESSION_FILE_NAME).read_text())["api_url"] == ""


def test_signing_in_elsewhere(api: FakeApi) -> None:
    """The API that was signed in to is asked from then on, and nothing of another installation is used."""
    file = api.folder / FILE_NAME
    file.write_text(file.read_text().replace(api.url, "http://127.0.0.1:9"))
    assert login(api, "--api-url", f"{api.url}/").code == exits.OK
    assert shown(api) == SECRET
    done = api.run("calls")
    assert (done.code, "no bucket is named" in done.err) == (exits.USAGE, True)
    assert BUCKET not in done.err
    call = "01a2060f-898d-75b2-b6b4-4120d8631b76"
    api.answers[f"GET /v1/calls/{call}"] = {"id": call}
    assert api.run("show", call, "--json").json == {"id": call}
    assert api.run("logout").code == exits.OK
    assert api.run("whoami").code == exits.UNREACHABLE


@pytest.mark.parametrize(
    ("problem", "said"),
    [
        (Problem(401, "session-unauthorized"), "Check the e-mail address and the password"),
        (Problem(400, "session-invalid"), "--team"),
        (Problem(429, "rate-limited", headers=(("Retry-After", "7"),)), "in 7 s"),
    ],
)
def test_who_is_not_let_in(api: FakeApi, problem: Problem, said: str) -> None:
    api.answers["POST /v1/sessions"] = problem
    done = login(api)
    assert (done.code != exits.OK, said in done.err) == (True, True)
    assert not (api.folder / SESSION_FILE_NAME).exists()


def test_a_session_that_is_over_says_so_and_can_be_left(api: FakeApi) -> None:
    login(api)
    over = Problem(401, "token-refused")
    api.answers |= {"GET /v1/caller": over, "DELETE /v1/sessions/current": over}
    done = api.run("whoami")
    assert (done.code, "trunkline login" in done.err) == (exits.NOT_ALLOWED, True)
    assert api.run("logout").code == exits.OK
    assert api.run("logout", "--json").error["slug"] == "session-unknown"


def test_a_session_that_cannot_be_ended_now_is_kept(api: FakeApi) -> None:
    login(api)
    api.answers["DELETE /v1/sessions/current"] = Problem(503, "service-unavailable")
    assert api.run("logout").code == exits.DOWN
    assert (api.folder / SESSION_FILE_NAME).exists()


def test_a_password_is_asked_for_without_echo(api: FakeApi) -> None:
    with mock.patch("getpass.getpass", return_value=PASSWORD) as asked:
        assert api.run("login", ADA, at_terminal=True).code == exits.OK
    assert asked.call_args.args == ("Password: ",)
    done = api.run("login", ADA)
    assert (done.code, "--password-stdin" in done.err) == (exits.USAGE, True)


def test_a_new_password_is_asked_for_twice(api: FakeApi) -> None:
    with mock.patch("getpass.getpass", side_effect=[PASSWORD, "correct hrose battery"]):
        done = api.run("accept", "tli_x", at_terminal=True)
    assert (done.code, "not the same" in done.err, api.asked) == (exits.USAGE, True, [])
    with mock.patch("getpass.getpass", return_value=PASSWORD):
        assert api.run("accept", "tli_x", at_terminal=True).code == exits.OK
    assert api.asked[0].body == {"code": "tli_x", "password": PASSWORD}
    assert shown(api) == SECRET


def test_the_code_of_an_invitation_need_not_stand_in_the_command(api: FakeApi) -> None:
    done = api.run("accept", "--password-stdin", stdin=f"tli_x\n{PASSWORD}\n")
    assert (done.code, api.asked[0].body) == (exits.OK, {"code": "tli_x", "password": PASSWORD})
    with mock.patch("getpass.getpass", side_effect=["tli_y", PASSWORD, PASSWORD]):
        assert api.run("accept", at_terminal=True).code == exits.OK
    assert api.asked[1].body == {"code": "tli_y", "password": PASSWORD}


def test_changing_the_password(api: FakeApi) -> None:
    done = api.run("password", "--password-stdin", stdin="a\nb\n")
    assert (done.code, "trunkline login" in done.err, api.asked) == (exits.USAGE, True, [])
    login(api)
    assert "another password" in api.run("password", "--password-stdin", stdin="a\nb\n").out
    assert api.asked[-1].body == {"current": "a", "password": "b"}
    assert api.run("password", "--password-stdin", stdin="a\n").code == exits.USAGE
    api.answers["PUT /v1/password"] = Problem(401, "password-unauthorized")
    assert "sign in with now" in api.run("password", "--password-stdin", stdin="a\nb\n").err


def test_whoami(api: FakeApi) -> None:
    told = api.run("whoami").out
    for part in ("first token (t1)", "calls:read", "ops", api.url):
        assert part in told
    api.answers["GET /v1/caller"] = CALLER | {"kind": "session", "email": ADA, "role": "editor"}
    told = api.run("whoami").out
    assert (ADA in told, "editor" in told) == (True, True)
    assert api.run("whoami", "--json").json["email"] == ADA


def test_a_damaged_session_is_named(api: FakeApi) -> None:
    (api.folder / SESSION_FILE_NAME).write_text("secret = ")
    done = api.run("whoami")
    assert (done.code, SESSION_FILE_NAME in done.err) == (exits.CONFIG, True)
