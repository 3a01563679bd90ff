"""Names: case and separators hide nothing, and words that only hold a secret word are left."""

from __future__ import annotations

import json

import pytest

from services.calls.redaction.hints import KEYS, shared_hints
from services.calls.redaction.names import MAX_REMEMBERED, UNTOLD, Names, fold
from services.calls.redaction.rules import SECRET_ENDS, SECRET_NAMES
from tests.services.calls.redaction.redacting import GITHUB

SECRET = [
    *("password", "Password", "PASSWORD", "user_password", "userPassword", "password2", "new-password"),
    *("apiKey", "api-key", "API_KEY", "x.api.key", "client_secret", "refreshToken", "id_token", "token"),
    *("authorization", "auth", "pin", "PIN", "otp", "cvv", "cvc2", "ssn", "aws_secret_access_key"),
    *("user[password]", "pass\\u0077ord", "p\\u0061ss", "\\u0061pi_key", "sessionId", "credentials"),
]
LEFT = [
    *("author", "authority", "max_tokens", "total_tokens", "token_type", "nextToken", "page_token"),
    *("passed", "passenger", "shipping", "pinned", "secretary", "key", "public_key", "primaryKey", "panel"),
    *("password_required", "id", "", "tokenizer", "eos_token", "company", "inside", "cookies_accepted"),
]


@pytest.mark.parametrize("name", SECRET)
def test_secret(name: str) -> None:
    assert Names().key(name.encode()) is not None


@pytest.mark.parametrize("name", LEFT)
def test_left(name: str) -> None:
    names = Names()
    assert names.key(name.encode()) is None
    assert names.parameter(name.encode()) is None


@pytest.mark.parametrize("folded", sorted({*SECRET_ENDS, *SECRET_NAMES}))
def test_no_key_is_passed_by_for_want_of_a_hint(folded: bytes) -> None:
    assert Names().key(folded) is not None
    text = json.dumps({folded.decode(): 1}).encode()
    assert KEYS in shared_hints().in_text(text)
    assert KEYS in shared_hints().in_text(text.upper())


def test_only_in_parameters() -> None:
    names = Names()
    for name in (b"sig", b"Signature", b"X-Amz-Signature", b"pass%77ord", b"access+token"):
        assert names.parameter(name) is not None
    assert names.key(b"signature") is None


def test_headers() -> None:
    names = Names(("X-Who",))
    assert names.header("x-WHO") == ("bucket-header", "x-who")
    assert names.header("Authorization") == ("header", "authorization")
    assert names.header("Set-Cookie") == ("cookie", "set-cookie")
    assert names.header("X-Stripe-Secret") == ("header", "x-stripe-secret")
    assert names.header("Accept") is None


def test_a_name_with_a_secret_in_it_is_not_told() -> None:
    assert Names().key(f"{GITHUB}_token".encode()) == UNTOLD
    assert Names().key(b"a" * 100 + b"token") == UNTOLD


def test_what_is_remembered_is_bounded() -> None:
    names = Names()
    for at in range(MAX_REMEMBERED + 10):
        names.key(b"key%d" % at)
        names.parameter(b"key%d" % at)
    assert len(names.keys) <= MAX_REMEMBERED
    assert names.key(b"password") == "password"


def test_folding() -> None:
    assert fold(b"X-API_Key[1]. \xff") == b"xapikey1"


def test_long_names_are_judged_and_not_remembered() -> None:
    names = Names()
    long = b"x" * 1_000_000 + b"password"
    assert names.key(long) == UNTOLD
    assert names.parameter(long) == UNTOLD
    assert names.header(long.decode()) == ("header", UNTOLD)
    assert not names.keys
    assert not names._parameters
    assert not names._headers
