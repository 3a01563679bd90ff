"""Gateway addresses: how a client names a bucket and a target to the Traffic Gateway. Pure.

    path scheme   http://127.0.0.1:7080/KEY/https://api.example.com:8443/x?y
                  also /KEY/https:/host/... and /KEY/https/host/..., because clients collapse slashes
    host scheme   http://foo--bar-example-org-KEY.gw.example/x        (foo-bar.example.org)
                  "-" in the host is doubled, then "." turned into "-"; `Trunkline-Request-Port`
                  names another port
    forward proxy the target as it is, http://host/x or host:443 (CONNECT); the bucket is told apart from it
    request bin   http://127.0.0.1:7080/KEY  or  http://KEY.gw.example/anything

Read by the gateway's edge; written by `trunkline url`. Path and query are kept character for character:
nothing is decoded, re-encoded or normalised. The host's letters are lowered, a default port is dropped, an
internationalised name gets its xn-- form (UTS 46), for these are what goes into DNS and Host. User
information is kept apart from the URL, so that it is never captured. Raises AddressInvalid, naming what is
wrong.
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from typing import Literal
from urllib.parse import unquote_to_bytes

import msgspec

Scheme = Literal["http", "https"]

KEY_CHARS = 12
PORT_HEADERS = ("Trunkline-Request-Port", "Runscope-Request-Port")
DEFAULT_PORTS: dict[str, int] = {"http": 80, "https": 443}
MAX_HOST_CHARS = 253  # RFC 1035 2.3.4, without the final dot
MAX_LABEL_CHARS = 63

_SCHEMES: dict[str, Scheme] = {"http": "http", "https": "https"}
_KEY = re.compile(rf"[a-z0-9]{{{KEY_CHARS}}}")
_BY_PATH = re.compile(rf"/([a-z0-9]{{{KEY_CHARS}}})(?:/(.*))?", re.DOTALL)
_TARGET = re.compile(r"(https?)(?:(?::|%3A)/{1,2}|/)([^/?#]*)(.*)", re.DOTALL | re.IGNORECASE)
_URL = re.compile(r"(https?)://([^/?#]*)(.*)", re.DOTALL | re.IGNORECASE)
_LABEL = re.compile(r"[A-Za-z0-9_-]+")
_ANY_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")


class AddressInvalid(ValueError):
    """`str(error)` says what is wrong with the address, in words for the person who wrote it."""


class Authority(msgspec.Struct, frozen=True):
    """Where a target is. host: lower case, an IPv6 address without its brackets. text: `host[:port]` as it
    stands in a URL and in the Host header, the port left out when it is the scheme's own."""

    scheme: Scheme
    host: str
    port: int
    text: str


class Target(msgspec.Struct, frozen=True):
    """What is called. tail: path and query exactly as the client wrote them; begins with `/` (RFC 9112 3.2.1)
    or is `*`. userinfo: `user:password` as it stood in the URL, percent-encoded."""

    authority: Authority
    tail: str
    userinfo: str = ""

    @property
    def url(self) -> str:
        """Without the user information."""
        return f"{self.authority.scheme}://{self.authority.text}{self.tail}"


class Address(msgspec.Struct, frozen=True):
    """A bucket's key and what to call; no target means a request bin."""

    key: str
    target: Target | None


def is_key(text: str) -> bool:
    return _KEY.fullmatch(text) is not None


def parse_path(path: str) -> Address:
    """The address that a request target of the path scheme means, e.g. `/KEY/https://host/x?y`. `/KEY` and
    `/KEY/` are the bucket's request bin."""
    match = _BY_PATH.fullmatch(path)
    if match is None:
        key, slash, rest = path[1:].partition("?")[0].partition("/")
        if path.startswith("/") and is_key(key) and not slash:
            return Address(key, None)  # /KEY?query
        raise AddressInvalid(
            f"{_short(key)} is no bucket key ({KEY_CHARS} characters a-z and 0-9); "
            "write /KEY/https://host/path, or use KEY's host name"
        )
    key, rest = match.group(1), match.group(2) or ""
    if not rest or rest[0] in "?#":
        return Address(key, None)
    return Address(key, parse_target(rest))


def parse_target(text: str) -> Target:
    """A target as it stands in the path scheme behind the key, collapsed slashes allowed."""
    match = _TARGET.fullmatch(text)
    if match is None:
        other = _ANY_SCHEME.match(text)
        if other is not None:
            raise AddressInvalid(
                f"the target's scheme is {_short(other.group(1))}; only http and https are relayed"
            )
        raise AddressInvalid(f"the target {_short(text)} does not begin with http:// or https://")
    return _target(match.group(1), match.group(2), match.group(3))


