"""Resolve once, filter, pin: from an origin to the addresses that may be connected to. Called by `wire` for
each new connection.

Promises that a connection only ever goes to an address that the policy permitted: the name is not resolved a
second time. The check is on addresses, so it holds for odd notations (`127.1`, `0x7f000001`) and for IPv4
inside IPv6 alike. Redirects are not followed here; who follows one comes here again."""

from __future__ import annotations

import asyncio
import difflib
import ipaddress
import socket
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec

from services.chassis.config import PREFIX, ConfigInvalid
from services.chassis.outgoing.errors import DnsFailed, TargetRefused
from services.chassis.outgoing.networks import (
    METADATA,
    NAMES,
    RANGES,
    IPAddress,
    IPNetwork,
    Range,
    parts,
    range_of,
)

ALLOW = f"{PREFIX}TARGETS_ALLOW"
DENY = f"{PREFIX}TARGETS_DENY"
DENIED = "denied"  # the name of what the operator denied


class Resolved(NamedTuple):
    ip: IPAddress
    family: int
    sockaddr: Any  # what socket.connect takes


class Policy(msgspec.Struct, frozen=True):
    """Which addresses may be connected to: none that is denied; of those in a listed range (`networks`) the
    allowed ones; and all others. As it stands, whatever is in a listed range is refused.

    allowed_names: of listed ranges. A network in `allowed` opens what is in it, but metadata addresses only
    by their name or one by one, since they lie within private and link-local networks."""

    allowed_names: frozenset[str] = frozenset()
    allowed: tuple[IPNetwork, ...] = ()
    denied: tuple[IPNetwork, ...] = ()

    @classmethod
    def of(cls, allow: Iterable[str] = (), deny: Iterable[str] = ()) -> Policy:
        """From settings: names of listed ranges (`loopback`), networks (`10.1.0.0/16`) and addresses. Raises
        ConfigInvalid naming the entry at fault."""
        allowed_names, allowed = _parsed(allow, ALLOW)
        denied_names, denied = _parsed(deny, DENY)
        named = (listed.network for listed in RANGES if listed.name in denied_names)
        return cls(allowed_names, allowed, (*denied, *named))

    @classmethod
    def anywhere(cls) -> Policy:
        """Every address: right where the operator and the caller are the same person."""
        return cls(allowed_names=frozenset(NAMES))

    def permits(self, ip: IPAddress) -> bool:
        return not self.refusing(ip)

    def refusing(self, ip: IPAddress) -> tuple[Range, ...]:
        """The ranges for which an address is refused, those of the IPv4 addresses inside it too. None when it
        is permitted."""
        found = (self._refusing(part) for part in parts(ip))
        return tuple(dict.fromkeys(each for each in found if each is not None))

    def _refusing(self, ip: IPAddress) -> Range | None:
        for network in self.denied:
            if ip in network:
                return Range(DENIED, network, DENY)
        listed = range_of(ip)
        if listed is None or listed.name in self.allowed_names:
            return None
        for network in self.allowed:
            if ip in network and (listed.name != METADATA or network.num_addresses == 1):
                return None
        return listed


async def resolve(host: str, port: int) -> list[Resolved]:
    """All addresses of a host, in the system's order of preference. Raises DnsFailed."""
    try:
        ip: IPAddress = ipaddress.ip_address(host)
    except ValueError:
        pass
    else:
        if isinstance(ip, ipaddress.IPv4Address):
            return [Resolved(ip, socket.AF_INET, (str(ip), port))]
        if ip.scope_id is None:  # which interface a zone means, the system knows
            return [Resolved(ip, socket.AF_INET6, (str(ip), port, 0, 0))]
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    except (socket.gaierror, UnicodeError) as error:
        reason = error.strerror if isinstance(error, socket.gaierror) else str(error)
        raise DnsFailed(f"{host} cannot be resolved: {reason}") from error
    addresses = []
    for family, _, _, _, sockaddr in found:
        addresses.append(Resolved(ipaddress.ip_address(str(sockaddr[0]).partition("%")[0]), family, sockaddr))
    if not addresses:
        raise DnsFailed(f"{host} has no address")
    return addresses


def permitted(host: str, addresses: Sequence[Resolved], policy: Policy) -> list[Resolved]:
    """Those that the policy permits. Raises TargetRefused when there are none: it names the ranges, and not
    the addresses, which a caller from outside may not know."""
    kept = []
    refused: list[tuple[Range, ...]] = []
    for address in addresses:
        found = policy.refusing(address.ip)
        if found:
            refused.append(found)
        else:
            kept.append(address)
    if kept:
        return kept
    ranges = dict.fromkeys(each for found in refused for each in found)
    said = f"{host} is in {' and '.join(map(str, ranges))}, where this installation does not connect to"
    named = dict.fromkeys(each.name for each in refused[0])
    if DENIED not in named:
        said += f"; its operator may allow it by adding {','.join(named)} to {ALLOW}"
    raise TargetRefused(said)


def _parsed(entries: Iterable[str], setting: str) -> tuple[frozenset[str], tuple[IPNetwork, ...]]:
    names: set[str] = set()
    networks: list[IPNetwork] = []
    for entry in entries:
        if entry.lower() in NAMES:
            names.add(entry.lower())
        else:
            networks.append(_network(entry, setting))
    return frozenset(names), tuple(networks)


def _network(entry: str, setting: str) -> IPNetwork:
    wrong = f"{setting} holds {entry!r}"
    try:
        network = ipaddress.ip_network(entry.replace("%", "/zone"), strict=False)  # a zone is none of ours
    except ValueError:
        closest = difflib.get_close_matches(entry.lower(), NAMES, n=1)
        known = f"did you mean {closest[0]}?" if closest else f"the names are {', '.join(NAMES)}"
        raise ConfigInvalid(
            f"{wrong}, which is no address, no network such as 10.1.0.0/16, and no name of a range; {known}"
        ) from None
    if str(network.network_address) != str(ipaddress.ip_interface(entry).ip):
        raise ConfigInvalid(f"{wrong}, an address with a prefix; the network is {network}")
    if isinstance(network, ipaddress.IPv6Network) and network.network_address.ipv4_mapped is not None:
        raise ConfigInvalid(f"{wrong}; write the IPv4 addresses that it maps as IPv4")
    return network
