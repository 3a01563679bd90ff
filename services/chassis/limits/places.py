"""Where somebody comes from, as far as it can be counted. Pure."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Network, ip_address

CUSTOMER_BITS = 64  # of IPv6, what one customer or machine has to itself: a limit on less would be none


def place_of(address: str) -> IPv4Address | IPv6Network | None:
    """The IPv4 address, also one that is written as IPv6, or the network of CUSTOMER_BITS around an IPv6 one,
    its zone left out. None: this is no IP address."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return None
    if isinstance(found, IPv4Address):
        return found
    return found.ipv4_mapped or IPv6Network((found, CUSTOMER_BITS), strict=False)
