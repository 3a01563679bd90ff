"""Which addresses are connected to: every listed range to its edges, every way to write or wrap an address,
the operator's settings, and names that answer with several addresses or change their mind."""

from __future__ import annotations

import ipaddress
import socket
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bus.clock import SystemClock
from services.chassis.config import ConfigInvalid
from services.chassis.outgoing import DnsFailed, Origin, Outgoing, Policy, Request, TargetRefused
from services.chassis.outgoing.guard import Resolved, permitted, resolve
from services.chassis.outgoing.networks import NAMES, RANGES, IPAddress, Range, parts, range_of
from tests.services.loopback import target

REFUSING = Policy()
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
V4_TOP, V6_TOP = (1 << 32) - 1, (1 << 128) - 1


def ip(text: str) -> IPAddress:
    return ipaddress.ip_address(text)


def at(number: int, like: IPAddress) -> IPAddress:
    return type(like)(number)


# --- the list

# The whole address space, as it is meant: what begins here, up to where the next begins. Written by hand from
# IANA's registries, not from the module's own list. "" is the public internet.
V4 = """
0.0.0.0 unspecified | 1.0.0.0 | 10.0.0.0 private | 11.0.0.0 | 100.64.0.0 carrier-grade |
100.100.100.200 metadata | 100.100.100.201 carrier-grade | 100.128.0.0 | 127.0.0.0 loopback | 128.0.0.0 |
168.63.129.16 metadata | 168.63.129.17 | 169.254.0.0 link-local | 169.254.0.23 metadata |
169.254.0.24 link-local | 169.254.42.42 metadata | 169.254.42.43 link-local | 169.254.169.254 metadata |
169.254.169.255 link-local | 169.254.170.2 metadata | 169.254.170.3 link-local | 169.254.170.23 metadata |
169.254.170.24 link-local | 169.255.0.0 | 172.16.0.0 private | 172.32.0.0 | 192.0.0.0 protocol |
192.0.0.192 metadata | 192.0.0.193 protocol | 192.0.1.0 | 192.0.2.0 documentation | 192.0.3.0 |
192.88.99.0 6to4 | 192.88.100.0 | 192.168.0.0 private | 192.169.0.0 | 198.18.0.0 benchmarking | 198.20.0.0 |
198.51.100.0 documentation | 198.51.101.0 | 203.0.113.0 documentation | 203.0.114.0 | 224.0.0.0 multicast |
240.0.0.0 reserved | 255.255.255.255 broadcast
"""
V6 = """
:: unspecified | ::1 loopback | ::2 ipv4-compatible | ::1:0:0 reserved | ::ffff:0:0:0 ipv4-translated |
::ffff:1:0:0 reserved | 64:ff9b:: nat64 | 64:ff9b::1:0:0 reserved | 64:ff9b:1:: nat64 | 64:ff9b:2:: reserved |
100:: discard | 100:0:0:2:: reserved | 2000:: | 2001:: teredo | 2001:1:: protocol | 2001:2:: benchmarking |
2001:2:1:: protocol | 2001:10:: orchid | 2001:40:: protocol | 2001:200:: | 2001:db8:: documentation |
2001:db9:: | 2002:: 6to4 | 2003:: | 3ffe:: reserved | 3fff:: documentation | 3fff:1000:: | 4000:: reserved |
5f00:: segment-routing | 5f01:: reserved | fc00:: private | fd00:42::42 metadata | fd00:42::43 private |
fd00:ec2::23 metadata | fd00:ec2::24 private | fd00:ec2::254 metadata | fd00:ec2::255 private |
fd20:ce::254 metadata | fd20:ce::255 private | fe00:: reserved | fe80:: link-local |
fe80::a9fe:a9fe metadata | fe80::a9fe:a9ff link-local | fec0:: site-local | ff00:: multicast
"""


def space(text: str) -> list[tuple[IPAddress, str]]:
    found = [entry.split() for entry in text.split("|")]
    return [(ip(each[0]), each[1] if len(each) > 1 else "") for each in found]


