"""`trunkline login`, `logout`, `whoami`, `password`, `accept`: a person instead of a token.

The session is kept in `session.toml`, beside `credentials.toml`, and goes before the token there until it is
closed. Passwords are asked for without echo, or are lines of standard input; never arguments, which other
users of the machine could read.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Annotated, Any

from cyclopts import Parameter

from services.cli import credentials as stored
from services.cli import exits
from services.cli.client import SESSION_PREFIX, Api
from services.cli.credentials import Credentials, SignedIn
from services.cli.exits import Trouble
from services.cli.prompts import STDIN, passwords
from services.cli.where import ANYWHERE, Where

ApiUrl = Annotated[str | None, Parameter(name="--api-url", help="Where the API is, if not here.")]
FromStdin = Annotated[bool, Parameter(name=STDIN, help="Read the password from standard input.")]


def login(
    email: str,
    /,
    *,
    team: Annotated[str | None, Parameter(help="The team to work in, for members of several.")] = None,
    api_url: ApiUrl = None,
    password_stdin: FromStdin = False,
    where: Where = ANYWHERE,
) -> None:
    """Sign in. From then on commands do what you may do, until `trunkline logout`.

    Parameters
    ----------
    email
        Your e-mail address.
    """
    target = _target(where, api_url)
    (password,) = passwords("password", from_stdin=password_stdin)
    body = {"email": email, "password": password, "for_team": team}
    with Api(target) as api:
        session = api.send("POST", "/v1/sessions", body)
    _keep(where, target, session)


def accept(
    code: str | None = None,
    /,
    *,
    api_url: ApiUrl = None,
    password_stdin: FromStdin = False,
    where: Where = ANYWHERE,
) -> None:
    """Set a password with the code of an invitation, and sign in.

    Parameters
    ----------
    code
        As an owner of the team gave it to you. Left out, it is asked for like the password, in a line before
        it: other users of this machine can read what stands here.
    """
    target = _target(where, api_url)
    if code is None:
        code, password = passwords("code", "new password", from_stdin=password_stdin, last_is_new=True)
    else:
        (password,) = passwords("new password", from_stdin=password_stdin, last_is_new=True)
    with Api(target) as api:
        session = api.send("POST", "/v1/invitations/accept", {"code": code, "password": password})
    _keep(where, target, session)


def logout(*, where: Where = ANYWHERE) -> None:
    """Sign out: the session ends, and commands do what the token in credentials.toml may do."""
    file = where.folder() / stored.SESSION_FILE_NAME
    person = stored.read_session(file)
    if person is None:
        raise Trouble(
            "nobody is signed in",
            remedy="`trunkline whoami` tells who you are.",
            exit_code=exits.NOT_THERE,
            slug="session-unknown",
        )
    known = where.credentials()
    try:
        with Api(replace(known, api_url=person.api_url or known.api_url, token=person.secret)) as api:
            api.send("DELETE", "/v1/sessions/current")
    except Trouble as trouble:
        if trouble.exit_code not in (exits.NOT_ALLOWED, exits.NOT_THERE):
            raise  # it still works at the API: keep it, so that it can be ended
    stored.forget_session(file)
    if where.json:
        print(json.dumps({"signed_out": person.email}))
    else:
        print(f"{person.email} is signed out.")


def whoami(*, where: Where = ANYWHERE) -> None:
    """Who you are to the API, and what you may do."""
    credentials = where.credentials()
    with Api(credentials) as api:
        caller = api.get("/v1/caller")
    if where.json:
        print(json.dumps(caller, indent=2))
        return
    from services.cli.tokens import allowed

    if caller["kind"] == "session":
        rows = [("Signed in", caller["email"]), ("Role", caller["role"])]
    else:
        rows = [("Token", f"{caller['name']} ({caller['id']})"), ("May", allowed(caller["scopes"]))]
    rows += [("Team", caller["team"]), ("Buckets", ", ".join(caller["buckets"]) or "all of the team's")]
    rows += [("Until", caller["expires_at"] or "it is revoked"), ("API", credentials.api_url)]
    for name, value in rows:
        print(f"  {name:<11}{value}")


def password(*, password_stdin: FromStdin = False, where: Where = ANYWHERE) -> None:
    """Change your password; every other session of yours ends. From standard input: the current one and the
    new one, a line each."""
    credentials = where.credentials()
    if not credentials.token.startswith(SESSION_PREFIX):
        raise Trouble(
            "nobody is signed in: a token has no password",
            remedy="Sign in first: `trunkline login EMAIL`.",
            exit_code=exits.USAGE,
        )
    current, new = passwords("current password", "new password", from_stdin=password_stdin, last_is_new=True)
    with Api(credentials) as api:
        session = api.send("PUT", "/v1/password", {"current": current, "password": new})
    if where.json:
        print(json.dumps(_without_secret(session), indent=2))
    else:
        print(f"{session['email']} has another password; every other session has ended.")


def _target(where: Where, api_url: str | None) -> Credentials:
    """Where to sign in, without a token: none is needed, and an old session would be refused. Raises
    Trouble."""
    found = where.credentials()
    return replace(found, api_url=(api_url or found.need_api()).rstrip("/"), token="")


def _keep(where: Where, target: Credentials, session: dict[str, Any]) -> None:
    """Keep a session for the commands that follow. Raises Trouble."""
    folder = where.folder()
    known = stored.read(folder / stored.FILE_NAME)
    here = known is not None and known.api_url.rstrip("/") == target.api_url
    person = SignedIn(session["email"], "" if here else target.api_url, session["secret"])
    file = folder / stored.SESSION_FILE_NAME
    stored.write_session(file, person)
    if where.json:
        print(json.dumps(_without_secret(session) | {"kept_in": str(file)}, indent=2))
        return
    print(f"{session['email']} is signed in to team {session['team']} as {session['role']}.")
    print(f"Until {session['expires_at']}, or `trunkline logout`. Kept in {file}")


def _without_secret(session: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in session.items() if name != "secret"}
