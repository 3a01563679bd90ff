"""`trunkline erase` and `erase-subject`: calls that go for good, and how far that is."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Annotated, Any

from cyclopts import Parameter

from bus.clock import SystemClock
from services.cli import exits
from services.cli.buckets import path_of
from services.cli.client import Api
from services.cli.exits import Trouble
from services.cli.prompts import confirm
from services.cli.selection import located
from services.cli.where import ANY_BUCKET, ANYWHERE, InBucket, Where

FIRST_LOOK_S = 0.1
SLOWEST_LOOK_S = 2.0

Yes = Annotated[bool, Parameter(help="Do not ask.")]
Why = Annotated[str | None, Parameter(help="The reason; the log keeps it for ever.")]


def erase(
    id: str,
    /,
    *,
    yes: Yes = False,
    why: Why = None,
    where: InBucket = ANY_BUCKET,
) -> None:
    """Erase one call for good, and all that was said of it.

    Parameters
    ----------
    id
        The call's id, the end of it as `trunkline calls` shows it, or `last`.
    """
    credentials = where.credentials()
    with Api(credentials) as api:
        bucket, whole = located(api, where.bucket, credentials.bucket, id)
        goes = f"The call {whole} in bucket {bucket} is erased, with its bodies and all that was said of it."
        confirm(goes, yes=yes, as_json=where.json)
        done = api.send("POST", f"{path_of(bucket)}/calls/{whole}/erasure", {"why": why})
    if where.json:
        print(json.dumps(done, indent=2))
    else:
        print(f"{whole} is erased.")


def erase_subject(
    bucket: str,
    /,
    *,
    value: Annotated[str, Parameter(help="The whole value that stands there.")],
    header: Annotated[str | None, Parameter(name="--header", help="The header that it stands in.")] = None,
    path: Annotated[
        str | None, Parameter(help="Or the place in JSON bodies, such as `$.user.id` or `$..email`.")
    ] = None,
    yes: Yes = False,
    why: Why = None,
    wait: Annotated[
        bool, Parameter(negative="--no-wait", help="Stay until it is finished; --no-wait: order it only.")
    ] = True,
    where: Where = ANYWHERE,
) -> None:
    """Erase every call of a bucket in which a value stands, in request or response, recorded until now.

    Parameters
    ----------
    bucket
        Its key.
    """
    if (header is None) == (path is None):
        raise Trouble(
            "say where the value stands: either --header or --path",
            remedy="Write --header X-User-Id, or --path '$.user.id' for JSON bodies.",
            exit_code=exits.USAGE,
        )
    place = f"header {header}" if header is not None else f"JSON {path}"
    goes = f"Every call of bucket {bucket} with this value in {place} is erased, starred and shared ones too."
    confirm(goes, yes=yes, as_json=where.json)
    body = {"value": value, "header": header, "path": path, "why": why}
    with Api(where.credentials()) as api:
        erasures = f"{path_of(bucket)}/erasures"
        erasure = api.send("POST", erasures, body)
        if wait:
            erasure = _followed(api, f"{erasures}/{erasure['id']}", erasure)
    if where.json:
        print(json.dumps(erasure, indent=2))
    elif erasure["state"] == "finished":
        print(f"{erasure['calls']} calls and {erasure['bodies']} bodies are erased.")
    else:
        print(f"It is ordered, and goes on by itself: GET {path_of(bucket)}/erasures/{erasure['id']}")


def _followed(api: Api, path: str, erasure: dict[str, Any]) -> dict[str, Any]:
    """The erasure when it is finished, its progress shown at a terminal. Ctrl-C leaves it going on. Raises
    Trouble."""
    clock = SystemClock()
    look_s = FIRST_LOOK_S
    shows = sys.stderr.isatty()
    try:
        while erasure["state"] != "finished":
            asyncio.run(clock.sleep(look_s))
            look_s = min(look_s * 1.5, SLOWEST_LOOK_S)
            erasure = api.get(path)
            if shows:
                seen = f"looked at {erasure['looked_at']} of {erasure['of']} calls"
                print(f"\r{seen}, {erasure['calls']} erased", end="", file=sys.stderr, flush=True)
    finally:
        if shows:
            print(file=sys.stderr)
            if erasure["state"] != "finished":
                print("The erasure goes on by itself.", file=sys.stderr)
    return erasure
