"""`trunkline trace`: what one call or event caused, as a tree with times."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

from cyclopts import Parameter

from services.cli import exits
from services.cli.client import Api
from services.cli.exits import Trouble
from services.cli.selection import whole_id
from services.cli.where import ANY_BUCKET, InBucket

if TYPE_CHECKING:
    from rich.text import Text

PAGE = 500
UNKNOWN_SLUG = "event-unknown"
INDENTED = 16
"""Causes further down stand below each other, with their depth in front: no screen is wide enough for all."""

OTHER, LAST = "├── ", "└── "
_BELOW = {"": "", OTHER: "│   ", LAST: "    "}

Event = dict[str, Any]


def trace(
    id: str,
    /,
    *,
    limit: Annotated[int, Parameter(name=["--limit", "-n"], help="How many events at most.")] = 1000,
    where: InBucket = ANY_BUCKET,
) -> None:
    """Show the tree of events that one call or event belongs to.

    Parameters
    ----------
    id
        The id of an event or a call; of a call also the end of it as `trunkline calls` shows it, or `last`.
    """
    credentials = where.credentials()
    with Api(credentials) as api:
        try:
            root, events, cursor = _read(api, id, max(1, limit))
        except Trouble as trouble:
            if trouble.slug != UNKNOWN_SLUG or not (credentials.bucket or where.bucket):
                raise
            try:
                id = whole_id(api, where.key(credentials), id)
            except Trouble as none_or_several:
                if none_or_several.exit_code == exits.NOT_THERE and id != "last":
                    raise trouble from None
                raise
            root, events, cursor = _read(api, id, max(1, limit))
    if where.json:
        print(json.dumps({"root": root, "events": events, "next_cursor": cursor}, indent=2))
        return
    from services.cli import render

    console = render.console()
    for line in _drawn(events, marked=id, whole_ids=not console.is_terminal):
        console.print(line)
    if cursor is not None:
        console.print(f"[dim]The first {len(events)} of its events; --limit shows more.[/]")


def _read(api: Api, id: str, limit: int) -> tuple[str, list[Event], str | None]:
    """The root's id, up to `limit` events in the order in which they were recorded, and the cursor of what
    was left out. Raises Trouble."""
    events: list[Event] = []
    cursor: str | None = None
    while True:
        page = api.get(
            f"/v1/events/{quote(id, safe='')}/trace",
            {"limit": min(limit - len(events), PAGE), "after": cursor},
        )
        events += page["events"]
        cursor = page["next_cursor"]
        if cursor is None or len(events) >= limit:
            return page["root"], events, cursor


def _drawn(events: list[Event], *, marked: str, whole_ids: bool) -> Iterator[Text]:
    """A line for each event, below its cause. An event whose cause is not among them begins a tree: one does,
    unless a cause is hidden, erased or on a page that was not read."""
    from rich.text import Text

    start = min((datetime.fromisoformat(event["time"]) for event in events), default=None)
    ids = {event["id"] for event in events}
    caused: dict[str, list[Event]] = {}
    roots = []
    for event in events:
        cause = event["causationid"]
        if cause is not None and cause in ids and cause != event["id"]:
            caused.setdefault(cause, []).append(event)
        else:
            roots.append(event)
    drawn: set[str] = set()
    for root in [*roots, *events]:  # of events that name each other in a ring, none is a root
        waiting = [(root, "", "", 0)]  # (event, the guides to its left, its branch, how deep it stands)
        while waiting:
            event, guides, branch, depth = waiting.pop()
            if event["id"] in drawn:
                continue
            drawn.add(event["id"])
            assert start is not None
            line = Text(no_wrap=True, overflow="ellipsis")
            line.append(guides + branch + (f"({depth}) " if depth > INDENTED else ""), style="dim")
            yield line.append_text(_line(event, start, marked, whole_ids=whole_ids, first=depth == 0))
            below = guides if depth >= INDENTED else guides + _BELOW[branch]
            children = caused.get(event["id"], [])
            for child in reversed(children):
                waiting.append((child, below, LAST if child is children[-1] else OTHER, depth + 1))


def _line(event: Event, start: datetime, marked: str, *, whole_ids: bool, first: bool = False) -> Text:
    from rich.text import Text

    from services.cli import render

    happened = datetime.fromisoformat(event["time"])
    line = Text()
    if first:
        line.append(f"{happened.astimezone():%Y-%m-%d %H:%M:%S.%f}"[:-3] + "  ", style="cyan")
    else:
        line.append(f"+{render.duration((happened - start).total_seconds() * 1000)}  ", style="cyan")
    asked_for = marked in (event["id"], event["subject"])
    line.append(event["type"], style="bold reverse" if asked_for else "bold")
    line.append(f"  {event['source']}", style="green")
    if event["subject"]:
        line.append(f"  {event['subject']}")
    if event["key"] != "_":
        line.append(f"  in {event['key']}", style="dim")
    line.append(f"  {render.short_id(event['id'], whole=whole_ids)}", style="dim")
    return line
