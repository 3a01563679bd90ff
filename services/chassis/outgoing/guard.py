"""Resolve once, filter, pin: from an origin to the addresses that may be connected to. Called by `client` for
each new connection.

Promises that a connection only ever goes to an address that the policy permitted: the name is not resolved a
second time. The check is on addresses, so it holds for odd notations (`127.1`, `0x7f000001`) and for IPv4
inside IPv6 alike."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from services.chassis.outgoing.errors import DnsFailed, TargetRefused

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network


class Resolved(NamedTuple):
    ip: IPAddress
    family: int
    sockaddr: Any  # what socket.connect takes


class Policy(msgspec.Struct, frozen=True):
    """Which addresses may be connected to: all but those in `denied`, and of those the ones in `allowed`. By
    default every address, which is right where the operator and the callers are the same people."""

    denied: tuple[IPNetwork, ...] = ()
    allowed: tuple[IPNetwork, ...] = ()

    def permits(self, ip: IPAddress) -> bool:
        if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
            ip = ip.ipv4_mapped
        if not any(ip in network for network in self.denied):
            return True
        return any(ip in network for network in self.allowed)


async def resolve(host: str, port: int) -> list[Resolved]:
    """All addresses of a host, in the system's order of preference. Raises DnsFailed."""
    try:
        ip: IPAddress = ipaddress.ip_address(host)
    except ValueError:
        pass
    else:
        return [_literal(ip, port)]
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
    """Those that the policy permits. Raises TargetRefused when there are none."""
    kept = [address for address in addresses if policy.permits(address.ip)]
    if not kept:
        listed = ", ".join(sorted({str(address.ip) for address in addresses})[:4])
        raise TargetRefused(f"{host} ({listed}) is in a network that this installation does not connect to")
    return kept


def _literal(ip: IPAddress, port: int) -> Resolved:
    if isinstance(ip, ipaddress.IPv4Address):
        return Resolved(ip, socket.AF_INET, (str(ip), port))
    return Resolved(ip, socket.AF_INET6, (str(ip), port, 0, 0))
