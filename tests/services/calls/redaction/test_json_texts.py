"""JSON: by key, at any depth, however it is written; whatever is masked, the rest is as it was."""

from __future__ import annotations

import json

import pytest

from tests.services.calls.redaction.redacting import CARD, GITHUB, body, mark, redactor, rules

X = mark("key", "x1")
ONE = mark("key", "1234")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('{"password":"x1"}', f'{{"password":"{X}"}}'),
        ('{ "password" :\n "x1" , "a": 1.50e3}', f'{{ "password" :\n "{X}" , "a": 1.50e3}}'),
        ('{"pin":1234}', f'{{"pin":"{ONE}"}}'),
        ('{"password":"x1","password":"x1"}', f'{{"password":"{X}","password":"{X}"}}'),
        (
            '{"secrets":["x1",1234,null,{"a":"x1"}],"b":"x1"}',
            f'{{"secrets":["{X}","{ONE}",null,{{"a":"{X}"}}],"b":"x1"}}',
        ),
        ('{"token":{"a":{"b":["x1"]}},"c":["x1"]}', f'{{"token":{{"a":{{"b":["{X}"]}}}},"c":["x1"]}}'),
        ('{"p\\u0061ssword":"x1"}', f'{{"p\\u0061ssword":"{X}"}}'),
        ('{"password":"x\\u0031"}', f'{{"password":"{X}"}}'),
        ('{"password":"","token":null,"secret":true,"a":false}', None),
        ('{"authorization":"Bearer x1"}', f'{{"authorization":"Bearer {X}"}}'),
        ('[{"password":"x1"}]', f'[{{"password":"{X}"}}]'),
        ('{"password":"x1"}\n{"password":"x1"}\n', f'{{"password":"{X}"}}\n{{"password":"{X}"}}\n'),
        ('"password"', None),
        ('{"a":"password","b":"x1"}', None),
        ('{"a":{},"b":[],"c":[[]],"password":[]}', None),
    ],
)
def test_by_key(before: str, after: str | None) -> None:
    assert body(before.encode()).decode() == (before if after is None else after)


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_json_in_a_string(levels: int) -> None:
    def nest(text: str, level: int) -> str:
        return text if not level else json.dumps({"a": 1, "payload": nest(text, level - 1), "é": "\n"})

    before = nest('{"password": "x1", "é": [1, 2.50]}', levels)
    assert body(before.encode()).decode() == nest(f'{{"password": "{X}", "é": [1, 2.50]}}', levels)
    number = body(nest('{"pin": 1234}', levels).encode()).decode()
    assert number == nest(f'{{"pin": "{ONE}"}}', levels)


def test_what_is_nested_too_deep_is_masked_whole() -> None:
    text = '{"password": "x1"}'
    for _ in range(9):
        text = json.dumps({"a": text})
    after = body(text.encode())
    assert b"x1" not in after
    assert b"[redacted:nested:" in after
    assert body(after) == after
    json.loads(after)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('{"a":1,"password":"x1', f'{{"a":1,"password":"{X}'),
        ('{"a":1,"password":"x1\\', None),
        ('{"a":1,"pin":1234', f'{{"a":1,"pin":"{ONE}"'),
        ('{"secrets":["x1", "x1', f'{{"secrets":["{X}", "{X}'),
        ('{"a":1,"pass', '{"a":1,"pass'),
        ('{"a":1,"password":', '{"a":1,"password":'),
        ('{"a":"{\\"password\\":\\"x1', f'{{"a":"{{\\"password\\":\\"{X}'),
    ],
)
def test_a_cut_body(before: str, after: str | None) -> None:
    masked = body(before.encode(), truncated=True).decode()
    assert "x1" not in masked
    if after is not None:
        assert masked == after


@pytest.mark.parametrize(
    "before",
    [
        '{password: "x1"}',
        "{'password': 'x1'}",
        '{"a":1 " : "password":"x1"}',
        '{"a":"\x01\n", "password": "x1"}',
        ')]}\',\n{"password":"x1"}',
        '{"password"="x1"}',
        '{"password":"x1"} trailing "',
        '/* " */ {"password":"x1"}',
    ],
)
def test_a_broken_body(before: str) -> None:
    assert body(before.encode()).decode() == before.replace("x1", X)


def test_graphql() -> None:
    query = 'mutation { login(user: "u", password: "x1") { token } }'
    before = json.dumps({"query": query, "variables": {"password": "x1"}}).encode()
    assert body(before) == before.replace(b"x1", X.encode())
    assert body(query.encode(), "application/graphql") == query.replace("x1", X).encode()


def test_values_that_look_secret_whatever_their_key() -> None:
    escaped = json.dumps(f"line\nAuthorization: Bearer {GITHUB}\n")
    before = f'{{"a":"{GITHUB}","{GITHUB}":[{CARD},"{CARD}"],"b":{escaped}}}'
    card = mark("card", CARD)
    token = mark("github-token", GITHUB)
    after = body(before.encode()).decode()
    assert after.startswith(
        f'{{"a":"{token}","{token}":["{card}","{card}"],"b":"line\\nAuthorization: Bearer [redact'
    )
    json.loads(after)


def test_urls_in_values() -> None:
    secret = mark("query", "x1")
    user = mark("userinfo", "u:p")[1:-1]
    before = '{"a":"https://u:p@h/?token=x1&b=2#c","b":"https:\\/\\/h\\/?x=1\\u0026token=x1"}'
    after = f'{{"a":"https://%5B{user}%5D@h/?token={secret}&b=2#c","b":"https:\\/\\/h\\/?x=1\\u0026token={secret}"}}'
    assert body(before.encode()).decode() == after


def test_what_masked_what() -> None:
    data = f'{{"password":"x1","user":{{"password":"x2"}},"a":"{GITHUB}"}}'.encode()
    assert rules(data) == [("key", "password"), ("github-token", "")]


def test_strict_keeps_names_and_structure() -> None:
    by = redactor("strict")
    before = '{"a": [1, "two", null, {"b": true, "c": {}}], "d\\n": "x\\"y"}'
    after = '{"a": ["X", "X", "X", {"b": "X", "c": {}}], "d\\n": "X"}'.replace("X", "[redacted]")
    assert body(before.encode(), by=by).decode() == after
    assert body(after.encode(), by=by).decode() == after
    assert body(b'{"a": {"b": "x1', by=by, truncated=True) == b'{"a": {"b": "[redacted]'
    assert body(b'{"a": broken', by=by) == b""
    assert body(f'{{"{GITHUB}":1}}'.encode(), by=by).count(GITHUB.encode()) == 0
