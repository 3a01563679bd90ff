"""`trunkline replay`: send a captured call once more, and see what became different in the answer.

Sent through the gateway, so that the new call is captured too, unless `--direct`. The request goes out as it
was captured, byte for byte, but for what belongs to one hop or one connection (RFC 9110 7.6.1).
"""

from __future__ import annotations

import difflib
import json
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import msgspec
from cyclopts import Parameter

from services.cli import exits
from services.cli.client import Api
from services.cli.exits import Trouble
from services.cli.selection import whole_id
from services.cli.where import ANY_BUCKET, InBucket

if TYPE_CHECKING:
    from rich.console import Console

    from services.chassis.outgoing import Origin

READ_LIMIT_BYTES = 8 * 1024 * 1024
MAX_DIFF_LINES = 60
CALL_ID = "trunkline-call-id"

# Of one hop (RFC 9110 7.6.1), or made anew from what is sent.
_OF_ONE_HOP = frozenset(
    (
        "connection",
        "keep-alive",
        "proxy-connection",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "host",
        "content-length",
        "expect",
    )
)
# Differ from one answer to the next by nature; a difference in them says nothing.
_EXPECTED_TO_DIFFER = frozenset(
    ("date", "age", "trunkline-call-id", "x-request-id", "connection", "keep-alive")
)


class Answer(msgspec.Struct, frozen=True):
    """One answer to compare. headers: as on the wire. text: the body for reading, None when it is binary."""

    status: int
    headers: list[list[str]]
    body: bytes
    text: str | None


class Comparison(msgspec.Struct, frozen=True):
    """headers: (name, value before, value now), None where there is none. body: a unified diff, or one line
    that says what differs. empty when nothing does."""

    status: tuple[int, int] | None
    headers: list[tuple[str, str | None, str | None]]
    body: list[str]

    @property
    def same(self) -> bool:
        return self.status is None and not self.headers and not self.body


def replay(
    id: str,
    /,
    *,
    direct: Annotated[
        bool, Parameter(help="Straight to the API, not through the gateway: not captured.")
    ] = False,
    force: Annotated[bool, Parameter(help="Also when the captured request is not whole.")] = False,
    where: InBucket = ANY_BUCKET,
) -> int:
    """Send a call again and compare the answers. Exit code 1 when they differ.

    Parameters
    ----------
    id
        The call's id, the end of it as `trunkline calls` shows it, or `last`.
    """
    credentials = where.credentials()
    with Api(credentials) as api:
        found = whole_id(api, where.key(credentials), id)
        call = api.get(f"/v1/calls/{found}")
        body = _request_body(api, call, force=force)
        before = _answer_before(api, call)
    from services.chassis.host import run_loop

    gateway = None if direct else credentials.need_gateway()
    now, new_id = run_loop(_send(call, body, gateway))
    different = compare(before, now) if before is not None else None
    if where.json:
        print(json.dumps(_document(call, before, now, new_id, different), indent=2))
    else:
        _print(call, before, now, new_id, different)
    return exits.OK if different is not None and different.same else exits.NO


def compare(before: Answer, now: Answer) -> Comparison:
    """What differs. Headers whose values differ by nature (Date) are left out; order and case of names do not
    count."""
    old, new = _joined(before.headers), _joined(now.headers)
    headers = [
        (name, old.get(name), new.get(name))
        for name in dict.fromkeys([*old, *new])
        if old.get(name) != new.get(name)
    ]
    status = None if before.status == now.status else (before.status, now.status)
    return Comparison(status, headers, _body_diff(before, now))


def _body_diff(before: Answer, now: Answer) -> list[str]:
    if before.text is not None and now.text is not None:
        if before.text == now.text:
            return []
        lines = difflib.unified_diff(
            before.text.splitlines(), now.text.splitlines(), "before", "now", lineterm="", n=2
        )
        return list(lines) or ["the bodies differ in their line ends"]
    if before.body == now.body:
        return []
    return [f"the bodies differ: {len(before.body)} bytes before, {len(now.body)} now"]