def edges() -> list[tuple[str, str]]:
    """Each stretch's first, second, middle, last but one and last address: so each range's first and last,
    and the ones before and after."""
    found: dict[str, str] = {}
    for table, top in ((space(V4), V4_TOP), (space(V6), V6_TOP)):
        ends = [int(first) - 1 for first, _ in table[1:]] + [top]
        for (first, name), end in zip(table, ends, strict=True):
            start = int(first)
            for number in (start, min(start + 1, end), (start + end) // 2, max(end - 1, start), end):
                found[str(at(number, first))] = name
    return list(found.items())


@pytest.mark.parametrize(("address", "name"), edges())
def test_the_list_to_its_edges(address: str, name: str) -> None:
    listed = range_of(ip(address))
    assert ("" if listed is None else listed.name) == name
    if name:
        assert not REFUSING.permits(ip(address))
        assert REFUSING.refusing(ip(address))[0].name == name


def test_the_table_above_is_as_long_as_it_should_be() -> None:
    assert len(edges()) > 300
    assert {name for _, name in edges()} - {""} == set(NAMES)


def test_what_is_public_is_permitted() -> None:
    for text in ("1.1.1.1", "8.8.8.8", "93.184.215.14", "223.255.255.255", "192.31.196.1", "192.175.48.1"):
        assert REFUSING.permits(ip(text))
        assert REFUSING.permits(ip(f"::ffff:{text}"))
    for text in ("2606:4700::1111", "2a00:1450:4001::1", "2620:4f:8000::1", "3fff:1000::1"):
        assert REFUSING.permits(ip(text))


@pytest.mark.parametrize("listed", RANGES, ids=str)
def test_each_range_is_allowed_by_its_name_and_by_nothing_else(listed: Range) -> None:
    inside = ip(str(listed.network[-1]))
    governing = range_of(inside)
    assert governing is not None
    others = Policy.of(allow=[name for name in NAMES if name != governing.name])
    assert not others.permits(inside)
    assert Policy.of(deny=[listed.name], allow=NAMES).permits(inside) is False
    assert Policy.anywhere().permits(inside)


# --- IPv4 inside IPv6

WRAPPED = {
    "::ffff:127.0.0.1": {"loopback"},
    "::127.0.0.1": {"ipv4-compatible", "loopback"},
    "::ffff:0:127.0.0.1": {"ipv4-translated", "loopback"},
    "64:ff9b::7f00:1": {"nat64", "loopback"},
    "64:ff9b::a9fe:a9fe": {"nat64", "metadata"},
    "64:ff9b:1::7f00:1": {"nat64", "loopback"},
    "64:ff9b:1:7f00:0:100::": {"nat64", "loopback", "unspecified"},  # behind a /48, and what it may be else
    "64:ff9b:1:7f:0:1::": {"nat64", "loopback", "unspecified"},  # behind a /56
    "64:ff9b:1:0:7f:0:100:0": {"nat64", "loopback"},  # behind a /64
    "64:ff9b:1::808:808": {"nat64"},
    "2002:7f00:1::": {"6to4", "loopback"},
    "2002:a9fe:a9fe::1": {"6to4", "metadata"},
    "2002:808:808::": {"6to4"},
    "2001:0:808:808::80ff:fffe": {"teredo", "loopback"},  # the client, obfuscated
    "2001:0:a00:1::f7f7:f7f7": {"teredo", "private"},  # the server
    "fe80::5efe:7f00:1": {"link-local", "loopback"},
    "2606:4700::5efe:a00:1": {"private"},  # ISATAP below a public prefix
    "2606:4700::200:5efe:a00:1": {"private"},
    "fe80::1%eth0": {"link-local"},
    "::1%lo": {"loopback"},
    "::ffff:10.0.0.1%1": {"private"},
}


@pytest.mark.parametrize(("address", "names"), WRAPPED.items())
def test_an_address_inside_another_is_refused_as_itself(address: str, names: set[str]) -> None:
    assert {listed.name for listed in REFUSING.refusing(ip(address))} == names
    assert Policy.of(allow=names).permits(ip(address))
    for name in names:
        assert not Policy.of(allow=names - {name}).permits(ip(address)), f"{name} was not needed"


@given(st.ip_addresses(v=4))
@example(ipaddress.IPv4Address("127.0.0.1"))
@example(ipaddress.IPv4Address("169.254.169.254"))
@example(ipaddress.IPv4Address("8.8.8.8"))
def test_no_wrapping_opens_what_is_closed(inner: ipaddress.IPv4Address) -> None:
    """With every wrapper allowed, an IPv6 address that holds an IPv4 one is permitted only if that is."""
    number = int(inner)
    prefix = int(ip("64:ff9b:1::"))
    high, low = number >> 16, number & 0xFFFF
    wraps = {
        "mapped": int(ip("::ffff:0:0")) | number,
        "compatible": number,
        "translated": int(ip("::ffff:0:0:0")) | number,
        "nat64": int(ip("64:ff9b::")) | number,
        "nat64 /48": prefix | high << 64 | low << 40,
        "nat64 /56": prefix | number >> 24 << 64 | (number & 0xFFFFFF) << 32,
        "nat64 /64": prefix | number << 24,
        "nat64 /96": prefix | number,
        "6to4": int(ip("2002::")) | number << 80,
        "teredo client": int(ip("2001:0:808:808::")) | number ^ V4_TOP,
        "teredo server": int(ip("2001::f7f7:f7f7")) | number << 64,
        "isatap": int(ip("2606::5efe:0:0")) | number,
    }
    wrappers = Policy.of(allow=("nat64", "6to4", "teredo", "ipv4-compatible", "ipv4-translated"))
    for form, wrapped in wraps.items():
        address = ipaddress.IPv6Address(wrapped)
        if number > 1:  # :: and ::1 are addresses of their own, refused by their own names
            assert inner in parts(address), form
        if not wrappers.permits(inner):
            assert not wrappers.permits(address), form
    mapped = ipaddress.IPv6Address(wraps["mapped"])
    assert REFUSING.permits(mapped) == REFUSING.permits(inner)


@given(st.ip_addresses(), st.sets(st.sampled_from(NAMES)), st.sets(st.sampled_from(NAMES)))
def test_more_allowed_never_closes_and_more_denied_never_opens(
    address: IPAddress, names: set[str], more: set[str]
) -> None:
    if Policy.of(allow=names).permits(address):
        assert Policy.of(allow=names | more).permits(address)
    if Policy.of(allow=names | more, deny=names).permits(address):
        assert Policy.of(allow=more).permits(address)
    assert not Policy.of(allow=NAMES, deny=("0.0.0.0/0", "::/0")).permits(address)


# --- settings


def test_networks_and_addresses_open_what_is_in_them() -> None:
    policy = Policy.of(allow=("Loopback", "10.1.0.0/16", "fd00::/8", "192.168.1.7"))
    for text in ("127.0.0.1", "::1", "10.1.2.3", "fd12::1", "192.168.1.7", "::ffff:10.1.2.3", "8.8.8.8"):
        assert policy.permits(ip(text)), text
    for text in ("10.2.0.1", "fc00::1", "192.168.1.8", "64:ff9b::a01:203", "169.254.1.1"):
        assert not policy.permits(ip(text)), text


def test_metadata_is_opened_by_its_name_or_one_by_one_only() -> None:
    wide = Policy.of(allow=("private", "link-local", "carrier-grade", "0.0.0.0/0", "::/0"))
    for text in ("169.254.169.254", "fd00:ec2::254", "100.100.100.200", "168.63.129.16"):
        assert not wide.permits(ip(text))
        assert Policy.of(allow=("metadata",)).permits(ip(text))
        assert Policy.of(allow=(text,)).permits(ip(text))
    assert wide.permits(ip("169.254.1.1"))


def test_what_is_denied_is_refused_whatever_is_allowed() -> None:
    policy = Policy.of(
        allow=("private", "10.1.2.3", "metadata"), deny=("10.1.0.0/16", "8.8.8.8", "link-local")
    )
    assert policy.permits(ip("10.2.0.1"))
    for text in ("10.1.2.3", "8.8.8.8", "::ffff:8.8.8.8", "169.254.169.254", "64:ff9b::808:808"):
        assert not policy.permits(ip(text)), text


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("privat", r"TRUNKLINE_TARGETS_ALLOW holds 'privat', .* did you mean private\?"),
        ("intranet", r"holds 'intranet', .* the names are loopback, private, "),
        ("10.1.0.5/16", r"'10\.1\.0\.5/16', an address with a prefix; the network is 10\.1\.0\.0/16"),
        ("10.0.0.0/33", r"'10\.0\.0\.0/33', which is no address"),
        ("fe80::1%eth0", r"'fe80::1%eth0', which is no address"),
        ("::ffff:10.0.0.0/104", "write the IPv4 addresses that it maps as IPv4"),
        ("api.example.com", "which is no address, no network"),
        ("", "holds ''"),
    ],
)
def test_an_entry_that_cannot_be_read_is_named(entry: str, words: str) -> None:
    with pytest.raises(ConfigInvalid, match=words):
        Policy.of(allow=("loopback", entry))


