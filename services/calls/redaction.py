"""What must not be published of a call: masked before anything leaves the process that captured it. Pure.

Called by whoever makes a `CallCaptured`. For now the values of headers that carry credentials; names stay, so
that one sees that they were sent. Bodies and query parameters are captured as they were.
"""

from __future__ import annotations

from functools import lru_cache

from schemas.traffic_gateway import Headers

MASK = "[redacted:header]"

SECRET_HEADERS = frozenset(
    (
        "authorization",
        "proxy-authorization",
        "cookie",
        "set-cookie",
        "api-key",
        "apikey",
        "x-api-key",
        "x-apikey",
        "x-access-token",
        "x-amz-security-token",
        "x-auth-token",
        "x-csrf-token",
        "x-goog-api-key",
        "x-xsrf-token",
    )
)


@lru_cache(maxsize=4096)
def is_secret(name: str) -> bool:
    """Whether a header of this name carries a credential. Remembers answers: names repeat."""
    return name.lower() in SECRET_HEADERS


def redact_headers(headers: Headers) -> Headers:
    """The same headers, in the same order, with the values of secret ones replaced by MASK."""
    return tuple((name, MASK if is_secret(name) else value) for name, value in headers)
