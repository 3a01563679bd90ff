"""`trunkline audit`: who changed what in a team, newest first."""

from __future__ import annotations

import json
from typing import Annotated, Any

from cyclopts import Parameter

from bus.clock import SystemClock
from services.cli.client import PAGE, Api
from services.cli.members import InTeam
from services.cli.selection import moment
from services.cli.teams import own_or, path_of
from services.cli.where import ANYWHERE, Where

SHOWN_CHARS = 100


def audit(
    *,
    since: Annotated[str | None, Parameter(help="Not older than: a time, or 30s, 10m, 2h, 1d ago.")] = None,
    before: Annotated[str | None, Parameter(help="Older than: a time, or 30s, 10m, 2h, 1d ago.")] = None,
    by: Annotated[
        str | None, Parameter(help="Only by this token or person: an id or e-mail address.")
    ] = None,
    type: Annotated[
        tuple[str, ...],
        Parameter(name=["--type", "-t"], help="Only these, such as `identity.token.*`; can be repeated."),
    ] = (),
    limit: Annotated[int, Parameter(name=["--limit", "-n"], help="How many at most.")] = 50,
    team: InTeam = None,
    where: Where = ANYWHERE,
) -> None:
    """Who changed what, newest first: members, tokens, buckets, and what was starred, annotated, shared,
    deleted and erased."""
    clock = SystemClock()
    query: dict[str, object] = {
        "since": moment(since, clock, "--since"),
        "before": moment(before, clock, "--before"),
        "by": by,
        "type": ",".join(type) or None,
    }
    with Api(where.credentials()) as api:
        entries, cursor = _read(api, f"{path_of(own_or(api, team))}/audit", query, max(1, limit))
    if where.json:
        print(json.dumps({"entries": entries, "next_cursor": cursor}, indent=2))
        return
    from rich.text import Text

    from services.cli import render

    console = render.console()
    if not entries:
        console.print("Nothing was changed.")
        return
    table = render.plain_table("when", "who", "what", "about", "with")
    for entry in entries:
        table.add_row(
            render.when(entry["at"], today=clock.now()),
            render.plain(entry["by_name"] or entry["by"] or "the system"),
            entry["type"],
            render.plain(entry["about"]),
            Text(_short(entry), style="dim"),
        )
    console.print(table)
    if cursor is not None:
        console.print(f"[dim]The newest {len(entries)}; --limit shows more.[/]")


def _read(
    api: Api, path: str, query: dict[str, object], limit: int
) -> tuple[list[dict[str, Any]], str | None]:
    """A page may be short though there are more. Raises Trouble."""
    entries: list[dict[str, Any]] = []
    cursor: str | None = None
    while True:
        page = api.get(path, {**query, "limit": min(limit - len(entries), PAGE), "cursor": cursor})
        entries += page["entries"]
        cursor = page["next_cursor"]
        if cursor is None or len(entries) >= limit:
            return entries, cursor


def _short(entry: dict[str, Any]) -> str:
    """What the event says beside what the other columns say."""
    data = entry["data"] if isinstance(entry["data"], dict) else {}
    told = (entry["about"], entry["by"], entry["bucket"])
    rest = {name: value for name, value in data.items() if value not in (None, "", [], {}, *told)}
    text = " ".join(f"{name}={_plain(value)}" for name, value in rest.items())
    return text if len(text) <= SHOWN_CHARS else f"{text[: SHOWN_CHARS - 1]}…"


def _plain(value: object) -> str:
    """On one line, and nothing in it that a terminal would obey."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if text.isprintable() else json.dumps(value)