def _joined(headers: list[list[str]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in headers:
        lower = name.lower()
        if lower not in _EXPECTED_TO_DIFFER:
            found[lower] = f"{found[lower]}, {value}" if lower in found else value
    return found


def _request_body(api: Api, call: dict[str, Any], *, force: bool) -> bytes:
    body = call["request"]["body"]
    if (body["truncated"] or body["missing"]) and not force:
        kept = 0 if body["missing"] else body["captured_bytes"]
        raise Trouble(
            f"only {kept} of the request body's {body['size_bytes']} bytes were kept",
            remedy="--force sends what there is; a bucket's body_cap_bytes says how much is kept.",
            exit_code=exits.INVALID,
        )
    if not body["captured_bytes"] or body["missing"]:
        return b""
    return api.get_bytes(f"/v1/calls/{call['id']}", {"raw": "request"})


def _answer_before(api: Api, call: dict[str, Any]) -> Answer | None:
    response = call["response"]
    if response is None:
        return None
    body = response["body"]
    there = body["captured_bytes"] and not body["missing"]
    raw = api.get_bytes(f"/v1/calls/{call['id']}", {"raw": "response"}) if there else b""
    return _answer(response["status"], _as_kept(response["headers"], body), raw)


def _as_kept(headers: list[list[str]], body: dict[str, Any]) -> list[list[str]]:
    """Without the coding that was undone when something in the body was masked."""
    return [pair for pair in headers if not (body.get("decoded") and pair[0].lower() == "content-encoding")]


def _answer(status: int, headers: list[list[str]], body: bytes) -> Answer:
    from services.calls.body import readable

    found = readable(tuple((name, value) for name, value in headers), body)
    return Answer(status, headers, body, "" if found.kind == "empty" else found.text)


async def _send(call: dict[str, Any], body: bytes, gateway: str | None) -> tuple[Answer, str | None]:
    """The new answer, and the new call's id when the gateway captured it. Raises OutgoingError."""
    from bus.clock import SystemClock
    from services.chassis.outgoing import Outgoing, Policy, Request

    origin, target, host = way(call, gateway)
    asked = call["request"]
    headers = headers_to_send(
        _as_kept(asked["headers"], asked["body"]), host, body, call["request"]["method"]
    )
    request = Request(origin, call["request"]["method"], target, headers, body)
    async with Outgoing(Policy.anywhere(), SystemClock()) as outgoing, outgoing.send(request) as response:
        got = bytearray()
        while (piece := await response.read()) and len(got) < READ_LIMIT_BYTES:
            got += piece
        pairs = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in response.headers]
        new_id = next((value for name, value in pairs if name.lower() == CALL_ID), None)
        return _answer(response.status, pairs, bytes(got)), new_id


def way(call: dict[str, Any], gateway: str | None) -> tuple[Origin, bytes, str]:
    """Whom to connect to, the request target, and the Host to name."""
    from services.calls import address
    from services.chassis.outgoing import Origin

    url = call["request"]["url"]
    if gateway is None:
        to = address.parse_url(url)
        where = to.authority
        return Origin(where.scheme, where.host, where.port), to.tail.encode("latin-1", "replace"), where.text
    parts = urlsplit(gateway)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    path = address.at_path(gateway, call["bucket"], url).removeprefix(gateway)
    return Origin(parts.scheme, parts.hostname or "", port), path.encode("latin-1", "replace"), parts.netloc


def headers_to_send(
    headers: list[list[str]], host: str, body: bytes, method: str
) -> list[tuple[bytes, bytes]]:
    named = {
        part.strip().lower()
        for name, value in headers
        if name.lower() == "connection"
        for part in value.split(",")
    }
    sent = [(b"Host", host.encode("latin-1"))]
    sent += [
        (name.encode("latin-1"), value.encode("latin-1"))
        for name, value in headers
        if name.lower() not in _OF_ONE_HOP and name.lower() not in named
    ]
    if body or method in ("POST", "PUT", "PATCH"):
        sent.append((b"Content-Length", str(len(body)).encode()))
    return sent


def _document(
    call: dict[str, Any], before: Answer | None, now: Answer, new_id: str | None, different: Comparison | None
) -> dict[str, Any]:
    def shown(answer: Answer) -> dict[str, Any]:
        return {
            "status": answer.status,
            "headers": answer.headers,
            "size_bytes": len(answer.body),
            "text": answer.text,
        }

    return {
        "id": call["id"],
        "new_id": new_id,
        "same": different is not None and different.same,
        "before": None if before is None else shown(before),
        "now": shown(now),
        "differences": None if different is None else msgspec.to_builtins(different),
    }


def _print(
    call: dict[str, Any], before: Answer | None, now: Answer, new_id: str | None, different: Comparison | None
) -> None:
    from rich.text import Text

    from services.cli import render

    console = render.console()
    console.print(Text.assemble((call["request"]["method"], "bold"), " ", call["request"]["url"]))
    if before is None or different is None:
        slug = call["error"]["slug"] if call["error"] else "no response"
        console.print(Text(f"before: {slug}; now: {now.status}, {render.size(len(now.body))}", style="bold"))
    else:
        _print_side_by_side(console, before, now, different)
        for row in different.body[:MAX_DIFF_LINES]:
            console.print(Text(row, style={"+": "green", "-": "red", "@": "cyan"}.get(row[:1], "")))
        if len(different.body) > MAX_DIFF_LINES:
            console.print(
                f"[dim]… {len(different.body) - MAX_DIFF_LINES} more lines; --json has all of both[/]"
            )
        console.print("[green]The same answer.[/]" if different.same else "[yellow]The answers differ.[/]")
    if new_id is not None:
        console.print(Text(f"captured as {new_id}", style="dim"))


def _print_side_by_side(console: Console, before: Answer, now: Answer, different: Comparison) -> None:
    """Both answers' status and size, and each header that differs."""
    from rich.table import Table
    from rich.text import Text

    from services.cli import render

    table = Table("", "before", "now", box=None, pad_edge=False, header_style="dim")
    changed = "yellow"
    table.add_row(
        "status", str(before.status), Text(str(now.status), style=changed if different.status else "")
    )
    table.add_row(
        "body",
        render.size(len(before.body)),
        Text(render.size(len(now.body)), style=changed if different.body else ""),
    )
    for name, old, new in different.headers:
        missing = Text("-", style="dim")
        table.add_row(
            Text(name),
            missing if old is None else Text(old),
            missing if new is None else Text(new, style=changed),
        )
    console.print(table)
