"""`trunkline buckets`: the buckets that the token may see, or one of them as it is or was. The verbs below it
are in `bucket_changes`."""

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
    """List the buckets, or show one; create, change and delete them.

    Parameters
    ----------
    key
        Only this one, with all its settings.
    """
    if at is not None and key is None:
        raise Trouble(
            "--at needs a bucket",
            remedy="Name it: `trunkline buckets KEY --at 2h`.",
            exit_code=exits.USAGE,
        )
    credentials = where.credentials()
    found: Any
    with Api(credentials) as api:
        if key is None:
            found = {"buckets": api.every("/v1/buckets", "buckets"), "next_cursor": None}
        else:
            # A bucket that was deleted since is not on the list, and still has a past.
            found = api.get(path_of(key), {"at": moment(at, SystemClock(), "--at")})
    if where.json:
        print(json.dumps(found, indent=2))
    elif key is None:
        _print(found["buckets"], mine=credentials.bucket)
    else:
        print_one(found)


def path_of(key: str) -> str:
    """Where the API has a bucket."""
    return f"/v1/buckets/{quote(key, safe='')}"


def _print(shown: list[dict[str, Any]], *, mine: str) -> None:
    from services.cli import render

    table = render.plain_table("", "key", "name", "team", "capture", "redaction", "body cap", "address")
    for bucket in shown:
        address = bucket.get("address") or bucket["key"]
        table.add_row(
            "*" if bucket["key"] == mine else "",
            bucket["key"],
            render.plain(bucket["name"]),
            bucket["team"],
            bucket["capture"],
            bucket.get("redaction", {}).get("mode", ""),
            render.size(bucket["body_cap_bytes"]),
            "" if address == bucket["key"] else address,
        )
    render.console().print(table)


def print_one(bucket: dict[str, Any]) -> None:
    """A bucket with all its settings, each as `buckets set` takes it."""
    from rich.text import Text

    from services.cli import bucket_settings, render

    console = render.console()
    console.print(Text.assemble((bucket["key"], "bold"), f"  {bucket['name']}"))
    facts = [f"team {bucket['team']}", f"made {bucket['created_at']}", f"version {bucket.get('version', 0)}"]
    console.print(Text(" · ".join(facts), style="dim"))
    for former in bucket.get("former_addresses", ()):
        console.print(Text(f"address {former['address']} until {former['ends_at']}", style="dim"))
    if bucket.get("address", bucket["key"]) not in ("", bucket["key"]):
        console.print(Text(f"called by the address {bucket['address']}"))
    if bucket.get("guarded"):
        console.print(Text("guarded: clients must send Trunkline-Bucket-Auth"))
    table = render.plain_table("setting", "value")
    for name, value in bucket_settings.shown(bucket):
        table.add_row(name, Text(value))
    console.print(table)
