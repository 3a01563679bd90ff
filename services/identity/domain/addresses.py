"""E-mail addresses: how one is written down, and who is meant by it."""

from __future__ import annotations

import re
import unicodedata

from services.identity.domain.refusing import No

MAX_CHARS = 254  # RFC 5321 4.5.3.1.3, without the angle brackets
MOST_CHARS = 4 * MAX_CHARS  # with blanks around it, and before its letters and marks are composed
MAX_LOCAL_CHARS = 64  # RFC 5321 4.5.3.1.1

_LOCAL = re.compile(r'[^\s@"(),:;<>\[\\\]]+')
_DOMAIN = re.compile(r"(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.)*[^\W_](?:[\w-]{0,61}[^\W_])?")


def address_from(text: str, slug: str = "member-invalid") -> str:
    """The address without blanks around it, its domain in lower case; also those of RFC 6531. Raises No for
    what is none; quoted local parts and address literals are not taken."""
    # What is longer has no need to be composed, which takes the square of its length.
    address = unicodedata.normalize("NFC", text.strip()) if len(text) <= MOST_CHARS else text
    local, _, domain = address.rpartition("@")
    domain = domain.lower()
    good = (
        0 < len(local) <= MAX_LOCAL_CHARS
        and len(address) <= MAX_CHARS
        and address.isprintable()
        and _LOCAL.fullmatch(local)
        and _DOMAIN.fullmatch(domain)
        and not (local.startswith(".") or local.endswith(".") or ".." in local)
    )
    if not good:
        raise No(slug, f"email {text[:80]!r} is no e-mail address")
    return f"{local}@{domain}"


def folded(address: str) -> str:
    """What an address has in common with itself however its letters are written."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", address).casefold())
