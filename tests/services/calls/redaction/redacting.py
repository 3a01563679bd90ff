"""A redactor and what it makes of a body, for the tests beside this file. Secrets are put together here, so
that none stands in the sources."""

from __future__ import annotations

from schemas.identity import Redaction
from schemas.traffic_gateway import Headers
from services.calls.redaction.marks import Marker, Tally
from services.calls.redaction.redactor import RedactedBody, Redactor

KEY = bytes(range(32))
JSON = "application/json"
FORM = "application/x-www-form-urlencoded"

GITHUB = "ghp_" + "a1B2" * 9
JWT = "eyJhbGciOiJIUzI1NiJ9." + "eyJzdWIiOiIxIn0." + "c2lnbmF0dXJl" * 3
CARD = "4" + "1" * 15
PRIVATE_KEY = "-----BEGIN RSA PRIVATE KEY-----\n" + "MIIEpAIBAAKCAQEA\n" * 3 + "-----END RSA PRIVATE KEY-----"


def redactor(
    mode: str = "default",
    headers: tuple[str, ...] = (),
    paths: tuple[str, ...] = (),
    patterns: tuple[str, ...] = (),
    key: bytes = KEY,
) -> Redactor:
    return Redactor(Redaction(mode, headers, paths, patterns), key)  # type: ignore[arg-type]


def typed(content_type: str | None) -> Headers:
    return () if content_type is None else (("Content-Type", content_type),)


def body(
    data: bytes, content_type: str | None = JSON, by: Redactor | None = None, *, truncated: bool = False
) -> bytes:
    return whole(data, typed(content_type), by, truncated=truncated).data


def whole(
    data: bytes, headers: Headers, by: Redactor | None = None, *, truncated: bool = False
) -> RedactedBody:
    return (by or redactor()).body(data, headers, "request", Tally(), truncated=truncated)


def rules(data: bytes, content_type: str | None = JSON, by: Redactor | None = None) -> list[tuple[str, str]]:
    tally = Tally()
    (by or redactor()).body(data, typed(content_type), "response", tally)
    return [(masked.rule, masked.name) for masked in tally.masked()]


def mark(rule: str, secret: str | bytes, key: bytes = KEY) -> str:
    return Marker(key).mark(rule, secret if isinstance(secret, bytes) else secret.encode()).decode()
