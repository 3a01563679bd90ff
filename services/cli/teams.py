"""`trunkline teams`: the teams that the caller may see, and `create`, `rename`, `delete`."""

from __future__ import annotations

import json
from typing import Annotated, Any
from urllib.parse import quote

from cyclopts import Parameter

from services.cli.client import Api
from services.cli.prompts import confirm
from services.cli.where import ANYWHERE, Where


def teams(*, where: Where = ANYWHERE) -> None:
    """List the teams; create, rename and delete them."""
    with Api(where.credentials()) as api:
        found = api.every("/v1/teams", "teams")
    if where.json:
        print(json.dumps({"teams": found, "next_cursor": None}, indent=2))
        return
    from services.cli import render

    table = render.plain_table("id", "name", "members", "made")
    for team in found:
        table.add_row(team["id"], render.plain(team["name"]), str(team["members"]), team["created_at"])
    render.console().print(table)


def create(id: str, name: str, /, *, where: Where = ANYWHERE) -> None:
    """Create a team. It takes a token with the scope `installation`.

    Parameters
    ----------
    id
        a-z, 0-9, `-` and `_`; for ever.
    name
        What people call it.
    """
    _send(where, "PUT", id, {"name": name}, "is there")


def rename(id: str, name: str, /, *, where: Where = ANYWHERE) -> None:
    """Rename a team.

    Parameters
    ----------
    id
        The team's.
    name
        The new one.
    """
    with Api(where.credentials()) as api:
        own = own_or(api, None) == id
        if not own:
            api.get(path_of(id))  # the PUT that renames another team would also make one
        answer = api.send("PATCH" if own else "PUT", path_of(id), {"name": name})
    _tell(where, answer, "is called so now")


def delete(
    id: str,
    /,
    *,
    yes: Annotated[bool, Parameter(help="Do not ask.")] = False,
    where: Where = ANYWHERE,
) -> None:
    """Delete a team and all that it has.

    Parameters
    ----------
    id
        The team's.
    """
    if not yes:
        with Api(where.credentials()) as api:
            name = api.get(path_of(id))["name"]
        goes = (
            f"Team {id} ({name}) ends: its tokens and sessions at once, its buckets soon after, with all"
            " calls that they hold."
        )
        confirm(goes, yes=yes, as_json=where.json)
    _send(where, "DELETE", id, None, "is deleted; its buckets and their calls are being erased")


def path_of(id: str) -> str:
    """Where the API has a team."""
    return f"/v1/teams/{quote(id, safe='')}"


def own_or(api: Api, team: str | None) -> str:
    """The team that is named, else the caller's own. Raises Trouble."""
    return team or str(api.get("/v1/caller")["team"])


def _send(where: Where, method: str, id: str, body: dict[str, object] | None, said: str) -> None:
    with Api(where.credentials()) as api:
        answer = api.send(method, path_of(id), body)
    _tell(where, answer, said)


def _tell(where: Where, answer: dict[str, Any], said: str) -> None:
    if where.json:
        print(json.dumps(answer, indent=2))
    else:
        print(f"Team {answer['id']} ({answer['name']}) {said}.")
