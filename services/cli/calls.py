"""`trunkline calls`: a bucket's calls, newest first."""

from __future__ import annotations

import json
from typing import Annotated

from cyclopts import Parameter

from bus.clock import SystemClock
from services.cli import exits
from services.cli.client import Api
from services.cli.exits import Trouble
from services.cli.selection import EVERYTHING, Filters, Query, pages
from services.cli.where import ANY_BUCKET, InBucket


def calls(
    query: Query = "",
    *,
    filters: Filters = EVERYTHING,
    limit: Annotated[int, Parameter(name=["--limit", "-n"], help="How many at most.")] = 20,
    facets: Annotated[
        bool, Parameter(negative=(), help="Count them by host, method, status and path template instead.")
    ] = False,
    where: InBucket = ANY_BUCKET,
) -> None:
    """List captured calls, newest first."""
    credentials = where.credentials()
    bucket = where.key(credentials)
    clock = SystemClock()
    if facets:
        with Api(credentials) as api:
            _facets(api, bucket, filters.parameters(query, clock), limit, json_wanted=where.json)
        return
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


def _facets(api: Api, bucket: str, given: dict[str, object], limit: int, *, json_wanted: bool) -> None:
    other = [name for name in ("method", "host", "path", "status", "error") if given[name] is not None]
    if other:
        raise Trouble(
            f"--facets takes no --{other[0]}",
            remedy=f"Write it into the query, as in 'status:5xx {other[0]}:...'.",
            exit_code=exits.USAGE,
        )
    asked = {name: given[name] for name in ("q", "since", "before")}
    found = api.get(f"/v1/buckets/{bucket}/calls/facets", {**asked, "limit": max(1, min(limit, 100))})
    if json_wanted:
        print(json.dumps(found, indent=2))
        return
    from services.cli import facets as rendered
    from services.cli import render

    console = render.console()
    if not found["counted"]:
        console.print(f"No such calls in bucket {bucket}.")
        return
    console.print(rendered.table(found))
    which = f"{found['counted']} calls" if found["complete"] else f"The newest {found['counted']} calls"
    console.print(f"[dim]{which}.[/]")
