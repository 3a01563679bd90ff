"""`trunkline show`: one call whole, as a person reads it, or in a form that sends it again."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from services.cli.client import Api
from services.cli.selection import is_whole, whole_id
from services.cli.where import ANY_BUCKET, InBucket

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

MAX_SHOWN_CHARS = 20_000


def show(
    id: str,
    /,
    *,
    as_: Annotated[
        Literal["curl", "python", "har"] | None, Parameter(name="--as", help="Write it in this form.")
    ] = None,
    where: InBucket = ANY_BUCKET,
) -> None:
    """Show one call whole, or as curl, Python or HAR.

    Parameters
    ----------
    id
        The call's id, the end of it as `trunkline calls` shows it, or `last`.
    """
    credentials = where.credentials()
    with Api(credentials) as api:
        found = id.strip().lower()
        if not is_whole(found):  # a whole id needs no bucket
            found = whole_id(api, where.key(credentials), id)
        if as_ is not None:
            print(api.get_bytes(f"/v1/calls/{found}", {"as": as_}).decode("utf-8", "replace").rstrip("\n"))
            return
        call = api.get(f"/v1/calls/{found}")
    if where.json:
        print(json.dumps(call, indent=2))
        return
    from services.cli import render

    _print(render.console(), call)


def _print(console: Console, call: dict[str, Any]) -> None:
    from rich.text import Text

    from services.cli import render

    request, response, error = call["request"], call["response"], call["error"]
    console.print(Text.assemble((request["method"], "bold"), " ", request["url"]))
    facts = [call["id"], f"started {call['started_at']}", f"took {render.duration(call['duration_ms'])}"]
    facts += [f"{call['origin']}"] + (["strict"] if call["strict"] else [])
    if call["server_address"]:
        facts.append(f"answered by {call['server_address']}")
    console.print(Text(" · ".join(facts), style="dim"))
    phases = _phases(call["timings"])
    if phases:
        console.print(Text(phases, style="dim"))
    if error is not None:
        console.print(Text(f"{error['slug']}: {error['detail']}", style="bold red"))
        console.print(Text(f"the client was answered {call['status_sent']}", style="dim"))
    console.print()
    console.print(Text(f"HTTP/{request['http_version']} request", style="bold"))
    console.print(render.headers(request["headers"]))
    _print_body(console, request["body"])
    if response is not None:
        console.print(
            Text(f"HTTP/{response['http_version']} {response['status']} {response['reason']}", style="bold")
        )
        console.print(render.headers(response["headers"]))
        _print_body(console, response["body"])


def _print_body(console: Console, body: dict[str, Any]) -> None:
    from rich.text import Text

    from services.cli import render

    content = body["content"]
    if body["missing"]:
        console.print(Text(f"({render.size(body['size_bytes'])}, not at hand)", style="dim"))
    elif content["kind"] != "empty":
        console.print(_readable(content))
        notes = [content["note"]] if content["note"] else []
        if content["codings"]:
            notes.append(
                f"{', '.join(content['codings'])} undone, {render.size(body['size_bytes'])} on the wire"
            )
        if notes:
            console.print(Text(f"({'; '.join(notes)})", style="dim"))
    if body["missing"] or content["kind"] != "empty":
        console.print()


def _readable(content: dict[str, Any]) -> RenderableType:
    from rich.text import Text

    text = content["text"]
    if text is None:
        from services.cli import render

        return Text(
            f"({content['content_type'] or 'binary'}, {render.size(content['size_bytes'])})", style="dim"
        )
    cut = text[:MAX_SHOWN_CHARS]
    if len(cut) < len(text):
        return Text(f"{cut}\n… {len(text) - len(cut)} more characters; --json shows all of them")
    if content["kind"] != "json":
        return Text(text)
    from rich.syntax import Syntax

    return Syntax(text, "json", theme="ansi_dark", background_color="default", word_wrap=True)


def _phases(timings: dict[str, float | None]) -> str:
    from services.cli import render

    return " · ".join(
        f"{name.removesuffix('_ms')} {render.duration(value)}"
        for name, value in timings.items()
        if value is not None
    )
