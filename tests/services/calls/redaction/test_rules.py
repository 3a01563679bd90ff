"""Formats: each is found where it stands, and what only looks alike is left."""

from __future__ import annotations

import re
from base64 import b64encode

import pytest

from services.calls.redaction.hints import shared_hints
from services.calls.redaction.rules import FORMATS
from tests.services.calls.redaction.redacting import CARD, GITHUB, JWT, PRIVATE_KEY, body, mark

HEX = "0123456789abcdef"
KNOWN = {
    "jwt": [JWT, JWT.rsplit(".", 1)[0] + ".", "eyJhbGciOiJkaXIifQ" + "..aXY.Y3Q.dGFn", JWT[:40]],
    "private-key": [
        PRIVATE_KEY,
        PRIVATE_KEY.replace("RSA ", ""),
        "-----BEGIN PGP PRIVATE KEY BLOCK-----\nVersion: X 1\n\nlQ=\n-----END PGP PRIVATE KEY BLOCK-----",
        "AGE-SECRET-KEY-1" + "Q" * 58,
    ],
    "card": [CARD, "4111 1111 1111 1111", "4111-1111-1111-1111", "3782 822463 10005", "5555555555554444"],
    "aws-key": ["AKIA" + "IOSFODNN7EXAMPLE", "ASIA" + "IOSFODNN7EXAMPLE"],
    "gcp-key": ["AIza" + "Sy_-" * 9, "ya29." + "a0Af" * 9, "GOCSPX-" + "a1B2" * 7],
    "github-token": [GITHUB, "github_pat_" + "a1B2_" * 9],
    "gitlab-token": ["glpat-" + "a1B2" * 5],
    "slack-token": ["xoxb-" + "123456789012-abcdef", "xapp-1-" + "A1B2" * 8],
    "stripe-key": ["sk_live_" + "a1B2" * 6, "rk_test_" + "a1B2" * 6, "whsec_" + "a1B2" * 8],
    "ai-key": ["sk-proj-" + "a1B2" * 10, "sk-ant-api03-" + "a1-B2" * 10],
    "npm-token": ["npm_" + "a1B2" * 9],
    "pypi-token": ["pypi-" + "AgEIcHlwaS5vcmc" * 4],
    "huggingface-token": ["hf_" + "aBcD" * 9],
    "sendgrid-key": ["SG." + "a1B2" * 5 + "." + "a1B2" * 10],
    "shopify-token": ["shpat_" + HEX * 2],
    "digitalocean-token": ["dop_v1_" + HEX * 4],
    "vault-token": ["hvs." + "a1B2" * 6],
    "atlassian-token": ["ATATT3" + "xFfGF0" * 10],
    "trunkline-token": ["tl_" + "a1B2" * 10],
}
# In front of the secret stands what tells it, and stays.
LED = {
    "bearer": ["Bearer ", "a1B2c3D4e5"],
    "basic": ["Basic ", b64encode(b"user:password").decode()],
    "azure-key": ["AccountName=x;AccountKey=", "aB3/" * 21 + "=="],
    "slack-token": ["https://hooks.slack.com/services/", "T000/B000/" + "a1B2" * 6],
    "telegram-token": ["https://api.telegram.org/bot1234567890:", "AA" + "a1B2_" * 7],
}
AROUND = ("{}", "<a>{}</a>", "é {}é", "first {}\n", 'x = "{}"')
LEFT = [
    "Bearer authentication",
    "basic understanding of the matter",
    "sk-circle-fading-out-in-the-middle-of-it",
    "task-" + "a1" * 20,
    "eyJust a word",
    "4111 1111 1111 1112",  # its last digit is wrong
    "14111111111111111",
    "4111111111111111234567",
    "0.4111111111111111",
    "4111111111111111.5",
    "1467331200000",  # milliseconds
    "2026-01-31T12:30:15.411111111111111Z",
    "550e8400-e29b-41d4-a716-446655440000",
    "41111111-1111-1111-1111-111111111111",
    "deadbeef4111111111111111",
    "4444444444444444",
    "1234567812345670",  # nobody issues these
    "-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----",
    "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
    "AKIA and so on",
    "max_tokens",
]


@pytest.mark.parametrize(("kind", "secret"), [(kind, each) for kind in KNOWN for each in KNOWN[kind]])
def test_a_known_format_is_masked_in_any_text(kind: str, secret: str) -> None:
    for around in AROUND:
        before = around.format(secret).encode()
        assert body(before, "text/plain").decode() == around.format(mark(kind, secret)), around


@pytest.mark.parametrize("kind", LED)
def test_what_leads_to_a_secret_stays(kind: str) -> None:
    lead, secret = LED[kind]
    assert body(f"see {lead}{secret} there".encode(), "text/plain") == (
        f"see {lead}{mark(kind, secret)} there".encode()
    )


@pytest.mark.parametrize("text", LEFT)
def test_what_looks_alike_is_left(text: str) -> None:
    for around in ("{}", "a {}, b"):
        before = around.format(text).encode()
        assert body(before, "text/plain") == before


def test_every_format_is_tried() -> None:
    assert {*KNOWN, *LED} == {each.kind for each in FORMATS}


@pytest.mark.parametrize(("kind", "secret"), [(kind, each) for kind in KNOWN for each in KNOWN[kind]])
def test_no_format_matches_where_its_hint_does_not(kind: str, secret: str) -> None:
    hints = shared_hints().in_text(secret.encode())
    for place, each in enumerate(FORMATS):
        if each.expression.search(secret.encode()):
            assert place in hints
    assert any(FORMATS[place].kind == kind for place in hints if place < len(FORMATS))


def test_no_expression_gives_back_what_an_unbounded_repeat_took() -> None:
    for each in FORMATS:
        assert not gives_back(each.expression), each.kind
    assert gives_back(re.compile(rb"a[b]{2,}\+"))


def gives_back(expression: re.Pattern[bytes]) -> bool:
    """Whether a repeat without an end may be tried at several lengths."""
    bounded = re.sub(rb"\\.", b"x", expression.pattern)
    bounded = re.sub(rb"\[[^\]]*\]", b"x", bounded)
    repeats = re.finditer(rb"([*+?]|\{\d*,?\d*\})(\+?)", bounded)
    return any(found[1][-2:] in (b"*", b"+", b",}") and not found[2] for found in repeats)


def test_a_key_that_is_cut_is_masked_to_the_end() -> None:
    secret = PRIVATE_KEY[:70]
    assert body(f"key: {secret}".encode(), "text/plain") == f"key: {mark('private-key', secret)}".encode()
