"""Cursors come back as they went, and to nobody else's question."""

from __future__ import annotations

import base64

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.errors import Refused
from services.request_vault.domain.cursors import MAX_NUMBER, decode_cursor, encode_cursor, fingerprint

QUESTION = fingerprint("calls", "7xzcnsgbwox2", None, "api.example.com")


@given(st.dictionaries(st.integers(0, 2**15 - 1), st.integers(0, MAX_NUMBER), max_size=8))
def test_a_cursor_comes_back_as_it_went(vector: dict[int, int]) -> None:
    text = encode_cursor(QUESTION, vector)
    assert text.isascii()
    assert not set(text) & set("+/=&?# ")
    assert decode_cursor(text, QUESTION) == vector


def test_a_cursor_of_this_format_stays_readable() -> None:
    assert fingerprint("calls", "7xzcnsgbwox2", None, "api.example.com").hex() == FINGERPRINT
    assert encode_cursor(QUESTION, {1: 77, 0: 3}) == CURSOR


FINGERPRINT = "477fd82d7a86"
CURSOR = "kwHEBkd_2C16hoIAAwFN"


def test_another_question_has_another_fingerprint() -> None:
    asked = (
        fingerprint("calls", "a", None),
        fingerprint("calls", None, "a"),
        fingerprint("log", "a", None),
        fingerprint("calls", ("a", None)),
    )
    assert len(set(asked)) == 4


def _raw(value: object) -> str:
    return base64.urlsafe_b64encode(msgspec.msgpack.encode(value)).rstrip(b"=").decode()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("not a cursor!", "this is no cursor"),
        ("é", "this is no cursor"),
        ("A", "this is no cursor"),
        ("AAAA", "this is no cursor"),
        (_raw([1, QUESTION, {"a": 1}]), "this is no cursor"),
        (_raw([2, QUESTION, {1: 1}]), "has format 2, this version reads 1"),
        (_raw([1, b"another", {1: 1}]), "made for another question"),
        (_raw([1, QUESTION, {1: 2**48}]), "a place that no log has"),
        (_raw([1, QUESTION, {-1: 1}]), "a place that no log has"),
        ("A" * 2 * 1024 * 1024, "has 2097152 characters"),
    ],
    ids=range(10),
)
def test_what_is_no_cursor_of_this_question_is_refused(text: str, why: str) -> None:
    with pytest.raises(Refused, match=why) as caught:
        decode_cursor(text, QUESTION)
    assert caught.value.reason == "cursor-invalid"


@given(st.text(max_size=40))
def test_no_text_breaks_it(text: str) -> None:
    with pytest.raises(Refused):
        decode_cursor(text, QUESTION)
