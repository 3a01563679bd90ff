"""Masking: values of secret headers go, everything else stays as it was."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.calls.redaction import MASK, SECRET_HEADERS, is_secret, redact_headers

names = st.one_of(
    st.text(string.ascii_letters + "-", min_size=1), st.sampled_from(sorted(SECRET_HEADERS)).map(str.title)
)
headers = st.lists(st.tuples(names, st.text())).map(tuple)


@given(headers)
def test_only_values_of_secret_headers_change(before: tuple[tuple[str, str], ...]) -> None:
    after = redact_headers(before)
    assert [name for name, _ in after] == [name for name, _ in before]
    for (name, old), (_, new) in zip(before, after, strict=True):
        assert new == (MASK if name.lower() in SECRET_HEADERS else old)


@given(headers)
def test_masking_twice_is_masking_once(before: tuple[tuple[str, str], ...]) -> None:
    assert redact_headers(redact_headers(before)) == redact_headers(before)


@pytest.mark.parametrize(
    "name", ["Authorization", "cookie", "SET-COOKIE", "X-Api-Key", "Proxy-Authorization"]
)
def test_case_hides_nothing(name: str) -> None:
    assert is_secret(name)


@pytest.mark.parametrize("name", ["Authorization-Info", "X-Cookie-Consent", "Host", ""])
def test_a_name_that_only_looks_alike_is_left(name: str) -> None:
    assert not is_secret(name)
