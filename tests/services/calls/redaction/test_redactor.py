"""The promise as properties: in whatever place of a call a secret stands, its mark stands there afterwards,
and every other byte is as it was."""

from __future__ import annotations

import json
import string
from typing import Any
from urllib.parse import quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.identity import Redaction
from schemas.traffic_gateway import Masked
from services.calls.redaction.errors import InvalidRule
from services.calls.redaction.marks import MAX_RECORDS, Tally
from services.calls.redaction.redactor import Redactor
from tests.services.calls.redaction.redacting import FORM, GITHUB, JSON, JWT, KEY, body, mark, redactor, typed

SECRET_NAMES = ["password", "api_key", "clientSecret", "ACCESS-TOKEN", "pin", "user.passwd", "x-auth-token"]
names = st.sampled_from(SECRET_NAMES)
secrets = st.text(
    string.ascii_letters + string.digits + '"\\/é😀 %+&=#?;{}[]<>\n', min_size=1, max_size=20
).filter(lambda text: text.strip() == text and not text.lower().startswith(("basic ", "key ", "token ")))
fill_texts = st.text(st.sampled_from('aé😀 \n\t"\\/{}[]:,&=?#%+0.-<>'), max_size=12)
fillers = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-99, 99)
    | st.floats(allow_nan=False, allow_infinity=False)
    | fill_texts,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["id", "a b", "é", '"', "\\"]), inner, max_size=3)
    ),
    max_leaves=6,
)


def placed(value: Any, name: str, secret: Any, way: list[str]) -> Any:
    """`secret` under `name`, inside more and more around it."""
    inner: Any = {name: secret}
    for step in way:
        match step:
            case "list":
                inner = [value, inner, value]
            case "object":
                inner = {"before": value, "inner": inner, "after": value}
            case _:
                inner = {"text": json.dumps(inner, ensure_ascii=step == "ascii"), "after": value}
    return inner


ways = st.lists(st.sampled_from(["list", "object", "ascii", "text"]), max_size=4)
layouts = st.sampled_from([{}, {"indent": 2}, {"separators": (",", ":")}, {"ensure_ascii": False}])


@given(fillers, names, secrets, ways, layouts)
def test_json(value: Any, name: str, secret: str, way: list[str], layout: dict[str, Any]) -> None:
    before = json.dumps(placed(value, name, secret, way), **layout).encode()
    after = json.dumps(placed(value, name, mark("key", secret), way), **layout).encode()
    assert body(before) == after
    assert body(after) == after


@given(fillers, names, st.integers(0, 10**12) | st.floats(0, 1e9), ways, layouts)
def test_numbers(value: Any, name: str, secret: float, way: list[str], layout: dict[str, Any]) -> None:
    before = json.dumps(placed(value, name, secret, way), **layout).encode()
    after = json.dumps(placed(value, name, mark("key", json.dumps(secret)), way), **layout).encode()
    assert body(before) == after


@given(fillers, names, secrets, ways, layouts, st.data())
def test_cut_json(
    value: Any, name: str, secret: str, way: list[str], layout: dict[str, Any], data: st.DataObject
) -> None:
    secret = f"S3{secret}S4"
    before = json.dumps(placed(value, name, secret, way), **layout).encode()
    cut = data.draw(st.integers(0, len(before)))
    after = body(before[:cut], truncated=True)
    assert b"S3" not in after
    assert after[: before.index(b"S3")] == before[: min(cut, before.index(b"S3"))] or cut > before.index(
        b"S3"
    )


@given(names, secrets, fill_texts)
def test_forms(name: str, secret: str, fill: str) -> None:
    text = "first=1&fill={}&{}={}&last={}"
    before = text.format(quote_plus(fill), quote_plus(name), quote_plus(secret), quote_plus(fill))
    after = text.format(quote_plus(fill), quote_plus(name), mark("field", secret), quote_plus(fill))
    assert body(before.encode(), FORM).decode() == after
    assert body(after.encode(), FORM).decode() == after
    nested = f"payload={quote_plus(json.dumps({name: 'M4RK', 'fill': fill}))}"
    coded = quote_plus(json.dumps(secret)[1:-1])
    assert body(nested.replace("M4RK", coded).encode(), FORM).decode() == nested.replace(
        "M4RK", mark("key", secret)
    )


