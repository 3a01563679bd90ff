"""`trunkline buckets`: the buckets that the token may see, or one of them as it is or was."""

from __future__ import annotations

import json
from typing import Annotated, Any
from urllib.parse import quote

from cyclopts import Parameter

from bus.clock import SystemClock
from services.cli import exits
from services.cli.client import Api
from services.cli.exits import Trouble
from services.cli.selection import moment
from services.cli.where import ANYWHERE, Where


def buckets(
    key: str | None = None,
    /,
    *,
    at: Annotated[str | None, Parameter(help="As it was then: a time, or 30s, 10m, 2h, 1d ago.")] = None,
    where: Where = ANYWHERE,
) -> None:
    """List the buckets, or show one.

    Parameters
    ----------
    key
        Only this one.
    """
    if at is not None and key is None:
        raise Trouble(
            "--at needs a bucket",
            remedy="Name it: `trunkline buckets KEY --at 2h`.",
            exit_code=exits.USAGE,
        )
    credentials = where.credentials()
    with Api(credentials) as api:
        if key is None:
            found = api.get("/v1/buckets")
            shown = found["buckets"]
        else:
            # A bucket that was deleted since is not on the list, and still has a past.
            query = {"at": moment(at, SystemClock(), "--at")}
            found = api.get(f"/v1/buckets/{quote(key, safe='')}", query)
            shown = [found]
    if where.json:
        print(json.dumps(found, indent=2))
        return
    _print(shown, mine=credentials.bucket)


def _print(shown: list[dict[str, Any]], *, mine: str) -> None:
    from rich.table import Table

    from services.cli import render

    table = Table(
        "", "key", "name", "team", "capture", "body cap", box=None, pad_edge=False, header_style="dim"
    )
    for bucket in shown:
        table.add_row(
            "*" if bucket["key"] == mine else "",
            bucket["key"],
            render.plain(bucket["name"]),
            bucket["team"],
            bucket["capture"],
            render.size(bucket["body_cap_bytes"]),
        )
    render.console().print(table)
