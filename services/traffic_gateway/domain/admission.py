"""Whether a bucket's calls may be made: the token that its clients must show, and the hosts that they may
call. Pure; called by `edge.permitting`.

Hosts are compared as names and addresses are written, before anything is resolved: letters lowered, a final
dot dropped, names of other scripts in their `xn--` form (RFC 5890), IPv4 addresses as the system's resolver
reads them (`127.1`, `0x7f000001`), and IPv4 addresses in IPv6 ones (`::ffff:127.0.0.1`) as what they are.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
import socket
from collections.abc import Iterable
from contextlib import suppress
from functools import lru_cache
from typing import Literal

from services.calls.address import AddressInvalid, to_ascii

Verdict = Literal["admitted", "missing", "refused"]

_NUMBER = r"(?:0[xX][0-9a-fA-F]*|[0-9]+)"
_OLD_IPV4 = re.compile(rf"{_NUMBER}(?:\.{_NUMBER}){{0,3}}")  # what inet_aton(3) takes


def verdict(guard_sha256: str, secret: str) -> Verdict:
    """guard_sha256: of the token that clients must show (hex); empty: none. secret: what a client shows."""
    if not guard_sha256:
        return "admitted"
    if not secret:
        return "missing"
    shown = hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()
    return "admitted" if hmac.compare_digest(shown, guard_sha256) else "refused"


def host_refusal(host: str, allowed: tuple[str, ...], denied: tuple[str, ...]) -> str | None:
    """Why a bucket with these lists does not call `host`; None: it does. What is denied is so whatever is
    allowed. `*.example.org` means every name below `example.org`, and not that itself."""
    if not (allowed or denied):
        return None
    name = canonical_host(host)
    if (pattern := _listed(name, denied)) is not None:
        return f"the bucket's denied_hosts name {pattern}"
    if allowed and _listed(name, allowed) is None:
        return "it is not among the bucket's allowed_hosts"
    return None


@lru_cache(maxsize=4096)
def canonical_host(host: str) -> str:
    """The one form of a name or address, without the brackets of an IPv6 one."""
    name = host.strip().lower()
    if name.startswith("[") and name.endswith("]"):
        name = name[1:-1]
    name = name.removesuffix(".")
    if not name.isascii():
        with suppress(AddressInvalid):
            name = to_ascii(name)
    if _OLD_IPV4.fullmatch(name) is not None:
        with suppress(OSError):
            return socket.inet_ntoa(socket.inet_aton(name))
    if ":" in name:
        with suppress(ValueError):
            address = ipaddress.IPv6Address(name)
            return str(address.ipv4_mapped or address)
    return name


def _listed(name: str, patterns: tuple[str, ...]) -> str | None:
    if not patterns:
        return None
    exact, below = _read(patterns)
    if name in exact:
        return name
    rest = name
    while "." in rest:
        rest = rest.partition(".")[2]
        if rest in below:
            return f"*.{rest}"
    return None


@lru_cache(maxsize=1024)
def _read(patterns: Iterable[str]) -> tuple[frozenset[str], frozenset[str]]:
    """The hosts, and the domains below which all are meant."""
    exact = frozenset(canonical_host(each) for each in patterns if not each.startswith("*."))
    below = frozenset(canonical_host(each[2:]) for each in patterns if each.startswith("*."))
    return exact, below
