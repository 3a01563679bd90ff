"""`trunkline buckets create`, `set`, `rotate`, `guard`, `unguard` and `delete`."""

from __future__ import annotations

import json
from typing import Annotated, Any

from cyclopts import Parameter

from services.cli import bucket_settings, exits
from services.cli.buckets import path_of, print_one
from services.cli.client import Api
from services.cli.exits import Trouble
from services.cli.prompts import confirm
from services.cli.selection import seconds
from services.cli.where import ANYWHERE, Where

Setting = Annotated[
    str,
    Parameter(
        help="name=value: name, capture (relaxed, strict, off), body_cap_bytes (64KiB), sampling (0 to 1), "
        "retention.max_age_s (30d, none), retention.max_calls, retention.max_bytes, redaction.mode (default, "
        "strict, raw), redaction.headers, redaction.paths, redaction.patterns, verify_tls, allowed_hosts "
        "(a.example,*.b.example), denied_hosts, rewrite_location, notes. Lists are a,b, or JSON where one "
        "holds a comma; an empty one is allowed_hosts= alone."
    ),
]
IfVersion = Annotated[int | None, Parameter(name="--if-version", help="Only if it has this version still.")]


def create(
    name: str,
    /,
    *settings: Setting,
    key: Annotated[
        str | None, Parameter(help="12 letters and digits, a-z and 0-9, of your choice; else it is chosen.")
    ] = None,
    where: Where = ANYWHERE,
) -> None:
    """Make a bucket.

    Parameters
    ----------
    name
        What people call it.
    """
    given = bucket_settings.read(settings)
    if "name" in given:
        raise Trouble("the name is given twice", remedy="Leave name=... out.", exit_code=exits.USAGE)
    with Api(where.credentials()) as api:
        if key is None:
            from services.cli.settling import new_key

            wanted = new_key()
        else:
            wanted = key
            _check_new(api, key)
        made = api.send("PUT", path_of(wanted), {"name": name, **bucket_settings.nested(given, {})})
    if where.json:
        print(json.dumps(made, indent=2))
        return
    print(f"Bucket {made['key']} is there: {made['name']}")
    print(f"Call through it: trunkline url URL --bucket {made['key']}")


def _check_new(api: Api, key: str) -> None:
    """A PUT would change a bucket that is there. Raises Trouble."""
    try:
        there = api.get(path_of(key))
    except Trouble as trouble:
        if trouble.exit_code != exits.NOT_THERE:
            raise
        return
    raise Trouble(
        f"there is a bucket {key} already: {there['name']}",
        remedy=f"Change it with `trunkline buckets set {key} name=value`.",
        exit_code=exits.INVALID,
        slug="bucket-exists",
    )


def set_(
    key: str,
    /,
    *settings: Setting,
    if_version: IfVersion = None,
    where: Where = ANYWHERE,
) -> None:
    """Change some of a bucket's settings; the others stay.

    Parameters
    ----------
    key
        The bucket's key.
    """
    given = bucket_settings.read(settings)
    if not given:
        raise Trouble(
            "no setting is named",
            remedy=f"Write name=value. There are: {', '.join(bucket_settings.known())}.",
            exit_code=exits.USAGE,
        )
    with Api(where.credentials()) as api:
        now: dict[str, Any] = {}
        if any("." in name for name in given):
            # The API takes these groups whole: the change is refused when somebody else made one meanwhile.
            now = api.get(path_of(key))
            if_version = now["version"] if if_version is None else if_version
        changed = api.send("PATCH", path_of(key), bucket_settings.nested(given, now), if_version=if_version)
    if where.json:
        print(json.dumps(changed, indent=2))
    else:
        print_one(changed)


def rotate(
    key: str,
    /,
    *,
    overlap: Annotated[
        str | None, Parameter(help="How long the present address still works: 0s to 30d, a day unless given.")
    ] = None,
    where: Where = ANYWHERE,
) -> None:
    """Give a bucket another gateway address. Its key stays, and so does what it holds.

    Parameters
    ----------
    key
        The bucket's key.
    """
    overlap_s = None if overlap is None else seconds(overlap, "--overlap")
    with Api(where.credentials()) as api:
        changed = api.send("POST", f"{path_of(key)}/address", {"overlap_s": overlap_s})
    if where.json:
        print(json.dumps(changed, indent=2))
        return
    print(f"Bucket {changed['key']} is called by {changed['address']} from now on.")
    for former in changed["former_addresses"]:
        print(f"{former['address']} still works until {former['ends_at']}.")


def guard(key: str, /, *, where: Where = ANYWHERE) -> None:
    """Let in only clients that send a token, and show that token, once. A second time: a new one.

    Parameters
    ----------
    key
        The bucket's key.
    """
    with Api(where.credentials()) as api:
        made = api.send("POST", f"{path_of(key)}/auth-token")
    if where.json:
        print(json.dumps(made, indent=2))
        return
    print(f"Trunkline-Bucket-Auth: {made['secret']}")
    print(f"Clients of bucket {made['key']} must send this header. It is shown this once.")


def unguard(key: str, /, *, where: Where = ANYWHERE) -> None:
    """Let in everybody who knows the bucket's address.

    Parameters
    ----------
    key
        The bucket's key.
    """
    with Api(where.credentials()) as api:
        changed = api.send("DELETE", f"{path_of(key)}/auth-token")
    if where.json:
        print(json.dumps(changed, indent=2))
    else:
        print(f"Bucket {changed['key']} lets in all clients that know its address.")


def delete(
    key: str,
    /,
    *,
    yes: Annotated[bool, Parameter(help="Do not ask.")] = False,
    if_version: IfVersion = None,
    where: Where = ANYWHERE,
) -> None:
    """Delete a bucket and erase its calls, starred and shared ones too.

    Parameters
    ----------
    key
        The bucket's key.
    """
    with Api(where.credentials()) as api:
        if not yes:
            there = api.get(path_of(key))
            goes = (
                f"Bucket {key} ({there['name']}) takes no more calls, and all calls that it holds are erased,"
                " starred and shared ones too."
            )
            confirm(goes, yes=yes, as_json=where.json)
        gone = api.send("DELETE", path_of(key), if_version=if_version)
    if where.json:
        print(json.dumps(gone, indent=2))
    else:
        print(f"Bucket {gone['key']} ({gone['name']}) is deleted; its calls are being erased.")