def test_a_refusal_names_the_ranges_and_how_they_are_opened_but_not_the_addresses() -> None:
    found = [Resolved(ip(text), socket.AF_INET, (text, 80)) for text in ("10.0.0.7", "127.0.0.1")]
    with pytest.raises(TargetRefused) as refused:
        permitted("intranet.example", found, REFUSING)
    assert str(refused.value) == (
        "intranet.example is in private (10.0.0.0/8, RFC 1918) and loopback (127.0.0.0/8, RFC 1122), where "
        "this installation does not connect to; its operator may allow it by adding private to "
        "TRUNKLINE_TARGETS_ALLOW"
    )
    with pytest.raises(TargetRefused) as refused:
        permitted("h", found[:1], Policy.of(deny=("10.0.0.0/8",)))
    assert str(refused.value) == (
        "h is in denied (10.0.0.0/8, TRUNKLINE_TARGETS_DENY), where this installation does not connect to"
    )


# --- from names to connections

IDEOGRAPHIC = "\u3002"  # a full stop, and to IDNA (RFC 3490 3.1) a dot like the two below
WIDE_127 = "\uff11\uff12\uff17.0.0.1"
ODD = [
    *("127.0.0.1", "127.1", "127.0.1", "0x7f000001", "0x7f.1", "2130706433", "0177.0.0.1", "017700000001"),
    *("127.0.0.1.", "localhost", "localhost.", "LOCALHOST", "0", "0.0.0.0", "0x0"),
    *("::1", "::", "0:0:0:0:0:0:0:1", "::ffff:127.0.0.1", "::ffff:7f00:1", "::127.0.0.1", "64:ff9b::7f00:1"),
    *("64:ff9b::127.0.0.1", "2002:7f00:1::", "::1%lo", "::1%1", "fe80::1%lo", "fe80::1"),
    *(f"127{IDEOGRAPHIC}0{IDEOGRAPHIC}0{IDEOGRAPHIC}1", "127\uff0e0\uff0e0\uff0e1", "127\uff611", WIDE_127),
    *("10.1", "0xa9fea9fe", "2852039166", "0251.0376.0251.0376", "[::1]", "127.0.0.1%00", "127.0.0.1 "),
]


