"""Gateway addresses: every way of writing one, round trips, and what the errors say."""

from __future__ import annotations

import string
from contextlib import suppress
from urllib.parse import urlsplit

import pytest
from hypothesis import given, reject
from hypothesis import strategies as st

from services.calls.address import (
    Address,
    AddressInvalid,
    at_host,
    at_path,
    host_target,
    parse_authority,
    parse_host,
    parse_host_port,
    parse_path,
    parse_target,
    parse_url,
)

KEY = "7xzcnsgbwox2"

keys = st.text(string.ascii_lowercase + string.digits, min_size=12, max_size=12)
labels = st.from_regex(r"[a-z0-9_]([a-z0-9_-]{0,10}[a-z0-9_])?", fullmatch=True)
hosts = st.lists(labels, min_size=1, max_size=3).map(".".join)
ports = st.one_of(st.none(), st.integers(1, 65535))
schemes = st.sampled_from(["http", "https"])
tails = st.text(st.characters(min_codepoint=0x21, exclude_characters="#", exclude_categories=["Cs"])).map(
    lambda text: "/" + text
)


def url_of(scheme: str, host: str, port: int | None, tail: str) -> str:
    return f"{scheme}://{host}{'' if port is None else f':{port}'}{tail}"


@given(keys, schemes, hosts, ports, tails)
def test_the_path_scheme_gives_back_what_was_put_in(
    key: str, scheme: str, host: str, port: int | None, tail: str
) -> None:
    url = url_of(scheme, host, port, tail)
    address = at_path("http://127.0.0.1:7080", key, url)
    path = address.removeprefix("http://127.0.0.1:7080")
    assert parse_path(path) == Address(key, parse_url(url))
    target = parse_path(path).target
    assert target is not None
    assert target.tail == tail
    assert (target.authority.scheme, target.authority.host) == (scheme, host)
    assert target.authority.port == (port or {"http": 80, "https": 443}[scheme])


@given(keys, schemes, hosts, ports, tails)
def test_collapsed_slashes_mean_the_same(
    key: str, scheme: str, host: str, port: int | None, tail: str
) -> None:
    authority = host if port is None else f"{host}:{port}"
    spellings = [f"/{key}/{scheme}{between}{authority}{tail}" for between in ("://", ":/", "/")]
    first, *others = [parse_path(spelling) for spelling in spellings]
    assert all(other == first for other in others)


@given(keys, schemes, hosts, ports, tails, schemes)
def test_the_host_scheme_gives_back_what_was_put_in(
    key: str, scheme: str, host: str, port: int | None, tail: str, gateway_scheme: str
) -> None:
    url = url_of(scheme, host, port, tail)
    try:
        address, headers = at_host(f"{gateway_scheme}://gw.example:7080", key, url)
    except AddressInvalid:
        reject()  # what a host name cannot hold has a test of its own
    reached = urlsplit(address)
    assert reached.hostname is not None
    assert len(reached.hostname.split(".")[0]) <= 63
    got = parse_host(f"{reached.hostname}:7080", "gw.example")
    assert got is not None
    got_key, got_host = got
    assert got_host is not None
    target = host_target(gateway_scheme, got_host, headers.get("Trunkline-Request-Port"), tail)
    assert (got_key, target) == (key, parse_url(url))


@given(st.text())
def test_any_text_is_an_address_or_an_error_in_words(text: str) -> None:
    for parse in (parse_path, parse_target, parse_url, lambda t: parse_host(t, "localhost")):
        with suppress(AddressInvalid):
            parse(text)


def test_the_example_of_the_guide() -> None:
    url, headers = at_host("https://gw.example", KEY, "https://foo-bar.example.org/x")
    assert url == f"https://foo--bar-example-org-{KEY}.gw.example/x"
    assert headers == {}


def test_another_port_travels_in_a_header() -> None:
    url, headers = at_host("http://localhost:7080", KEY, "http://127.0.0.1:9000/x")
    assert url == f"http://127-0-0-1-{KEY}.localhost:7080/x"
    assert headers == {"Trunkline-Request-Port": "9000"}


