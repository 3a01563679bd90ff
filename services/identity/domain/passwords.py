"""Which passwords are taken. Length is what counts (NIST SP 800-63B 5.1.1.2): no rule about kinds of
characters, but none of those that are tried first."""

from __future__ import annotations

import re
import unicodedata

from schemas.identity import MAX_PASSWORD_CHARS, MIN_PASSWORD_CHARS
from services.identity.domain.refusing import No

MOST_UNCOMPOSED = 4
"""Characters that become one: a letter with three marks."""
MOST_AROUND = 12
"""Digits and signs around a common word that do not make it one's own."""

_ROWS = (
    "01234567890123456789",
    "98765432109876543210",
    "abcdefghijklmnopqrstuvwxyz",
    "zyxwvutsrqponmlkjihgfedcba",
    "qwertyuiopasdfghjklzxcvbnm",
    "qwertzuiopasdfghjklyxcvbnm",
    "azertyuiopqsdfghjklmwxcvbn",
    "1qaz2wsx3edc4rfv5tgb6yhn7ujm",
    "1q2w3e4r5t6y7u8i9o0p",
    "qazwsxedcrfvtgbyhnujm",
)
_STEMS = frozenset(
    (
        "password", "passwort", "motdepasse", "contrasena", "administrator", "admin", "root",
        "user", "welcome", "willkommen", "bienvenue", "letmein", "iloveyou", "trustno", "changeme", "secret",
        "default", "dashboard", "login", "master", "dragon", "monkey", "football", "baseball", "basketball",
        "sunshine", "princess", "superman", "batman", "pokemon", "starwars", "whatever", "computer",
        "internet", "samsung", "qwerty", "qwertz", "azerty", "abc", "trunkline", "correcthorsebatterystaple",
    )
)  # fmt: skip
_LEET = str.maketrans("@4301!$5", "aaeoiiss")
_REPEATED = re.compile(r"(.{1,6}?)\1+.{0,2}", re.DOTALL)
_ENDS = re.compile(r"^[\W\d_]+|[\W\d_]+$")


def normalized(password: str) -> str:
    """As it is hashed: however a keyboard composes its characters (NFC, RFC 8265 4.2.2). What is too long for
    any password stays as it is: to compose many marks takes the square of their number."""
    if len(password) > MOST_UNCOMPOSED * MAX_PASSWORD_CHARS:
        return password
    return unicodedata.normalize("NFC", password)


def check_password(password: str, email: str) -> None:
    """password: normalized. Raises No."""
    if not MIN_PASSWORD_CHARS <= len(password) <= MAX_PASSWORD_CHARS:
        raise No(
            "password-invalid",
            f"password has {len(password)} characters, not {MIN_PASSWORD_CHARS} to {MAX_PASSWORD_CHARS}",
        )
    if password.casefold().strip() == email.casefold():
        raise No("password-invalid", "password is the e-mail address")
    if is_common(password):
        raise No("password-invalid", "password is one of those that are tried first; choose another")


def is_common(password: str) -> bool:
    """Whether it is one of the words that everybody takes, with something before or behind it; a run of keys;
    or the same few characters over and over."""
    plain = password.casefold()
    if _REPEATED.fullmatch(plain) or any(plain in row for row in _ROWS):
        return True
    word = _ENDS.sub("", plain)
    around = len(plain) - len(word)
    for read in (word, word.translate(_LEET)):
        half = read[: len(read) // 2]
        if half in _STEMS and half * 2 == read:
            return True
        if around <= MOST_AROUND and (read in _STEMS or any(read in row for row in _ROWS)):
            return True
    return False