@pytest.mark.uvloop
@pytest.mark.parametrize("host", ODD)
async def test_no_notation_gets_through(host: str) -> None:
    """Each is refused, or is no address to the system's resolver either; and nothing was connected to."""
    async with target(OK) as api, Outgoing(REFUSING, SystemClock()) as outgoing:
        with pytest.raises((TargetRefused, DnsFailed)):
            async with outgoing.send(Request(Origin("http", host, api.port), "GET", b"/", ())):
                pass
        assert api.connections == 0


@pytest.mark.parametrize(
    "host",
    [
        "127.1",
        "0x7f000001",
        "2130706433",
        "0177.0.0.1",
        f"127{IDEOGRAPHIC}0{IDEOGRAPHIC}0{IDEOGRAPHIC}1",
        "localhost",
    ],
)
async def test_these_notations_do_mean_this_machine(host: str) -> None:
    """Else the test above would show nothing."""
    assert {"loopback"} == {
        listed.name for each in await resolve(host, 1) for listed in REFUSING.refusing(each.ip)
    }


class Resolver:
    """The system's resolver for one name; the first answer, then the next, then the last for ever."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> None:
        self.asked: list[Any] = []
        self._answers = list(answers)
        self._whole = socket.getaddrinfo
        monkeypatch.setattr(socket, "getaddrinfo", self._resolve)

    def _resolve(self, host: Any, port: Any, *rest: Any, **options: Any) -> list[Any]:
        self.asked.append(host)
        texts = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        return [answer for text in texts for answer in self._whole(text, port, *rest, **options)]


async def test_of_a_public_and_a_private_address_the_public_one_is_called(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """127.0.0.1 stands for the public one here, 127.0.0.2 for the private one, which comes first."""
    policy = Policy.of(allow=("127.0.0.1",))
    resolver = Resolver(monkeypatch, ["127.0.0.2", "::1", "127.0.0.1"])
    async with target(OK) as api, Outgoing(policy, SystemClock()) as outgoing:
        sent = Request(Origin("http", "both.example", api.port), "GET", b"/", ())
        async with outgoing.send(sent) as response:
            assert response.address == f"127.0.0.1:{api.port}"
            await response.read()
    assert resolver.asked == ["both.example"]


async def test_a_name_that_changes_its_mind_is_asked_once_for_each_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    resolver = Resolver(monkeypatch, ["127.0.0.1"], ["127.0.0.2"])
    async with target(OK) as api, Outgoing(Policy.of(allow=("127.0.0.1",)), SystemClock()) as outgoing:
        sent = Request(Origin("http", "rebinding.example", api.port), "GET", b"/", ())
        async with outgoing.send(sent) as response:
            assert response.address == f"127.0.0.1:{api.port}"
        assert resolver.asked == ["rebinding.example"], "asked once, and connected to that very answer"
        assert api.connections == 1
        with pytest.raises(TargetRefused, match=r"rebinding\.example is in loopback"):
            async with outgoing.send(sent):  # the response was not read, so the connection was not kept
                pass
        assert api.connections == 1
