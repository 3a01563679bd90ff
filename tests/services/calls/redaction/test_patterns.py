"""A bucket's expressions: in every value and line, linear whatever they are, refused by name."""

from __future__ import annotations

import pytest

from services.calls.redaction.errors import InvalidRule
from services.calls.redaction.patterns import MAX_PATTERNS, MAX_SEARCHED_BYTES, Patterns, Piece
from tests.services.calls.redaction.redacting import FORM, body, mark, redactor

CUSTOMER = redactor(patterns=(r"cust-\d+", r"^\d{9}$"))
C7 = mark("bucket-pattern", "cust-7")
NINE = mark("bucket-pattern", "123456789")


@pytest.mark.parametrize(
    ("content_type", "before", "after"),
    [
        ("text/plain", "a cust-7,\r\nb cust-7\n123456789\r\n", f"a {C7},\r\nb {C7}\n{NINE}\r\n"),
        ("application/json", '{"a":"cust-7","b":[123456789]}', f'{{"a":"{C7}","b":["{NINE}"]}}'),
        ("application/json", '{"a":"\\u0063ust-7 \\n","cust-7":1}', f'{{"a":"{C7} \\n","{C7}":1}}'),
        ("application/json", '{"a":"{\\"b\\":123456789}"}', f'{{"a":"{{\\"b\\":\\"{NINE}\\"}}"}}'),
        (FORM, "a=cust-7&b=cust%2D7", f"a={C7}&b={C7}"),
    ],
)
def test_found(content_type: str, before: str, after: str) -> None:
    assert body(before.encode(), content_type, CUSTOMER).decode() == after
    assert body(after.encode(), content_type, CUSTOMER).decode() == after


@pytest.mark.parametrize(
    "expression", [r"\Ax1\z", r"\Ax1$", "^x1$", r"(?-m:^x1$)", r"\bx1\b", r"[^a]1", "(?s)x.1|x1"]
)
def test_anchors_are_those_of_each_value(expression: str) -> None:
    by = redactor(patterns=(expression,))
    secret = mark("bucket-pattern", "x1")
    assert (
        body(b'{"a":["y","x1","z"],"b":"x1"}', by=by).decode()
        == f'{{"a":["y","{secret}","z"],"b":"{secret}"}}'
    )
    assert body(b"y\r\nx1\r\nz", "text/plain", by).decode() == f"y\r\n{secret}\r\nz"


def test_a_mark_is_not_matched_again() -> None:
    by = redactor(patterns=("[a-z]+",))
    after = body(b"some words", "text/plain", by)
    assert body(after, "text/plain", by) == after


def test_beyond_ascii() -> None:
    by = redactor(patterns=("caf\u00e9 .",))
    assert body("un café é".encode(), "text/plain", by).decode() == f"un {mark('bucket-pattern', 'café é')}"
    assert body(b"\xff\xfe\xfd caf\xe9", "text/plain", by) == b"\xff\xfe\xfd caf\xe9"


def test_a_text_that_takes_too_many_searches_is_masked_whole() -> None:
    # Each search looks for the `b` to the very end before it is content with one `a`.
    text = b"a" * 50_000
    hits = Patterns(("a.*b|a",)).find([Piece(text, 0)])
    assert len(hits) <= MAX_SEARCHED_BYTES // len(text) + 1
    assert sum(hit.end - hit.start for hit in hits) == len(text)


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("(a", "missing"),
        ("(?=a)", "invalid perl operator"),
        (r"(a)\1", "invalid escape"),
        ("a{1001}", "repetition"),
        ("((a{100}){100}){100}", "repetition|too large|steps"),
        ("(?:a{1,900}b{1,900}){5}x", "repetition|too large|steps"),
        ("a*", "empty text"),
        ("", "0 characters"),
        ("a" * 501, "501 characters"),
        ("\ud800", "half a character"),
    ],
)
def test_refused(expression: str, why: str) -> None:
    with pytest.raises(InvalidRule, match=why) as caught:
        Patterns((expression,))
    assert caught.value.rule == f"pattern {expression[:80]!r}"


def test_too_many() -> None:
    with pytest.raises(InvalidRule, match="33 of them"):
        Patterns(("a",) * (MAX_PATTERNS + 1))