def test_port_443_means_https_behind_a_gateway_without_tls() -> None:
    url, headers = at_host("http://localhost:7080", KEY, "https://api.example.com/x")
    assert headers == {"Trunkline-Request-Port": "443"}
    assert host_target("http", "api.example.com", "443", "/x") == parse_url("https://api.example.com/x")
    assert url == f"http://api-example-com-{KEY}.localhost:7080/x"


def test_path_and_query_keep_every_character() -> None:
    target = parse_path(f"/{KEY}/https://h/a%2Fb//c/../d%zz;p?q=1&q=&&=+%20??x://y").target
    assert target is not None
    assert target.tail == "/a%2Fb//c/../d%zz;p?q=1&q=&&=+%20??x://y"


@pytest.mark.parametrize(
    ("rest", "tail"), [("", "/"), ("/", "/"), ("?", "/?"), ("?a=1", "/?a=1"), ("/?", "/?")]
)
def test_an_empty_path_becomes_a_slash_and_nothing_else_changes(rest: str, tail: str) -> None:
    assert parse_target("http://h" + rest).tail == tail


def test_a_default_port_is_dropped_and_the_host_is_lowered() -> None:
    assert parse_url("HTTPS://API.Example.com:443/X").url == "https://api.example.com/X"
    assert parse_url("http://API.Example.com:443/").url == "http://api.example.com:443/"


def test_a_fragment_never_goes_on_the_wire() -> None:
    assert parse_url("http://h/x#y?z").url == "http://h/x"


def test_an_ipv6_target_keeps_its_brackets_in_text_only() -> None:
    authority = parse_authority("http", "[2001:DB8::1]:8080")
    assert (authority.host, authority.port, authority.text) == ("2001:db8::1", 8080, "[2001:db8::1]:8080")


@pytest.mark.parametrize("path", [f"/{KEY}", f"/{KEY}/", f"/{KEY}?a=1", f"/{KEY}/?a=1"])
def test_a_key_alone_is_the_request_bin(path: str) -> None:
    assert parse_path(path) == Address(KEY, None)


def test_a_bucket_host_alone_is_the_request_bin() -> None:
    assert parse_host(f"{KEY}.localhost:7080", "localhost") == (KEY, None)
    assert parse_host(f"{KEY.upper()}.LOCALHOST", "localhost") == (KEY, None)


@pytest.mark.parametrize(
    "host", ["localhost:7080", "127.0.0.1:7080", "[::1]:7080", "example.org", f"{KEY}.example.org", ""]
)
def test_other_hosts_leave_it_to_the_path_scheme(host: str) -> None:
    assert parse_host(host, "localhost") is None


@pytest.mark.parametrize(
    ("path", "word"),
    [
        ("/", "is no bucket key"),
        ("/favicon.ico", "'favicon.ico'"),
        ("/SHOUTINGKEY1/http://h/", "'SHOUTINGKEY1'"),
        (f"/{KEY}/ftp://h/x", "'ftp'"),
        (f"/{KEY}/example.com/x", "does not begin with http"),
        (f"/{KEY}/http://", "names no host"),
        (f"/{KEY}/http:///x", "names no host"),
        (f"/{KEY}/http://a..b/", "empty part"),
        (f"/{KEY}/http://a b/", "character that no host name has"),
        (f"/{KEY}/http://b\udcffcher.example/", "xn--"),
        (f"/{KEY}/http://{'ü' * 300}.example/", "DNS allows 253"),
        (f"/{KEY}/http://{'a' * 64}.example/", "64 characters"),
        (f"/{KEY}/http://{'a.' * 130}example/", "DNS allows 253"),
        (f"/{KEY}/http://h:0/", "'0'"),
        (f"/{KEY}/http://h:65536/", "'65536'"),
        (f"/{KEY}/http://h:8a/", "'8a'"),
        (f"/{KEY}/http://h:१/", "1 to 65535"),
        (f"/{KEY}/http://[::1/", "IPv6"),
        (f"/{KEY}/http://[::1]x/", "only a port may"),
        (f"/{KEY}/http://user@pw@h/", "user information"),
        (f"/{KEY}/http://h%2Fx/", "no host name has"),
        (f"/{KEY}/http://[fe80::1%25eth0]/", "IPv6"),
    ],
)
def test_an_error_names_what_is_wrong(path: str, word: str) -> None:
    with pytest.raises(AddressInvalid, match=r".") as caught:
        parse_path(path)
    assert word in str(caught.value)


