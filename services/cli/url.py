"""`trunkline url`: through which address a URL is called so that the call is captured."""

from __future__ import annotations

import json
import sys
from typing import Annotated
from urllib.parse import urlsplit

from cyclopts import Parameter

from services.calls import address
from services.cli import exits
from services.cli.buckets import path_of
from services.cli.credentials import Credentials
from services.cli.exits import Trouble
from services.cli.where import ANY_BUCKET, InBucket

_LOOPBACK = ("127.0.0.1", "::1", "localhost")


def url(
    url: str,
    /,
    *,
    host: Annotated[bool, Parameter(help="As a host name, KEY in front of the gateway's domain.")] = False,
    domain: Annotated[str | None, Parameter(help="The gateway's domain, for --host.")] = None,
    where: InBucket = ANY_BUCKET,
) -> None:
    """The gateway address of a URL.

    Parameters
    ----------
    url
        The http:// or https:// URL of the API to call.
    """
    credentials = where.credentials()
    gateway, key = credentials.need_gateway(), where.key(credentials)
    called_by = _address(credentials, key)
    headers: dict[str, str] = {}
    try:
        if host:
            found, headers = address.at_host(_with_domain(gateway, domain), called_by, url)
        else:
            found = address.at_path(gateway, called_by, url)
    except address.AddressInvalid as error:
        raise Trouble(str(error), exit_code=exits.USAGE, slug="address-invalid") from error
    if where.json:
        print(json.dumps({"url": found, "headers": headers}))
        return
    print(found)
    for name, value in headers.items():
        print(f"Send the header {name}: {value}", file=sys.stderr)


def _address(credentials: Credentials, key: str) -> str:
    """What the gateway calls the bucket by: its key, until that was rotated. Without an API that tells, the
    key: a bucket that was never rotated is called by it."""
    from services.cli.client import Api

    if not credentials.api_url:
        return key
    try:
        with Api(credentials) as api:
            return str(api.get(path_of(key)).get("address") or key)
    except Trouble:
        return key


def _with_domain(gateway: str, domain: str | None) -> str:
    """The gateway's address by its domain. On one machine that is `localhost`, below which every name is this
    machine (RFC 6761 6.3)."""
    parts = urlsplit(gateway)
    name = domain or ("localhost" if parts.hostname in _LOOPBACK else parts.hostname)
    return f"{parts.scheme}://{name}{f':{parts.port}' if parts.port else ''}"
