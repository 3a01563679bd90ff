"""`trunkline buckets`: the buckets that the token may see."""

from __future__ import annotations

import json

from services.cli.client import Api
from services.cli.where import ANYWHERE, Where


def buckets(*, where: Where = ANYWHERE) -> None:
    """List the buckets."""
    credentials = where.credentials()
    with Api(credentials) as api:
        found = api.get("/v1/buckets")
    if where.json:
        print(json.dumps(found, indent=2))
        return
    from rich.table import Table

    from services.cli import render

    table = Table(
        "", "key", "name", "team", "capture", "body cap", box=None, pad_edge=False, header_style="dim"
    )
    for bucket in found["buckets"]:
        table.add_row(
            "*" if bucket["key"] == credentials.bucket else "",
            bucket["key"],
            render.plain(bucket["name"]),
            bucket["team"],
            bucket["capture"],
            render.size(bucket["body_cap_bytes"]),
        )
    render.console().print(table)
