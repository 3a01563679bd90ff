"""Calls that come back to the gateway they went out from. Pure.

A gateway that marked every call (`Via`, RFC 9110 7.6.3) would change what targets see, and some answer
otherwise to it: nginx, for one, compresses nothing then. So only those calls are marked which a gateway of
this installation would relay on if they reached it; all others stay as they came. A mark of one's own that
comes in has gone round.

Not seen: a proxy between the gateway and itself that makes gateway addresses out of other ones, unless it
stands where `public_url` says."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

from services.calls.address import KEY_CHARS, AddressInvalid, Target, parse_host, parse_path


class Loops:
    """domain, public_url: as set for the gateway. id: of this gateway and no other."""

    def __init__(self, domain: str, public_url: str, id: str) -> None:
        self._domain = domain
        self._public_host = urlsplit(public_url).hostname
        self._pseudonym = f"trunkline-{id}"
        self.mark = (b"Via", f"1.1 {self._pseudonym}".encode("ascii"))

    def may_begin(self, target: Target) -> bool:
        """Whether a call to `target` would be relayed again by a gateway that it reached."""
        host, tail = target.authority.host, target.tail
        try:
            if host == self._public_host:
                return True
            named = parse_host(host, self._domain) if host.endswith(self._domain) else None
            if named is not None:
                return named[1] is not None
            return tail[KEY_CHARS + 1 : KEY_CHARS + 2] == "/" and parse_path(tail).target is not None
        except AddressInvalid:
            return False

    def closed(self, via: Iterable[str]) -> bool:
        """Whether the values of a request's `Via` name this gateway."""
        return any(self._pseudonym in entry.split()[1:2] for value in via for entry in value.split(","))
