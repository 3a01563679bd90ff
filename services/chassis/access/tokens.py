"""What a secret that Trunkline hands out looks like: `tl_`, 43 characters of base62 (256 bits), and 6 of
their CRC-32, so that whoever looks for leaked secrets can tell one from chance. Pure."""

from __future__ import annotations

import hashlib
import re
import zlib
from typing import Literal

Kind = Literal["tl", "tlb", "tls", "tli"]
"""`tl` an API token, `tlb` a bucket's auth token, `tls` a session, `tli` an invitation."""

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_BODY_CHARS = 43
_CHECK_CHARS = 6
_SECRET = re.compile(rf"tl[bsi]?_[0-9A-Za-z]{{{_BODY_CHARS + _CHECK_CHARS}}}")


def secret_of(kind: Kind, random: bytes) -> str:
    """The secret that 32 random bytes stand for. Raises ValueError for another number of bytes."""
    if len(random) != 32:
        raise ValueError(f"{len(random)} bytes; a secret is made of 32")
    body = f"{kind}_{_base62(int.from_bytes(random, 'big'), _BODY_CHARS)}"
    return body + _check(body)


def is_mistyped(secret: str) -> bool:
    """Whether it looks like a secret of Trunkline and its checksum is wrong: nobody needs to be asked."""
    if _SECRET.fullmatch(secret) is None:
        return False
    return _check(secret[:-_CHECK_CHARS]) != secret[-_CHECK_CHARS:]


def digest_of(secret: str) -> str:
    """What is kept of a secret: its SHA-256 in hex."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _check(body: str) -> str:
    return _base62(zlib.crc32(body.encode()), _CHECK_CHARS)


def _base62(number: int, chars: int) -> str:
    text = ""
    for _ in range(chars):
        number, at = divmod(number, 62)
        text = _DIGITS[at] + text
    return text
