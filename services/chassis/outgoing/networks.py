"""The networks that no target may be in unless the operator says so: an explicit list, each with its name and
where it is set down, and the IPv4 addresses that stand inside IPv6 ones. Pure. Read by `guard`.

The list is that of IANA's special-purpose registries for IPv4 and IPv6, of the parts of the IPv6 address
space that nobody was given, and of the addresses at which clouds hand credentials to whoever asks.
`is_global` of `ipaddress` is no guide: it lets a third of these through (multicast, site-local, NAT64).

Left out on purpose: 192.31.196.0/24, 192.52.193.0/24, 192.175.48.0/24 and 2620:4f:8000::/48, which are
special but globally reachable as any other (AS112, AMT)."""

from __future__ import annotations

import ipaddress
from typing import Final, NamedTuple

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network


class Range(NamedTuple):
    """A part of the address space. name: what the operator allows it by; several ranges may share one."""

    name: str
    network: IPNetwork
    source: str

    def __str__(self) -> str:
        return f"{self.name} ({self.network}, {self.source})"


METADATA = "metadata"

_LISTED = {
    "loopback": {"127.0.0.0/8": "RFC 1122", "::1/128": "RFC 4291"},
    "private": {
        "10.0.0.0/8": "RFC 1918",
        "172.16.0.0/12": "RFC 1918",
        "192.168.0.0/16": "RFC 1918",
        "fc00::/7": "RFC 4193",
    },
    "link-local": {"169.254.0.0/16": "RFC 3927", "fe80::/10": "RFC 4291"},
    "site-local": {"fec0::/10": "RFC 3879"},
    "carrier-grade": {"100.64.0.0/10": "RFC 6598"},
    "unspecified": {"0.0.0.0/8": "RFC 1122", "::/128": "RFC 4291"},
    "multicast": {"224.0.0.0/4": "RFC 5771", "ff00::/8": "RFC 4291"},
    "broadcast": {"255.255.255.255/32": "RFC 919"},
    "documentation": {
        "192.0.2.0/24": "RFC 5737",
        "198.51.100.0/24": "RFC 5737",
        "203.0.113.0/24": "RFC 5737",
        "2001:db8::/32": "RFC 3849",
        "3fff::/20": "RFC 9637",
    },
    "benchmarking": {"198.18.0.0/15": "RFC 2544", "2001:2::/48": "RFC 5180"},
    "protocol": {"192.0.0.0/24": "RFC 6890", "2001::/23": "RFC 2928"},
    "discard": {"100::/64": "RFC 6666", "100:0:0:1::/64": "RFC 9780"},
    "orchid": {"2001:10::/28": "RFC 4843", "2001:20::/28": "RFC 7343", "2001:30::/28": "RFC 9374"},
    "segment-routing": {"5f00::/16": "RFC 9602"},
    "nat64": {"64:ff9b::/96": "RFC 6052", "64:ff9b:1::/48": "RFC 8215"},
    "6to4": {"192.88.99.0/24": "RFC 7526", "2002::/16": "RFC 3056"},
    "teredo": {"2001::/32": "RFC 4380"},
    "ipv4-compatible": {"::/96": "RFC 4291"},
    "ipv4-translated": {"::ffff:0:0:0/96": "RFC 2765"},
    # IPv6 beyond 2000::/3 was given to nobody, but for what stands above (IANA's address space registry).
    "reserved": {
        "240.0.0.0/4": "RFC 1112",
        "::/3": "RFC 4291",
        "3ffe::/16": "RFC 3701",
        "4000::/2": "RFC 4291",
        "8000::/1": "RFC 4291",
    },
    METADATA: {
        "169.254.169.254/32": "AWS, Azure, Google, OpenStack and others",
        "169.254.170.2/32": "AWS ECS",
        "169.254.170.23/32": "AWS EKS",
        "169.254.0.23/32": "Tencent Cloud",
        "169.254.42.42/32": "Scaleway",
        "100.100.100.200/32": "Alibaba Cloud",
        "168.63.129.16/32": "Azure",
        "192.0.0.192/32": "Oracle Cloud",
        "fd00:ec2::254/128": "AWS",
        "fd00:ec2::23/128": "AWS EKS",
        "fd00:42::42/128": "Scaleway",
        "fd20:ce::254/128": "Google Cloud",
        "fe80::a9fe:a9fe/128": "OpenStack",
    },
}

