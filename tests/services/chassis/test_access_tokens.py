"""What a secret that is handed out looks like."""

from __future__ import annotations

import hashlib
import re
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.chassis.access.tokens import Kind, digest_of, is_mistyped, secret_of

KINDS: tuple[Kind, ...] = ("tl", "tlb", "tls", "tli")
# What a scanner of leaked secrets is told to look for: docs/identity.md.
FOR_SCANNERS = re.compile(r"\btl[bsi]?_[0-9A-Za-z]{49}\b")

secrets = st.builds(secret_of, st.sampled_from(KINDS), st.binary(min_size=32, max_size=32))


@given(secrets)
def test_it_can_be_told_from_chance(secret: str) -> None:
    assert FOR_SCANNERS.fullmatch(secret)
    assert not is_mistyped(secret)


@given(secrets, st.data())
def test_one_wrong_character_is_seen(secret: str, data: st.DataObject) -> None:
    start = secret.index("_") + 1
    at = data.draw(st.integers(start, len(secret) - 1))
    other = data.draw(st.sampled_from([c for c in "0aZ9xQ" if c != secret[at]]))
    assert is_mistyped(f"{secret[:at]}{other}{secret[at + 1 :]}")


@given(st.sets(st.binary(min_size=32, max_size=32), min_size=2))
def test_other_bytes_are_another_secret(many: set[bytes]) -> None:
    assert len({secret_of("tl", each) for each in many}) == len(many)


def test_of_another_kind_it_is_another_secret() -> None:
    assert len({secret_of(kind, b"x" * 32)[-6:] for kind in KINDS}) == len(KINDS)


def test_its_parts() -> None:
    """For ever: scanners know them."""
    secret = secret_of("tl", bytes(31) + b"\x3e")
    body = "tl_" + "0" * 41 + "10"
    assert secret.startswith(body)
    digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    number = 0
    for digit in secret[len(body) :]:
        number = number * 62 + digits.index(digit)
    assert number == zlib.crc32(body.encode())


@pytest.mark.parametrize("length", [0, 31, 33])
def test_it_is_made_of_32_bytes(length: int) -> None:
    with pytest.raises(ValueError, match="32"):
        secret_of("tl", bytes(length))


@pytest.mark.parametrize("text", ["", "tl_", "tl_secret", "Bearer x", "tlx_" + "0" * 49, "Ä" * 52])
def test_what_is_none_of_ours_is_not_mistyped(text: str) -> None:
    assert not is_mistyped(text)


def test_what_is_kept_of_it() -> None:
    assert digest_of("tl_secret") == hashlib.sha256(b"tl_secret").hexdigest()