@given(names, secrets, st.sampled_from(["?{}={}", "?a=1&{}={}&b=2", "#{}={}&a=1", "?a#{}={}", "?{}={}#top"]))
def test_urls(name: str, secret: str, tail: str) -> None:
    tail = "https://h.example:8443/a/b;c=1" + tail
    tally = Tally()
    before = tail.format(quote_plus(name), quote_plus(secret))
    after = tail.format(quote_plus(name), mark("query", secret))
    assert redactor().url(before, tally) == after
    assert redactor().url(after, Tally()) == after
    assert [(each.where, each.rule, each.count) for each in tally.masked()] == [("request.url", "query", 1)]


@given(st.text(string.ascii_letters + ":", min_size=1, max_size=9))
def test_userinfo(userinfo: str) -> None:
    after = redactor().url(f"https://{userinfo}@h/x?a=b@c", Tally())
    assert after == f"https://%5B{mark('userinfo', userinfo)[1:-1]}%5D@h/x?a=b@c"
    assert redactor().url(after, Tally()) == after


@given(fillers, ways, st.sampled_from([GITHUB, JWT]))
def test_known_formats_in_json(value: Any, way: list[str], secret: str) -> None:
    before = json.dumps(placed(value, "note", f"see {secret} there", way)).encode()
    assert secret.encode() not in body(before)
    assert json.loads(body(before)).keys() == json.loads(before).keys() if before[:1] == b"{" else True
    assert body(body(before)) == body(before)


@given(
    st.binary(max_size=60)
    | st.text(st.sampled_from("{}[]\":,\\u0&=?#;%7B+ '@/-\n<>token.password1"), max_size=60).map(str.encode)
)
def test_nothing_raises_and_twice_is_once(data: bytes) -> None:
    for mode in ("default", "strict"):
        by = redactor(mode, paths=("$..a", "$[0]"), patterns=("a+b",))
        for label in (
            JSON,
            FORM,
            "text/plain",
            "multipart/form-data",
            "multipart/form-data; boundary=-",
            None,
        ):
            once = body(data, label, by)
            assert body(once, label, by) == once, label


def test_equal_secrets_have_equal_marks_under_one_key_alone() -> None:
    data = b'{"password":"x1","token":"x1","pin":"x2"}'
    other = redactor(key=bytes(32))
    one, two = mark("key", "x1"), mark("key", "x2")
    assert body(data).decode() == f'{{"password":"{one}","token":"{one}","pin":"{two}"}}'
    assert body(data, by=other).decode().count(mark("key", "x1", bytes(32))) == 2
    assert mark("key", "x1", bytes(32)) != one
    assert mark("query", "x1")[-9:] == one[-9:]


def test_the_record_does_not_grow_with_what_clients_send() -> None:
    tally = Tally()
    data = json.dumps({f"k{at}_token": "x" for at in range(1000)}).encode()
    redactor().body(data, typed(JSON), "request", tally)
    masked = tally.masked()
    assert len(masked) == MAX_RECORDS + 1
    assert masked[-1] == Masked("request.body", "key", "", 1000 - MAX_RECORDS)


def test_text() -> None:
    tally = Tally()
    assert (
        redactor()
        .text("no answer from https://h/?token=x1", "request.url", tally)
        .endswith(mark("query", "x1"))
    )
    assert redactor("raw").text("?token=x1", "request.url", tally) == "?token=x1"


def test_strict_and_raw_urls() -> None:
    url = "https://u:p@h/a?b=1&c#d=2"
    after = "https://%5Bredacted%5D@h/a?b=[redacted]&[redacted]#d=[redacted]"
    assert redactor("strict").url(url, Tally()) == after
    assert redactor("strict").url(after, Tally()) == after
    assert redactor("raw").url(url, Tally()) == url


@pytest.mark.parametrize(
    ("settings", "rule"),
    [
        (Redaction(headers=("a b",)), "header 'a b'"),
        (Redaction(headers=("",)), "header ''"),
        (Redaction(headers=("a",) * 101), "headers"),
        (Redaction(paths=("$.a", "$.[")), "path '$.['"),
        (Redaction(patterns=("a", "(")), "pattern '('"),
    ],
)
def test_the_rule_at_fault_is_named(settings: Redaction, rule: str) -> None:
    with pytest.raises(InvalidRule) as caught:
        Redactor(settings, KEY)
    assert caught.value.rule == rule


def test_a_short_key_is_refused() -> None:
    with pytest.raises(ValueError, match="needs 16"):
        Redactor(Redaction(), b"short")