def parse_url(url: str) -> Target:
    """An absolute http or https URL; a fragment is dropped, for it never goes on the wire."""
    match = _URL.fullmatch(url)
    if match is None:
        raise AddressInvalid(f"{_short(url)} is no absolute http:// or https:// URL")
    return _target(match.group(1), match.group(2), match.group(3).partition("#")[0])


def parse_host_port(text: str) -> Authority:
    """The target of CONNECT, `host:port` (RFC 9112 3.2.3); the port must be there. Its `text` names it
    always."""
    if "@" in text:
        raise AddressInvalid("the target of CONNECT is host:port, without user information")
    if not re.search(r":[0-9]+\Z", text):
        raise AddressInvalid(f"the target of CONNECT is {_short(text)}; write host:port")
    found = parse_authority("https", text)
    shown = f"[{found.host}]" if ":" in found.host else found.host
    return Authority("https", found.host, found.port, f"{shown}:{found.port}")


def _target(scheme: str, authority: str, tail: str) -> Target:
    userinfo, at, where = authority.rpartition("@")
    if "@" in userinfo:
        raise AddressInvalid("the target's user information holds an @; write it as %40")
    return Target(parse_authority(scheme.lower(), where if at else authority), _tail(tail), userinfo)


@lru_cache(maxsize=4096)
def parse_authority(scheme: str, text: str) -> Authority:
    """`host[:port]` of a target. Remembers good answers: targets repeat."""
    known = _SCHEMES.get(scheme)
    if known is None:
        raise AddressInvalid(f"the target's scheme is {_short(scheme)}; only http and https are relayed")
    if "@" in text:
        raise AddressInvalid("user information (user:password@) stands where only host:port may")
    if "%" in text:  # clients that take the target for a path encode what a path may not hold
        text = unquote_to_bytes(text).decode("utf-8", "surrogateescape")
    if text.startswith("["):
        end = text.find("]") + 1
        shown, after = text[:end].lower(), text[end:]
        host = shown[1:-1]
        if not _is_ipv6(host):
            raise AddressInvalid(f"{_short(text)} holds no IPv6 address in brackets")
    else:
        colon = text.find(":")
        raw, after = (text, "") if colon < 0 else (text[:colon], text[colon:])
        shown = host = _host(raw)
    default = DEFAULT_PORTS[known]
    if after[:1] not in ("", ":"):
        raise AddressInvalid(
            f"{_short(after)} stands behind the target's address; only a port may, as in [::1]:8080"
        )
    port = parse_port(after[1:]) if len(after) > 1 else default
    return Authority(known, host, port, shown if port == default else f"{shown}:{port}")


def parse_port(text: str) -> int:
    if text.isascii() and text.isdigit() and len(text) <= 5 and 0 < int(text) < 65536:
        return int(text)
    raise AddressInvalid(f"port {_short(text)} is no number from 1 to 65535")


def parse_host(host: str, domain: str) -> tuple[str, str | None] | None:
    """What a Host header means in the host scheme: the bucket's key and the target's host, no host for a
    request bin. None when it is no name below the gateway's `domain`, so that the path scheme applies. A port
    in `host` is the gateway's own."""
    name = host.lower()
    if not name.endswith("]"):
        name = name.partition(":")[0]
    if not name.endswith("." + domain):
        return None
    label = name[: -len(domain) - 1]
    if "." in label:
        raise AddressInvalid(
            f"{_short(label)} holds dots; in a gateway's host name they are written as hyphens"
        )
    key = label[-KEY_CHARS:]
    if not is_key(key) or (len(label) > KEY_CHARS and label[-KEY_CHARS - 1] != "-"):
        raise AddressInvalid(
            f"{_short(label)} does not end in a bucket key ({KEY_CHARS} characters a-z and 0-9)"
        )
    if len(label) == KEY_CHARS:
        return key, None
    return key, _decode_host(label[: -KEY_CHARS - 1])


def host_target(scheme: str, host: str, port: str | None, tail: str) -> Target:
    """The target of a host-scheme request. `scheme`: how the client reached the gateway; `port`: the port
    header's value. Ports 443 and 80 mean https and http however the gateway itself is reached."""
    if port is None:
        return Target(parse_authority(scheme, host), _tail(tail))
    number = parse_port(port.strip())
    return Target(parse_authority(_scheme_of(scheme, number), f"{host}:{number}"), _tail(tail))


def at_path(gateway: str, key: str, url: str) -> str:
    """The path-scheme address of `url` in a bucket. `gateway`: e.g. `http://127.0.0.1:7080`."""
    target = parse_url(url)
    where = target.authority
    shown = f"{target.userinfo}@{where.text}" if target.userinfo else where.text
    return f"{gateway.rstrip('/')}/{_checked_key(key)}/{where.scheme}://{shown}{target.tail}"


