"""Checks that no expression can make: whether what looks like a credential is one."""

from __future__ import annotations

import binascii
import re
from base64 import b64decode

_DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)
# ISO/IEC 7812: who issues cards of which first digits, and how long their numbers are.
_ISSUERS = re.compile(
    rb"4(?:.{12}|.{15}|.{18})"  # Visa
    rb"|5[1-5].{14}|2(?:22[1-9]|2[3-9].|[3-6]..|7[01].|720).{12}"  # Mastercard
    rb"|3[47].{13}"  # American Express
    rb"|(?:6011|64[4-9].|65..|62..).{12,15}"  # Discover, UnionPay
    rb"|35(?:2[89]|[3-8].).{12,15}"  # JCB
    rb"|3(?:0[0-5]|095|[689].).{11,16}"  # Diners Club
    rb"|(?:5018|5020|5038|5893|6304|6759|676[1-3]).{12,15}",  # Maestro
    re.DOTALL,
)
_GAPS = re.compile(rb"[ -]")


def has_digit(text: bytes) -> bool:
    return any(48 <= byte <= 57 for byte in text)


def is_bearer(token: bytes) -> bool:
    """Not the words that follow "bearer" in a sentence, as in "bearer authentication"."""
    return len(token) >= 20 or has_digit(token)


def is_basic(token: bytes) -> bool:
    """Base64 of `user:password` (RFC 7617, 2)."""
    token = token.replace(b"-", b"+").replace(b"_", b"/").rstrip(b"=")
    try:
        plain = b64decode(token + b"=" * (-len(token) % 4), validate=True).decode()
    except (binascii.Error, ValueError):
        return False
    return ":" in plain and plain.isprintable()


def is_card(text: bytes) -> bool:
    """A number of a card that somebody issues, whose last digit is right (ISO/IEC 7812-1, annex B: Luhn)."""
    digits = _GAPS.sub(b"", text)
    if _ISSUERS.fullmatch(digits) is None or digits.count(digits[:1]) == len(digits):
        return False
    from_the_end = [byte - 48 for byte in reversed(digits)]
    return (sum(from_the_end[::2]) + sum(_DOUBLED[digit] for digit in from_the_end[1::2])) % 10 == 0
