"""Who is counted as one."""

from __future__ import annotations

import pytest

from services.chassis.limits.places import place_of


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
    ],
)
def test_an_ipv6_network_is_one_place(address: str, place: str) -> None:
    assert str(place_of(address)) == place


@pytest.mark.parametrize("address", ["", "x", "1.2.3", "::g", "/run/socket"])
def test_what_is_no_address_is_no_place(address: str) -> None:
    assert place_of(address) is None
