"""Paths: the walk selects what an RFC 9535 library selects in the parsed document, and refuses what it cannot
follow in a cut one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonpath_rfc9535 import find

from services.calls.redaction.errors import InvalidRule
from services.calls.redaction.json_paths import MAX_DEPTH, MAX_PATH_CHARS, MAX_PATHS, JsonPaths
from tests.services.calls.redaction.redacting import body, mark, redactor

steps = st.sampled_from(
    [
        ".a",
        ".b",
        "['a b']",
        "[0]",
        "[1]",
        "[*]",
        ".*",
        "[0:2]",
        "[1:]",
        "[::2]",
        "..a",
        "..*",
        "..[0]",
        "['a','b',0]",
    ]
)
paths = st.lists(steps, max_size=4).map(lambda steps: "$" + "".join(steps))
documents = st.recursive(
    st.integers(0, 9) | st.text("xyz\n", max_size=2) | st.none(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "b", "a b", "c"]), inner, max_size=3)
    ),
    max_leaves=12,
)


def masked(value: Any) -> Any:
    match value:
        case dict():
            return {key: masked(inner) for key, inner in value.items()}
        case list():
            return [masked(inner) for inner in value]
        case None | "":
            return value
    return mark("bucket-path", str(value))


def with_masked(document: Any, locations: set[tuple[str | int, ...]], at: tuple[str | int, ...] = ()) -> Any:
    if at in locations:
        return masked(document)
    match document:
        case dict():
            return {key: with_masked(inner, locations, (*at, key)) for key, inner in document.items()}
        case list():
            return [with_masked(inner, locations, (*at, place)) for place, inner in enumerate(document)]
    return document


@given(paths, documents)
def test_selects_as_the_standard_says(path: str, document: Any) -> None:
    locations = {tuple(node.location) for node in find(path, document)}
    text = json.dumps(document).encode()
    if text[:1] in (b"{", b"["):
        assert json.loads(body(text, by=redactor(paths=(path,)))) == with_masked(document, locations)


@given(documents, st.integers(0, 60))
def test_a_cut_document_is_masked_as_far_as_it_goes(document: Any, cut: int) -> None:
    text = json.dumps({"a": {"b": document}, "c": 1}).encode()
    by = redactor(paths=("$.a.b",))
    after = body(text[:cut], by=by, truncated=True)
    start = text.index(b'"b":') + 5
    assert after[: min(cut, start)] == text[: min(cut, start)]
    assert b"x" not in after[start:].replace(b"bucket", b"")


def test_duplicated_and_escaped_names() -> None:
    by = redactor(paths=("$.a.b",))
    one = mark("bucket-path", "1")
    before = '{"a":{"b":"1","b":1},"\\u0061":{"b":"1","c":"1"}}'
    after = f'{{"a":{{"b":"{one}","b":"{one}"}},"\\u0061":{{"b":"{one}","c":"1"}}}}'
    assert body(before.encode(), by=by).decode() == after
    assert body(after.encode(), by=by).decode() == after


def test_what_is_too_deep_to_follow_is_masked() -> None:
    deep = MAX_DEPTH + 5
    text = b'{"x":' * deep + b'{"a":{"b":"1"}}' + b"}" * deep
    assert b'"1"' not in body(text, by=redactor(paths=("$..a.b",)))
    assert body(text, by=redactor(paths=("$.a.b",))) == text


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("a.b", "no JSON path"),
        ("$.a[", "no JSON path"),
        ("", "no JSON path"),
        ("$[?@.a == 1]", "filters"),
        ("$[-1]", "from the end"),
        ("$[-2:]", "from the end"),
        ("$[::-1]", "from the end"),
        ("$" + ".a" * 21, "21 segments"),
        ("$[" + ",".join(["0"] * 33) + "]", "33 selectors"),
        ("$." + "a" * MAX_PATH_CHARS, "characters"),
        ("$" + "[(" * 200, "no JSON path"),
    ],
)
def test_refused(path: str, why: str) -> None:
    with pytest.raises(InvalidRule, match=why) as caught:
        JsonPaths((path,))
    assert caught.value.rule == f"path {path[:80]!r}"


def test_too_many() -> None:
    with pytest.raises(InvalidRule, match="33 of them"):
        JsonPaths(("$.a",) * (MAX_PATHS + 1))
