"""Redirects that lead to the gateway again, for buckets that want them in view: `Location` of an answer, as
an address of the kind by which the client came. Pure.

    host scheme   https://api.example.com/x  ->  https://api-example-com-KEY.gw.example/x; what a host name
                  cannot say without a header that the client may not send: in the path scheme
    path scheme   https://api.example.com/x  ->  http://gw.example:7080/KEY/https://api.example.com/x;
                  relative ones too, since `/x` would mean the gateway's own root

Left as they are: relative references in the host scheme, other schemes than http and https, what is the
gateway's address already, and what nobody can read. `Content-Location` and `Link` name things; nobody is sent
there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple
from urllib.parse import urljoin

from services.calls.address import (
    DEFAULT_PORTS,
    PORT_HEADERS,
    AddressInvalid,
    Target,
    at_host,
    at_path,
    parse_url,
)
from services.traffic_gateway.domain.headers import RawHeader


class Way(NamedTuple):
    """How a client came. gateway: `scheme://host[:port]`, in the host scheme of the gateway's domain. key:
    the bucket's address. by_host: by the host scheme. port: what it said in `Trunkline-Request-Port`, which
    it is taken to say again."""

    gateway: str
    key: str
    by_host: bool
    port: str | None = None


def relocated(
    headers: Iterable[RawHeader], target: Target, way: Way, is_ours: Callable[[Target], bool]
) -> list[RawHeader]:
    """The same headers with each `Location` rewritten. target: what was called. is_ours: whether a URL is an
    address of the gateway."""
    return [
        (name, _rewritten(value, target, way, is_ours)) if name.lower() == b"location" else (name, value)
        for name, value in headers
    ]


def _rewritten(value: bytes, target: Target, way: Way, is_ours: Callable[[Target], bool]) -> bytes:
    location = value.decode("utf-8", "surrogateescape")
    url, sharp, fragment = _absolute(location, target, way).partition("#")
    try:
        to = parse_url(url)
        if is_ours(to):
            return value
        address = _by_host(url, way) or at_path(way.gateway, way.key, url)
    except AddressInvalid:
        return value
    return f"{address}{sharp}{fragment}".encode("utf-8", "surrogateescape")


def _absolute(location: str, target: Target, way: Way) -> str:
    """Empty for what is left as it is."""
    if location.startswith("//"):
        return f"{target.authority.scheme}:{location}"
    scheme, colon, _ = location.partition(":")
    if colon and scheme.lower() in DEFAULT_PORTS:
        return location
    if way.by_host or location[:1] in ("", "?", "#"):
        return ""
    try:
        return urljoin(target.url, location)
    except ValueError:
        return ""


def _by_host(url: str, way: Way) -> str | None:
    """None when the client would have to send another port header than it did."""
    if not way.by_host:
        return None
    try:
        address, headers = at_host(way.gateway, way.key, url)
    except AddressInvalid:
        return None
    implied = str(DEFAULT_PORTS[way.gateway.partition(":")[0]])
    wanted = headers.get(PORT_HEADERS[0], implied)
    return address if wanted == (way.port or implied).strip() else None
