"""`trunkline tokens`: the team's API tokens, and `create`, `rotate`, `rename`, `revoke`. A secret is shown
once, when it is made."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Annotated, Any, Literal
from urllib.parse import quote

from cyclopts import Parameter

from bus.clock import SystemClock
from services.cli import exits
from services.cli.client import Api
from services.cli.credentials import Credentials
from services.cli.exits import Trouble
from services.cli.selection import ending, seconds
from services.cli.where import ANYWHERE, Where

_WHOLE_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
SHORT_CHARS = 4


def tokens(*, where: Where = ANYWHERE) -> None:
    """List the team's tokens; make, rotate, rename and revoke them."""
    with Api(where.credentials()) as api:
        found = api.every("/v1/tokens", "tokens")
    if where.json:
        print(json.dumps({"tokens": found, "next_cursor": None}, indent=2))
        return
    from services.cli import render

    now = SystemClock().now()
    table = render.plain_table("name", "may", "buckets", "last used", "ends", "made", "id")
    for token in found:
        table.add_row(
            render.plain(token["name"]),
            allowed(token["scopes"]),
            ", ".join(token["buckets"]) or "all",
            render.ago(token["last_used_at"], now=now),
            render.ago(token["expires_at"], now=now),
            render.ago(token["created_at"], now=now),
            token["id"],
        )
    render.console().print(table)


def create(
    name: str,
    /,
    *,
    scopes: Annotated[
        str | None, Parameter(help="What it allows, such as `calls:read,buckets:read`.")
    ] = None,
    role: Annotated[
        Literal["viewer", "editor", "owner"] | None, Parameter(help="All that such a member may do.")
    ] = None,
    bucket: Annotated[
        tuple[str, ...],
        Parameter(name=["--bucket", "-b"], help="Only this bucket; can be repeated. Else all of the team's."),
    ] = (),
    expires: Annotated[
        str | None, Parameter(help="When it ends: 12h, 30d, 4w from now, or a time. Else never.")
    ] = None,
    where: Where = ANYWHERE,
) -> None:
    """Make a token, and show its secret, once.

    Parameters
    ----------
    name
        What people call it, such as where it is used.
    """
    if (scopes is None) == (role is None):
        raise Trouble(
            "a token needs either --scopes or --role",
            remedy="Write --role viewer, or --scopes with some of: " + ", ".join(_known_scopes()) + ".",
            exit_code=exits.USAGE,
        )
    body = {
        "name": name,
        "scopes": _scopes(scopes or "") if role is None else _scopes_of(role),
        "buckets": list(bucket),
        "expires_at": ending(expires, SystemClock(), "--expires"),
    }
    with Api(where.credentials()) as api:
        made = api.send("POST", "/v1/tokens", body)
    _tell_secret(made, as_json=where.json)


def rotate(
    token: str,
    /,
    *,
    overlap: Annotated[
        str | None, Parameter(help="How long the present secret still works: 0s to 30d, a day unless given.")
    ] = None,
    where: Where = ANYWHERE,
) -> None:
    """Give a token a new secret, and show it, once. The command line's own one is kept in credentials.toml.

    Parameters
    ----------
    token
        Its id, the end of it, or its name.
    """
    overlap_s = None if overlap is None else seconds(overlap, "--overlap")
    credentials = where.credentials()
    with Api(credentials) as api:
        id = _whole_id(api, token)
        own = api.get("/v1/caller")["id"] == id
        made = api.send("POST", f"{_path_of(id)}/rotation", {"overlap_s": overlap_s})
    _tell_secret(made, as_json=where.json)
    if own and _kept(where, credentials, made["secret"]) and not where.json:
        print("It is the one in credentials.toml, and is kept there now.")


def rename(token: str, name: str, /, *, where: Where = ANYWHERE) -> None:
    """Rename a token.

    Parameters
    ----------
    token
        Its id, the end of it, or its name.
    name
        The new one.
    """
    with Api(where.credentials()) as api:
        changed = api.send("PATCH", _path_of(_whole_id(api, token)), {"name": name})
    if where.json:
        print(json.dumps(changed, indent=2))
    else:
        print(f"Token {changed['id']} is called {changed['name']} now.")


def revoke(token: str, /, *, where: Where = ANYWHERE) -> None:
    """End a token at once, everywhere.

    Parameters
    ----------
    token
        Its id, the end of it, or its name.
    """
    with Api(where.credentials()) as api:
        gone = api.send("DELETE", _path_of(_whole_id(api, token)))
    if where.json:
        print(json.dumps(gone, indent=2))
    else:
        print(f"Token {gone['id']} ({gone['name']}) is revoked.")


def allowed(scopes: list[str]) -> str:
    """Scopes in short: the role that has exactly these, else their names."""
    from schemas.operation import ROLE_SCOPES, SCOPES

    if set(scopes) == SCOPES:
        return "everything"
    for role, of_role in ROLE_SCOPES.items():
        if set(scopes) == of_role:
            return f"as {role}"
    return ", ".join(scopes)


def _scopes(text: str) -> list[str]:
    known = _known_scopes()
    found = [each.strip() for each in text.split(",") if each.strip()]
    for each in found:
        if each not in known:
            raise Trouble(
                f"there is no scope {each!r}",
                remedy=f"There are: {', '.join(known)}.",
                exit_code=exits.USAGE,
                slug="scope-unknown",
            )
    return found


def _scopes_of(role: Literal["viewer", "editor", "owner"]) -> list[str]:
    from schemas.operation import ROLE_SCOPES

    return sorted(ROLE_SCOPES[role])


def _known_scopes() -> list[str]:
    from schemas.operation import SCOPES

    return sorted(SCOPES)


def _path_of(id: str) -> str:
    return f"/v1/tokens/{quote(id, safe='')}"


def _whole_id(api: Api, text: str) -> str:
    """Raises Trouble."""
    wanted = text.strip()
    if _WHOLE_ID.fullmatch(wanted.lower()):
        return wanted.lower()
    listed = api.every("/v1/tokens", "tokens")
    found = [token for token in listed if token["name"] == wanted]
    end = wanted.lower().lstrip("…")
    if not found and len(end) >= SHORT_CHARS:
        found = [token for token in listed if token["id"].endswith(end)]
    if len(found) == 1:
        return str(found[0]["id"])
    if found:
        raise Trouble(
            f"several tokens are called {text!r}: {', '.join(token['id'] for token in found)}",
            remedy="Write the id of the one that is meant.",
            exit_code=exits.USAGE,
        )
    raise Trouble(
        f"no token is called {text!r}, or has this id",
        remedy="`trunkline tokens` lists them.",
        exit_code=exits.NOT_THERE,
        slug="token-unknown",
    )


def _kept(where: Where, used: Credentials, secret: str) -> bool:
    """Whether the secret that was used is the one in credentials.toml: then the new one is there now. Raises
    Trouble."""
    from services.cli import credentials

    file = where.folder() / credentials.FILE_NAME
    stored = credentials.read(file)
    if stored is None or not stored.token or stored.token != used.token:
        return False
    credentials.write(file, replace(stored, token=secret))
    return True


def _tell_secret(made: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(made, indent=2))
        return
    rows = [("Token", made["secret"]), ("Name", made["name"]), ("May", allowed(made["scopes"]))]
    rows += [("Id", made["id"]), ("Ends", made["expires_at"] or "never")]
    if made["overlap_ends_at"]:
        rows.append(("Before", f"the former secret works until {made['overlap_ends_at']}"))
    for name, value in rows:
        print(f"  {name:<8}{value}")
    print("The token is shown this once.")
