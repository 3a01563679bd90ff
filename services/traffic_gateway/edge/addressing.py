"""From a request to what it means: which bucket, which target, by which scheme, and what else its client says
to the gateway. Called by `relaying`, first of all.

The form of the request target decides (RFC 9112 3.2). `host:port` is CONNECT's: a tunnel. `http://...` is for
a forward proxy; the bucket's address is the user name in Proxy-Authorization, and the password is the
bucket's token where it asks for one. All else is for the gateway itself: a host name below its domain is the
host scheme, and otherwise the path says.
"""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from functools import lru_cache
from urllib.parse import unquote_to_bytes

import msgspec
from aiohttp import web

from schemas.traffic_gateway import Origin
from services.calls.address import (
    Target,
    host_target,
    is_key,
    parse_host,
    parse_host_port,
    parse_path,
    parse_url,
)
from services.traffic_gateway.domain.headers import RawHeader
from services.traffic_gateway.domain.instructions import instructions, without_parameters
from services.traffic_gateway.domain.location import Way
from services.traffic_gateway.edge.answering import HTTP11
from services.traffic_gateway.edge.problems import proxy_auth_required

_NO_NAME = (
    "the request names no bucket: give the proxy's address with a bucket's key as user name, "
    "http_proxy=http://KEY@HOST:PORT"
)


class Called(msgspec.Struct, frozen=True):
    """key: the bucket's address. target: None for the request bin. tunnel: CONNECT, whose target has no path.
    proxied: the client takes the gateway for a forward proxy, and is told what it lacks by 407. secret: what
    the client shows for the bucket's token. playback_id: of the call whose response is asked for. websocket:
    the client asks for one (RFC 6455 4.1)."""

    key: str
    target: Target | None
    url: str
    tunnel: bool = False
    proxied: bool = False
    secret: str = ""
    playback_id: str | None = None
    websocket: bool = False

    def authorization(self, request: web.BaseRequest) -> tuple[RawHeader, ...]:
        """The header that user information in the target's URL stands for, unless the client says its own."""
        if self.target is None or not self.target.userinfo or "Authorization" in request.headers:
            return ()
        user, _, password = self.target.userinfo.partition(":")
        plain = unquote_to_bytes(user) + b":" + unquote_to_bytes(password)
        return ((b"Authorization", b"Basic " + b64encode(plain)),)

    @property
    def origin(self) -> Origin:
        """What the call is captured as."""
        if self.tunnel:
            return "tunnel"
        if self.playback_id is not None:
            return "playback"
        return "bin" if self.target is None else "gateway"


class Addresses:
    """domain: host names below it are addresses. public_scheme: by which others reach the gateway, when
    something in front of it speaks TLS with them."""

    def __init__(self, domain: str, public_url: str) -> None:
        self._domain = domain
        self._behind_tls = public_url.startswith("https:")

    def of(self, request: web.BaseRequest) -> Called:
        """Raises AddressInvalid, and Problem for a proxy's client that names no bucket."""
        if request.method == "CONNECT":
            return self._tunnel(request)
        path, parameters = without_parameters(request.raw_path)
        said = instructions(request.headers, parameters)
        host_header = request.headers.get("Host", "")
        if path[:1] != "/" and path != "*":
            own = parse_url(path)
            # A server's own address may be written out as well (RFC 9112 3.2.2).
            if "Proxy-Authorization" in request.headers or not own.authority.host.endswith(
                "." + self._domain
            ):
                return self._forward(request, path, said.bucket_auth, said.playback_id)
            host_header, path = own.authority.text, own.tail
        named = _named_host(host_header, self._domain)
        if named is None:
            address = parse_path(path)
            key, target = address.key, address.target
        else:
            key, host = named
            target = None
            if host is not None:
                target = host_target(self.scheme(request), host, said.port, path)
        url = (
            f"{self.scheme(request)}://{host_header or _own(request)}{path}" if target is None else target.url
        )
        return Called(
            key,
            target,
            url,
            secret=said.bucket_auth or "",
            playback_id=said.playback_id,
            websocket=_wants_websocket(request),
        )

    def way(self, request: web.BaseRequest, called: Called) -> Way | None:
        """How the client came, for addresses that it is given; None for a forward proxy's client."""
        if called.proxied:
            return None
        host = request.headers.get("Host", "")
        if _named_host(host, self._domain) is None:
            return Way(f"{self.scheme(request)}://{host}", called.key, by_host=False)
        _, colon, port = host.rpartition(":")
        gateway = f"{self.scheme(request)}://{self._domain}{colon}{port if colon else ''}"
        return Way(gateway, called.key, by_host=True, port=instructions(request.headers, {}).port)

    def scheme(self, request: web.BaseRequest) -> str:
        """By which clients reach the gateway."""
        return "https" if self._behind_tls else request.scheme

    def _forward(
        self, request: web.BaseRequest, url: str, bucket_auth: str | None, playback_id: str | None
    ) -> Called:
        target = parse_url(url)
        if request.method == "OPTIONS" and target.tail == "/" and not url.endswith("/"):
            target = msgspec.structs.replace(target, tail="*")  # RFC 9112 3.2.4
        key, password = _credentials(request)
        secret = bucket_auth or password
        return Called(
            key,
            target,
            target.url,
            proxied=True,
            secret=secret,
            playback_id=playback_id,
            websocket=_wants_websocket(request),
        )

    def _tunnel(self, request: web.BaseRequest) -> Called:
        authority = parse_host_port(request.raw_path)
        key, secret = _credentials(request)
        target = Target(authority, "")
        return Called(key, target, authority.text, tunnel=True, proxied=True, secret=secret)


def _own(request: web.BaseRequest) -> str:
    """Where an old client without a Host called. (aiohttp's `request.host` would ask DNS, and all calls would
    wait for the answer.)"""
    transport = request.transport
    name = None if transport is None else transport.get_extra_info("sockname")
    if not isinstance(name, tuple):
        return "localhost"
    host, port = name[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _wants_websocket(request: web.BaseRequest) -> bool:
    """As the parser sees it: it takes no request for one that it has not held the bytes behind of."""
    headers = request.headers
    if "Upgrade" not in headers:
        return False
    if [name.lower() for name in headers.getall("Upgrade", ())] != ["websocket"] or request.version < HTTP11:
        return False
    tokens = ",".join(headers.getall("Connection", [])).lower().split(",")
    return request.method == "GET" and "upgrade" in (token.strip() for token in tokens)


def _credentials(request: web.BaseRequest) -> tuple[str, str]:
    """User name and password of Basic credentials for a proxy (RFC 7617)."""
    given = request.headers.getall("Proxy-Authorization", [])
    if not given:
        raise proxy_auth_required(_NO_NAME)
    scheme, _, encoded = given[0].strip().partition(" ")
    try:
        plain = b64decode(encoded.strip(), validate=True).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        plain = ""
    key, _, password = plain.partition(":")
    if len(given) > 1 or scheme.lower() != "basic" or not is_key(key):
        raise proxy_auth_required(_NO_NAME)
    return key, password


@lru_cache(maxsize=4096)
def _named_host(host: str, domain: str) -> tuple[str, str | None] | None:
    """`parse_host`, with a memory: hosts repeat."""
    return parse_host(host, domain)
