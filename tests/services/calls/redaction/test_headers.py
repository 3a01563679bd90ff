"""Headers: by name, cookies one by one, schemes kept, and other values by what they look like."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.traffic_gateway import Headers
from services.calls.redaction.marks import Tally
from services.calls.redaction.redactor import Redactor
from tests.services.calls.redaction.redacting import GITHUB, JWT, mark, redactor


def masked(name: str, value: str, by: Redactor | None = None) -> str:
    after = (by or redactor()).headers(((name, value),), "request", Tally())
    assert after[0][0] == name
    return after[0][1]


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("Authorization", "Bearer {}", "Bearer {header}"),
        ("authorization", "{}", "{header}"),
        ("AUTHORIZATION", "Digest {}", "Digest {header}"),
        ("Proxy-Authorization", "Basic {}", "Basic {header}"),
        ("X-Api-Key", "{}", "{header}"),
        ("X-Customer-Token", "{}", "{header}"),
        ("Cookie", "a={}; b={}", "a={cookie}; b={cookie}"),
        ("Cookie", 'a="{}";b={}; ', 'a="{cookie}";b={cookie}; '),
        ("Cookie", "{}", "{cookie}"),
        ("Cookie", "a=; {}", "a=; {cookie}"),
        ("Set-Cookie", "a={}; Path=/x; HttpOnly; Max-Age=3", "a={cookie}; Path=/x; HttpOnly; Max-Age=3"),
        ("Set-Cookie", "Path={}; Secure; other={}", "Path={cookie}; Secure; other={cookie}"),
        ("Location", "/cb?x=1#access_token={}&y=2", "/cb?x=1#access_token={query}&y=2"),
        ("Referer", "https://h/?api_key={}", "https://h/?api_key={query}"),
        ("Link", "<https://h/?token={}>; rel=next", "<https://h/?token={query}>; rel=next"),
        ("X-Meta", '{{"password":"{}"}}', '{{"password":"{key}"}}'),
    ],
)
def test_masked(name: str, before: str, after: str) -> None:
    secret = "s3cr3t-thing"
    marks = {rule: mark(rule, secret) for rule in ("header", "cookie", "query", "key")}
    value = masked(name, before.format(*[secret] * 3))
    assert value == after.format(**marks)
    assert masked(name, value) == value


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Accept", "text/html;q=0.9, */*;q=0.1"),
        ("WWW-Authenticate", 'Bearer realm="api", error="invalid_token"'),
        ("X-Cookie-Consent", "yes"),
        ("Authorization-Info", "x"),
        ("Authorization", ""),
        ("Date", "Wed, 21 Oct 2015 07:28:00 GMT"),
        ("X", "é\x00\u20ac"),
    ],
)
def test_left(name: str, value: str) -> None:
    assert masked(name, value) == value


def test_known_formats_in_any_header() -> None:
    assert masked("X-Any", f"a {GITHUB} b") == f"a {mark('github-token', GITHUB)} b"
    assert masked("X-Any", f"\u20ac {JWT}") == f"\u20ac {mark('jwt', JWT)}"


def test_what_begins_in_one_header_does_not_end_in_another() -> None:
    begin = "-----BEGIN PRIVATE KEY-----"
    before = (
        ("A", begin),
        ("B", "abc"),
        ("C", "x ="),
        ("D", '"y"'),
        ("E", GITHUB),
        ("F", "token:"),
        ("G", '"y"'),
    )
    after = list(before)
    after[0] = ("A", mark("private-key", begin))
    after[4] = ("E", mark("github-token", GITHUB))
    assert redactor().headers(before, "response", Tally()) == tuple(after)
    assert redactor().headers(before[1:], "response", Tally()) == tuple(after[1:])


def test_a_buckets_own() -> None:
    by = redactor(headers=("X-Who",), patterns=(r"cust-\d+",))
    assert masked("x-who", "me", by) == mark("bucket-header", "me")
    assert masked("Via", "cust-7", by) == mark("bucket-pattern", "cust-7")


def test_strict() -> None:
    by = redactor("strict")
    assert masked("X-Any", "a", by) == "[redacted]"
    assert masked("Cookie", "a=1; b=2", by) == "a=[redacted]; b=[redacted]"
    assert masked("Content-Type", "multipart/form-data; boundary=x", by) == "multipart/form-data; boundary=x"
    assert masked("Content-Type", f"text/{GITHUB}", by) == "text/[redacted]"
    assert masked("Date", "\x00", by) == "[redacted]"


def test_raw() -> None:
    assert masked("Authorization", "Bearer x", redactor("raw")) == "Bearer x"


@given(
    st.lists(
        st.tuples(
            st.text(max_size=8) | st.sampled_from(["Cookie", "Set-Cookie", "Authorization"]),
            st.text(max_size=20),
        )
    ).map(tuple)
)
def test_names_stay_nothing_raises_and_twice_is_once(headers: Headers) -> None:
    for mode in ("default", "strict"):
        by = redactor(mode)
        once = by.headers(headers, "response", Tally())
        assert [name for name, _ in once] == [name for name, _ in headers]
        assert by.headers(once, "response", Tally()) == once
