"""`trunkline tail`: calls as they come, until Ctrl-C. A lost connection is taken up again where it ended."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from bus.clock import SystemClock
from services.cli import exits
from services.cli.client import UNREACHABLE_SLUG, Api
from services.cli.credentials import Credentials
from services.cli.exits import Trouble
from services.cli.selection import EVERYTHING, Filters, Query
from services.cli.where import ANY_BUCKET, InBucket

IDLE_S = 60.0  # the API says something at least every 15 s
AGAIN_S = 2.0
TRIES = 15


def tail(query: Query = "", *, filters: Filters = EVERYTHING, where: InBucket = ANY_BUCKET) -> int:
    """Follow calls as they come; Ctrl-C ends it."""
    credentials = where.credentials()
    bucket = where.key(credentials)
    clock = SystemClock()
    tell: Callable[[dict[str, Any]], None]
    if where.json:

        def tell(call: dict[str, Any]) -> None:
            print(json.dumps(call), flush=True)
    else:
        from services.cli import render

        console = render.console()
        console.print(f"[dim]Calls of bucket {bucket}, as they come. Ctrl-C ends this.[/]")

        def tell(call: dict[str, Any]) -> None:
            console.print(render.line(call, today=clock.now(), whole_ids=not console.is_terminal))

    path = f"/v1/buckets/{bucket}/live"
    try:
        _follow(credentials, path, filters.parameters(query, clock), clock, tell)
    except KeyboardInterrupt:
        return exits.OK
    return exits.OK


def _follow(
    credentials: Credentials,
    path: str,
    query: dict[str, object],
    clock: SystemClock,
    tell: Callable[[dict[str, Any]], None],
) -> None:
    """Read the stream, again and again, each time from the last id on. Raises Trouble when it cannot be had
    at all, or not for TRIES tries."""
    last_id = ""
    failures = 0
    while True:
        try:
            with Api(credentials) as api:
                headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last_id} if last_id else {})
                event: dict[str, str] = {}
                for line in api.get_lines(path, query, headers=headers, idle_s=IDLE_S):
                    failures = 0
                    name, _, value = line.partition(":")
                    if line:
                        event[name] = value.removeprefix(" ")
                        continue
                    if event.get("event") == "call":
                        tell(json.loads(event["data"]))
                    last_id = event.get("id", last_id)
                    event = {}
        except Trouble as trouble:
            lost = trouble.slug == UNREACHABLE_SLUG or trouble.exit_code == exits.DOWN
            if not lost or not last_id or failures >= TRIES:
                raise
        failures += 1
        asyncio.run(clock.sleep(AGAIN_S))
