"""Which calls are meant: the query and the filters that `calls`, `tail` and `export` share, and call ids as
people write them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from cyclopts import Parameter

from bus.clock import Clock
from services.cli import exits
from services.cli.client import PAGE, Api
from services.cli.exits import Trouble

SEARCHED_CALLS = 5000
SHORT_CHARS = 8

_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|h|d|w)")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_WHOLE_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


@Parameter(name="*")
@dataclass(frozen=True)
class Filters:
    method: Annotated[str | None, Parameter(help="Only this method, such as POST.")] = None
    host: Annotated[str | None, Parameter(help="Only this host.")] = None
    path: Annotated[str | None, Parameter(help="Only paths that begin with this.")] = None
    status: Annotated[str | None, Parameter(help="Only this status, or a class such as 5xx.")] = None
    since: Annotated[str | None, Parameter(help="Not older than: a time, or 30s, 10m, 2h, 1d ago.")] = None
    before: Annotated[str | None, Parameter(help="Older than: a time, or 30s, 10m, 2h, 1d ago.")] = None
    error: Annotated[
        bool | None,
        Parameter(negative="--no-error", help="Only calls that failed on the way; or none of them."),
    ] = None

    def parameters(self, query: str, clock: Clock) -> dict[str, object]:
        """As the API's parameters, together with a query. Raises Trouble."""
        return {
            "q": query.strip() or None,
            "method": self.method,
            "host": self.host,
            "path": self.path,
            "status": self.status,
            "since": moment(self.since, clock, "--since"),
            "before": moment(self.before, clock, "--before"),
            "error": self.error,
        }


EVERYTHING = Filters()

Query = Annotated[
    str,
    Parameter(
        help="Which calls, such as 'status:5xx -path:/health', quoted for the shell (docs/query.md).",
    ),
]


def moment(text: str | None, clock: Clock, option: str) -> str | None:
    """`10m` (ago), or an ISO 8601 time, local unless it names its zone, as RFC 3339 in UTC. Raises
    Trouble."""
    return _time(text, clock, option, -1, "10m, 2h or 1d for that long ago")


def ending(text: str | None, clock: Clock, option: str) -> str | None:
    """`30d` (from now), or an ISO 8601 time, as `moment` takes it. Raises Trouble."""
    return _time(text, clock, option, 1, "12h, 30d or 4w for that long from now")


def _time(text: str | None, clock: Clock, option: str, direction: int, spans: str) -> str | None:
    if text is None:
        return None
    span = _SPAN.fullmatch(text.strip())
    try:
        if span is not None:
            away = timedelta(seconds=float(span.group(1)) * _SECONDS[span.group(2)])
            found = clock.now() + direction * away
        else:
            found = datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        raise Trouble(
            f"{option} {text!r} is no time",
            remedy=f"Write {spans}, or a time such as 2026-01-31T12:00.",
            exit_code=exits.USAGE,
        ) from None
    return found.isoformat().replace("+00:00", "Z")


def seconds(text: str, option: str) -> int:
    """How long `90`, `30s`, `10m`, `2h`, `1d` or `1w` is, in whole seconds. Raises Trouble."""
    span = _SPAN.fullmatch(text.strip())
    try:
        return int(float(span.group(1)) * _SECONDS[span.group(2)]) if span is not None else int(text)
    except (ValueError, OverflowError):
        raise Trouble(
            f"{option} {text!r} is no span of time",
            remedy="Write 30s, 10m, 2h, 1d or 1w, or a number of seconds.",
            exit_code=exits.USAGE,
        ) from None


def pages(api: Api, bucket: str, query: dict[str, object], limit: int) -> Iterator[dict[str, Any]]:
    """The API's pages of matching calls, newest first, up to `limit` calls in all."""
    cursor: object = None
    left = limit
    while left > 0:
        page = api.get(f"/v1/buckets/{bucket}/calls", {**query, "limit": min(left, PAGE), "cursor": cursor})
        yield page
        left -= len(page["calls"])
        cursor = page["next_cursor"]
        if cursor is None:
            return


def is_whole(text: str) -> bool:
    """Whether this is a call's id, and not its end or `last`."""
    return _WHOLE_ID.fullmatch(text) is not None


def located(api: Api, bucket: str | None, default: str, text: str) -> tuple[str, str]:
    """The bucket and the id of a call. bucket: None when none is named: then a whole id alone says where the
    call is. default: looked into for what is no whole id, and for a call that is deleted, empty when there is
    none. Raises Trouble."""
    id = text.strip().lower()
    if bucket is None and is_whole(id):
        try:
            return str(api.get(f"/v1/calls/{id}")["bucket"]), id
        except Trouble as trouble:
            if trouble.exit_code != exits.NOT_THERE or not default:
                raise
    key = bucket or default
    if not key:
        raise Trouble(
            "no bucket is named",
            remedy="Name it with --bucket, or write the call's whole id.",
            exit_code=exits.USAGE,
        )
    return key, whole_id(api, key, text)


def whole_id(api: Api, bucket: str, text: str) -> str:
    """A call's id from what a person wrote: the id, its last characters as `calls` shows them, or `last` for
    the newest. Raises Trouble."""
    wanted = text.strip().lower().lstrip("…")
    if is_whole(wanted):
        return wanted
    if wanted == "last":
        newest = [call for page in pages(api, bucket, {}, 1) for call in page["calls"]]
        if not newest:
            raise Trouble(
                f"bucket {bucket} holds no call yet",
                remedy="Send one through the address that `trunkline url` gives.",
                exit_code=exits.NOT_THERE,
            )
        return str(newest[0]["id"])
    found: list[str] = []
    if len(wanted) >= 4:
        for page in pages(api, bucket, {}, SEARCHED_CALLS):
            found += [call["id"] for call in page["calls"] if call["id"].endswith(wanted)]
            if len(found) > 1:
                raise Trouble(
                    f"{text!r} is the end of several calls' ids",
                    remedy="Write more of it; `trunkline calls --json` has the whole ids.",
                    exit_code=exits.USAGE,
                )
    if not found:
        raise Trouble(
            f"no call has the id {text!r}",
            remedy=f"`trunkline calls` lists them; the end of an id finds the newest {SEARCHED_CALLS} only.",
            exit_code=exits.NOT_THERE,
        )
    return found[0]
