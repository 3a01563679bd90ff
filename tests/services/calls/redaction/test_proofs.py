"""Cards: the last digit and the issuer decide."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.calls.redaction.proofs import is_card

digits = st.text("0123456789", min_size=14, max_size=14)


def last_digit(digits: str) -> str:
    """By the textbook: from the right, every second digit doubled, nines cast out."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (2 if place % 2 == 0 else 1)
        total += value - 9 if value > 9 else value
    return str(-total % 10)


@given(digits)
def test_exactly_one_last_digit_makes_a_card(rest: str) -> None:
    number = "4" + rest
    cards = [digit for digit in "0123456789" if is_card((number + digit).encode())]
    assert cards == ([last_digit(number)] if len(set(number + last_digit(number))) > 1 else [])


@given(digits)
def test_gaps_do_not_count(rest: str) -> None:
    number = "4" + rest + last_digit("4" + rest)
    gapped = " ".join(number[at : at + 4] for at in range(0, 16, 4))
    assert is_card(number.encode()) == is_card(gapped.encode())


@given(st.sampled_from("01789"), digits)
def test_no_issuer_no_card(first: str, rest: str) -> None:
    assert not is_card((first + rest + last_digit(first + rest)).encode())
