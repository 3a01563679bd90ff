"""What must not be published of a call: masked before anything leaves the process that captured it. Pure.

Called by whoever makes a `CallCaptured`: a `redactor.Redactor` for each bucket. A secret gives way to
`[redacted:<kind>:<8 hex of an HMAC under the bucket's key>]`, so that equal secrets stay comparable, and
every other byte stays as it was. docs/redaction.md says what is found, and what is not.

`redact_headers` alone is for who has no bucket's settings and key.
"""

from __future__ import annotations

from functools import lru_cache

from schemas.traffic_gateway import Headers
from services.calls.redaction.rules import MASK, SECRET_HEADERS

__all__ = ["MASK", "SECRET_HEADERS", "is_secret", "redact_headers"]


@lru_cache(maxsize=4096)
def is_secret(name: str) -> bool:
    """Whether a header of this name carries a credential. Remembers answers: names repeat."""
    return name.lower() in SECRET_HEADERS


def redact_headers(headers: Headers) -> Headers:
    """The same headers, in the same order, with the values of secret ones replaced by MASK."""
    return tuple((name, MASK if is_secret(name) else value) for name, value in headers)