def at_host(gateway: str, key: str, url: str) -> tuple[str, dict[str, str]]:
    """The host-scheme address of `url` and the headers to send with it. `gateway`: `scheme://domain[:port]`
    of the gateway, e.g. `http://localhost:7080`. Raises AddressInvalid for targets that a host name cannot
    hold (use the path scheme)."""
    target = parse_url(url)
    where = target.authority
    if target.userinfo:
        raise AddressInvalid("a host name cannot hold user information; use the path scheme")
    if ":" in where.host:
        raise AddressInvalid(f"{where.text} is no host name; use the path scheme")
    label = f"{_encode_host(where.host)}-{_checked_key(key)}"
    if len(label) > MAX_LABEL_CHARS:
        raise AddressInvalid(
            f"the host name would begin with a part of {len(label)} characters, "
            f"DNS allows {MAX_LABEL_CHARS}; use the path scheme"
        )
    scheme, _, rest = gateway.rstrip("/").partition("://")
    if _scheme_of(scheme, where.port) != where.scheme:
        raise AddressInvalid(
            f"{where.scheme} on port {where.port} cannot be said to a gateway reached by {scheme}; "
            "use the path scheme"
        )
    headers = {} if where.port == DEFAULT_PORTS[scheme] else {PORT_HEADERS[0]: str(where.port)}
    return f"{scheme}://{label}.{rest}{target.tail}", headers


def _scheme_of(gateway_scheme: str, port: int) -> str:
    """What a port says about the scheme: the well-known ports decide, any other leaves it as the
    gateway's."""
    for scheme, known in DEFAULT_PORTS.items():
        if port == known:
            return scheme
    return gateway_scheme


def _tail(text: str) -> str:
    if text[:1] == "/" or text == "*":
        return text
    return "/" + text


def _host(text: str) -> str:
    if not text:
        raise AddressInvalid("the target names no host")
    if not text.isascii():
        text = to_ascii(text)
    labels = text.removesuffix(".").split(".")
    for label in labels:
        if not label:
            raise AddressInvalid(f"host {_short(text)} has an empty part between its dots")
        if not _LABEL.fullmatch(label):
            raise AddressInvalid(f"host {_short(text)} holds a character that no host name has")
        if len(label) > MAX_LABEL_CHARS:
            raise AddressInvalid(
                f"host {_short(text)} has a part of {len(label)} characters; DNS allows {MAX_LABEL_CHARS}"
            )
    if len(text) > MAX_HOST_CHARS + text.endswith("."):
        raise AddressInvalid(f"host {_short(text)} has {len(text)} characters; DNS allows {MAX_HOST_CHARS}")
    return text.lower()


def to_ascii(text: str) -> str:
    """The xn-- form of an internationalised host name (UTS 46, RFC 5891). Raises AddressInvalid."""
    if len(text) > MAX_HOST_CHARS:  # it only grows
        raise AddressInvalid(f"host {_short(text)} has {len(text)} characters; DNS allows {MAX_HOST_CHARS}")
    import idna  # here: few names need it, and its tables are large

    try:
        return idna.encode(text, uts46=True).decode("ascii")
    except (idna.IDNAError, UnicodeError) as error:
        reason = str(error).encode("ascii", "backslashreplace").decode("ascii")
        raise AddressInvalid(
            f"host {_short(text)} has no xn-- form ({reason}); such names are not in DNS"
        ) from error


def _is_ipv6(text: str) -> bool:
    try:
        return ipaddress.IPv6Address(text).scope_id is None
    except ValueError:
        return False


def _encode_host(host: str) -> str:
    for label in host.split("."):
        if not label or label[0] == "-" or label[-1] == "-":
            raise AddressInvalid(
                f"host {_short(host)} cannot stand in a host name of the gateway; use the path scheme"
            )
    return host.replace("-", "--").replace(".", "-")


def _decode_host(text: str) -> str:
    def turn(run: re.Match[str]) -> str:
        length = len(run.group())
        if length == 1:
            return "."
        if length % 2:
            raise AddressInvalid(
                f"{_short(text)} is ambiguous: {length} hyphens in a row; use the path scheme"
            )
        return "-" * (length // 2)

    return re.sub("-+", turn, text)


def _checked_key(key: str) -> str:
    if not is_key(key):
        raise AddressInvalid(f"{_short(key)} is no bucket key ({KEY_CHARS} characters a-z and 0-9)")
    return key


def _short(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:77] + "...")
