"""`trunkline members`: who belongs to a team, and `add`, `role`, `remove`, `invite`."""

from __future__ import annotations

import json
from typing import Annotated, Literal
from urllib.parse import quote

from cyclopts import Parameter

from services.cli import exits
from services.cli.client import Api
from services.cli.exits import Trouble
from services.cli.teams import own_or, path_of
from services.cli.where import ANYWHERE, Where

Role = Literal["viewer", "editor", "owner"]
InTeam = Annotated[str | None, Parameter(name="--team", help="Another team than your own.")]


def members(*, team: InTeam = None, where: Where = ANYWHERE) -> None:
    """List a team's members; add, invite and remove them."""
    with Api(where.credentials()) as api:
        id = own_or(api, team)
        found = api.every(f"{path_of(id)}/members", "members")
    if where.json:
        print(json.dumps({"members": found, "next_cursor": None}, indent=2))
        return
    from services.cli import render

    console = render.console()
    if not found:
        console.print(
            f"Team {render.plain(id)} has no members yet: [bold]trunkline members add EMAIL --role ROLE[/]."
        )
        return
    table = render.plain_table("e-mail", "role", "signs in", "since")
    for member in found:
        signs_in = "with a password" if member["has_password"] else "not yet: invite"
        table.add_row(render.plain(member["email"]), member["role"], signs_in, member["added_at"])
    console.print(table)


def add(
    email: str,
    /,
    *,
    role: Annotated[Role, Parameter(help="What this person may do.")],
    team: InTeam = None,
    where: Where = ANYWHERE,
) -> None:
    """Make somebody a member. `members invite` then lets this person sign in.

    Parameters
    ----------
    email
        The person's e-mail address.
    """
    with Api(where.credentials()) as api:
        answer = api.send("PUT", _path_of(own_or(api, team), email), {"role": role})
    if where.json:
        print(json.dumps(answer, indent=2))
        return
    print(f"{answer['email']} is a member, as {answer['role']}.")
    if not answer["has_password"]:
        print(f"To sign in, this person needs a code: trunkline members invite {answer['email']}")


def role(email: str, role: Role, /, *, team: InTeam = None, where: Where = ANYWHERE) -> None:
    """Give a member another role.

    Parameters
    ----------
    email
        The member's e-mail address.
    role
        What this person may do from now on.
    """
    with Api(where.credentials()) as api:
        id = own_or(api, team)
        there = api.every(f"{path_of(id)}/members", "members")
        if email.strip().lower() not in (member["email"].lower() for member in there):
            raise Trouble(
                f"team {id} has no member {email!r}",
                remedy=f"Add this person with `trunkline members add {email} --role {role}`.",
                exit_code=exits.NOT_THERE,
                slug="member-unknown",
            )
        answer = api.send("PUT", _path_of(id, email), {"role": role})
    if where.json:
        print(json.dumps(answer, indent=2))
    else:
        print(f"{answer['email']} is {answer['role']} now.")


def remove(email: str, /, *, team: InTeam = None, where: Where = ANYWHERE) -> None:
    """Take a member out of the team; this person's sessions in it end.

    Parameters
    ----------
    email
        The member's e-mail address.
    """
    with Api(where.credentials()) as api:
        id = own_or(api, team)
        answer = api.send("DELETE", _path_of(id, email))
    if where.json:
        print(json.dumps(answer, indent=2))
    else:
        print(f"{answer['email']} is no member of team {id} any more.")


def invite(email: str, /, *, team: InTeam = None, where: Where = ANYWHERE) -> None:
    """Make a code with which a member sets a password, and show it, once.

    Parameters
    ----------
    email
        The member's e-mail address.
    """
    credentials = where.credentials()
    with Api(credentials) as api:
        made = api.send("POST", f"{_path_of(own_or(api, team), email)}/invitation")
    if where.json:
        print(json.dumps(made, indent=2))
        return
    print(f"Hand this to {made['email']} on a way that you trust; it works once, until {made['expires_at']}:")
    print(f"  trunkline accept {made['code']} --api-url {credentials.need_api()}")


def _path_of(team: str, email: str) -> str:
    return f"{path_of(team)}/members/{quote(email, safe='')}"
