"""`trunkline calls`: a bucket's calls, newest first."""

from __future__ import annotations

import json
from typing import Annotated

from cyclopts import Parameter

from bus.clock import SystemClock
from services.cli.client import Api
from services.cli.selection import EVERYTHING, Filters, Query, pages
from services.cli.where import ANY_BUCKET, InBucket


def calls(
    query: Query = "",
    *,
    filters: Filters = EVERYTHING,
    limit: Annotated[int, Parameter(name=["--limit", "-n"], help="How many at most.")] = 20,
    where: InBucket = ANY_BUCKET,
) -> None:
    """List captured calls, newest first."""
    credentials = where.credentials()
    bucket = where.key(credentials)
    clock = SystemClock()
    found = []
    cursor = None
    with Api(credentials) as api:
        for page in pages(api, bucket, filters.parameters(query, clock), max(1, limit)):
            found += page["calls"]
            cursor = page["next_cursor"]
    if where.json:
        print(json.dumps({"calls": found, "next_cursor": cursor}, indent=2))
        return
    from services.cli import render

    console = render.console()
    if not found:
        console.print(f"No such calls in bucket {bucket}.")
        if filters == EVERYTHING and not query:
            console.print("Send one through the gateway: [bold]trunkline url URL[/] gives its address.")
        return
    console.print(render.table(found, today=clock.now(), whole_ids=not console.is_terminal))
    if cursor is not None:
        console.print(f"[dim]The newest {len(found)}; --limit shows more.[/]")