RANGES: Final[tuple[Range, ...]] = tuple(
    sorted(
        (
            Range(name, ipaddress.ip_network(network), source)
            for name, networks in _LISTED.items()
            for network, source in networks.items()
        ),
        key=lambda listed: listed.network.prefixlen,
        reverse=True,
    )
)
NAMES: Final = tuple(_LISTED)

_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")
_LOW_96 = tuple(map(ipaddress.IPv6Network, ("::/96", "::ffff:0:0:0/96", "64:ff9b::/96")))
_NAT64_LOCAL = ipaddress.IPv6Network("64:ff9b:1::/48")
_TEREDO = ipaddress.IPv6Network("2001::/32")
_6TO4 = ipaddress.IPv6Network("2002::/16")
_ISATAP = (0x00005EFE, 0x02005EFE)  # the upper half of an interface identifier, RFC 5214 6.1
_U_OCTET = 0xFF << 56  # bits 64 to 71 are no part of an embedded address, RFC 6052 2.2


def range_of(ip: IPAddress) -> Range | None:
    """The narrowest listed range that holds the address, None when it is an ordinary one."""
    for listed in RANGES:  # narrowest first
        if ip in listed.network:
            return listed
    return None


def parts(ip: IPAddress) -> tuple[IPAddress, ...]:
    """What is to be checked of an address: itself, without a zone, and the IPv4 addresses inside it. An
    IPv4-mapped one is that IPv4 address and nothing else: that is how the system connects to it. Where an
    address may be read in several ways, all of them."""
    if isinstance(ip, ipaddress.IPv4Address):
        return (ip,)
    number = int(ip)
    if ip in _MAPPED:
        return (_low(number),)
    return (ipaddress.IPv6Address(number), *_embedded(ip, number))


def _embedded(ip: ipaddress.IPv6Address, number: int) -> list[ipaddress.IPv4Address]:
    found: list[ipaddress.IPv4Address] = []
    if number > 1 and any(ip in network for network in _LOW_96):
        found.append(_low(number))
    elif ip in _NAT64_LOCAL:
        found += _translated(number)
    elif ip in _6TO4:
        found.append(_low(number >> 80))
    elif ip in _TEREDO:
        found += (_low(number >> 64), _low(~number))  # the server, and the client, its bits turned over
    if number >> 32 & 0xFFFFFFFF in _ISATAP:
        found.append(_low(number))
    return found


def _translated(number: int) -> list[ipaddress.IPv4Address]:
    """The operator's own NAT64 prefix may end at bit 48, 56, 64 or 96 (RFC 6052 2.2): every reading in which
    what follows the address is zero, as it should be, and which is not just zeros. (A translator on a shorter
    prefix than 96 that takes what is not zero there too cannot be told from one on 96: it is not to be
    allowed.)"""
    found = [_low(number)] if number & 0xFFFFFFFF else []
    if number & _U_OCTET == 0:
        joined = (number >> 64 << 64) | (number << 8 & (1 << 64) - 1)  # without the u octet
        for length in (48, 56, 64):
            shift = 128 - length - 32
            value = joined >> shift & 0xFFFFFFFF
            if value and joined & ((1 << shift) - 1) == 0:
                found.append(ipaddress.IPv4Address(value))
    return found or [ipaddress.IPv4Address(0)]


def _low(number: int) -> ipaddress.IPv4Address:
    return ipaddress.IPv4Address(number & 0xFFFFFFFF)
