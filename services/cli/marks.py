"""`trunkline star`, `unstar`, `note`, `tag`, `share`, `unshare`, `delete`, `undelete`: what people say of a
call. Each can be repeated, and answers with all that is said of the call then."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Annotated, Any

from cyclopts import Parameter

from bus.clock import SystemClock
from services.cli import exits
from services.cli.buckets import path_of
from services.cli.client import Api
from services.cli.exits import Trouble
from services.cli.selection import ending, located
from services.cli.where import ANY_BUCKET, InBucket

Id = Annotated[str, Parameter(help="The call's id, the end of it as `trunkline calls` shows it, or `last`.")]
Marks = dict[str, Any]


def star(id: Id, /, *, where: InBucket = ANY_BUCKET) -> None:
    """Star a call: retention leaves it alone."""
    _mark(where, id, "PUT", "/star", lambda marks: f"{marks['id']} is starred.")


def unstar(id: Id, /, *, where: InBucket = ANY_BUCKET) -> None:
    """Take the star from a call."""
    _mark(where, id, "DELETE", "/star", lambda marks: f"{marks['id']} is not starred.")


def note(
    id: Id,
    text: Annotated[str, Parameter(help="The note; an empty one, '', removes it.")],
    /,
    *,
    where: InBucket = ANY_BUCKET,
) -> None:
    """Write a note on a call, in place of the one it has."""
    _mark(where, id, "PATCH", "", _annotated, {"note": text})


def tag(
    id: Id,
    /,
    *tags: Annotated[str, Parameter(help="`+name` or `name` adds a tag, `-name` takes it away.")],
    where: InBucket = ANY_BUCKET,
) -> None:
    """Add tags to a call, and take some away: `trunkline tag last +slow -new`."""
    words = [each.strip() for each in tags]
    added = [each.removeprefix("+") for each in words if not each.startswith("-")]
    removed = [each[1:] for each in words if each.startswith("-")]
    both = sorted(set(added) & set(removed))
    if not words or not all((*added, *removed)) or both:
        raise Trouble(
            f"{both[0]!r} is added and taken away" if both else "no tag is named",
            remedy="Write `trunkline tag ID +slow -new`.",
            exit_code=exits.USAGE,
        )
    _mark(where, id, "PATCH", "", _annotated, {"add_tags": added, "remove_tags": removed})


def share(
    id: Id,
    /,
    *,
    expires: Annotated[
        str | None, Parameter(help="When the link ends: 12h, 7d, 4w from now, or a time. Else never.")
    ] = None,
    where: InBucket = ANY_BUCKET,
) -> None:
    """Let whoever has the link read a call, and print the link. Shared again, it keeps its link."""
    expires_at = ending(expires, SystemClock(), "--expires")
    credentials = where.credentials()
    with Api(credentials) as api:
        path = _path(api, where, id)
        marks = api.send("PUT", f"{path}/share", {"expires_at": expires_at})
        link = f"{api.url}/v1/shared/{marks['share']}"
    if where.json:
        print(json.dumps(marks | {"url": link}, indent=2))
    else:
        print(link)


def unshare(id: Id, /, *, where: InBucket = ANY_BUCKET) -> None:
    """End a call's link."""
    _mark(where, id, "DELETE", "/share", lambda marks: f"{marks['id']} is not shared.")


def delete(id: Id, /, *, where: InBucket = ANY_BUCKET) -> None:
    """Take a call out of sight. `trunkline undelete` brings it back, until retention takes it a day later."""

    def said(marks: Marks) -> str:
        back = f"trunkline undelete {marks['id']} --bucket {marks['bucket']}"
        return f"{marks['id']} is deleted. To bring it back: {back}"

    _mark(where, id, "DELETE", "", said)


def undelete(
    id: Annotated[str, Parameter(help="The call's whole id.")], /, *, where: InBucket = ANY_BUCKET
) -> None:
    """Bring a deleted call back."""
    _mark(where, id, "POST", "/restoration", lambda marks: f"{marks['id']} is there again.")


def _mark(
    where: InBucket,
    id: str,
    method: str,
    below: str,
    said: Callable[[Marks], str],
    body: dict[str, object] | None = None,
) -> None:
    with Api(where.credentials()) as api:
        marks = api.send(method, _path(api, where, id) + below, body)
    if where.json:
        print(json.dumps(marks, indent=2))
    else:
        print(said(marks))


def _path(api: Api, where: InBucket, id: str) -> str:
    """Where the API has the call, for changes. Raises Trouble."""
    bucket, whole = located(api, where.bucket, where.credentials().bucket, id)
    return f"{path_of(bucket)}/calls/{whole}"


def _annotated(marks: Marks) -> str:
    tags = " ".join(f"+{each}" for each in marks["tags"])
    said = " · ".join(part for part in (tags, marks["note"]) if part)
    return f"{marks['id']}: {said or 'no note, no tags'}"