@pytest.mark.parametrize(
    "host",
    [
        "x-short.localhost",
        f"x{KEY}.localhost",
        f"a---b-{KEY}.localhost",
        f"{KEY}.x.localhost",
        f"a.b-{KEY}.localhost",
    ],
)
def test_a_host_below_the_domain_must_hold_a_key(host: str) -> None:
    with pytest.raises(AddressInvalid):
        parse_host(host, "localhost")


@pytest.mark.parametrize(
    "url", ["http://[::1]/", "http://a-.example/", "https://h:8443/", f"http://{'long-' * 10}name.example/"]
)
def test_what_a_host_name_cannot_hold_is_sent_to_the_path_scheme(url: str) -> None:
    with pytest.raises(AddressInvalid, match="use the path scheme"):
        at_host("http://localhost:7080", KEY, url)


@pytest.mark.parametrize(
    ("written", "host"),
    [
        ("bücher.example", "xn--bcher-kva.example"),
        ("B%C3%BCCHER.example", "xn--bcher-kva.example"),
        ("faß.example", "xn--fa-hia.example"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("\uff11\uff12\uff17\u30020.0.1", "127.0.0.1"),  # full-width digits and stop
        ("%5B::1%5D", "::1"),
        ("[2001:DB8::1]", "2001:db8::1"),
    ],
)
def test_a_host_gets_the_form_that_goes_into_dns(written: str, host: str) -> None:
    target = parse_path(f"/{KEY}/http://{written}:8080/ü%20x").target
    assert target is not None
    assert target.authority.host == host
    assert target.tail == "/ü%20x"


def test_user_information_is_kept_apart_from_the_url() -> None:
    target = parse_path(f"/{KEY}/http://user:p%40w@h:81/x?a@b").target
    assert target is not None
    assert (target.userinfo, target.url) == ("user:p%40w", "http://h:81/x?a@b")
    assert at_path("http://g", KEY, "http://user:p%40w@h:81/x?a@b") == (
        f"http://g/{KEY}/http://user:p%40w@h:81/x?a@b"
    )
    with pytest.raises(AddressInvalid, match="path scheme"):
        at_host("http://g", KEY, "http://user:pw@h/x")


@pytest.mark.parametrize(
    ("written", "host", "port", "text"),
    [
        ("api.example:443", "api.example", 443, "api.example:443"),
        ("[::1]:8443", "::1", 8443, "[::1]:8443"),
        ("Bücher.example:80", "xn--bcher-kva.example", 80, "xn--bcher-kva.example:80"),
    ],
)
def test_the_target_of_connect_names_its_port(written: str, host: str, port: int, text: str) -> None:
    found = parse_host_port(written)
    assert (found.host, found.port, found.text) == (host, port, text)


@pytest.mark.parametrize(
    "written", ["h", "h:", "h:0", "h:65536", "u@h:1", ":443", "[::1]", "h:1/x", "http://h:1", "h:१"]
)
def test_what_is_no_target_of_connect(written: str) -> None:
    with pytest.raises(AddressInvalid):
        parse_host_port(written)


def test_a_builder_refuses_a_bad_key() -> None:
    with pytest.raises(AddressInvalid, match="no bucket key"):
        at_path("http://127.0.0.1:7080", "short", "http://h/")
