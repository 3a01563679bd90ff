"""Calls to redact: JSON of a given size, clean or with secrets in it, and bodies made to be slow."""

from __future__ import annotations

import json
from typing import Any

from schemas.traffic_gateway import Headers

JSON_HEADERS: Headers = (("Content-Type", "application/json"),)

REQUEST_HEADERS: Headers = (
    ("Host", "api.example.com"),
    ("User-Agent", "python-requests/2.32.3"),
    ("Accept", "application/json, */*;q=0.5"),
    ("Accept-Encoding", "gzip, deflate, br, zstd"),
    ("Authorization", "Bearer " + "a1B2c3" * 6),
    ("Cookie", "session=" + "a1b2c3" * 6 + "; theme=dark"),
    ("Content-Type", "application/json"),
    ("Content-Length", "1024"),
    ("X-Request-Id", "019c1360-1d62-7000-8000-000000000001"),
)

RESPONSE_HEADERS: Headers = (
    ("Date", "Sat, 31 Jan 2026 12:30:15 GMT"),
    ("Content-Type", "application/json; charset=utf-8"),
    ("Content-Length", "1024"),
    ("Set-Cookie", "session=" + "a1b2c3" * 6 + "; Path=/; HttpOnly; SameSite=Lax"),
    ("Location", "https://api.example.com/v1/orders/1001?expand=items"),
    ("ETag", '"5f3c8a"'),
    ("Strict-Transport-Security", "max-age=63072000"),
)

URL = "https://api.example.com/v1/orders?expand=items&page=2&api_key=a1B2c3d4e5"


def orders(size_bytes: int, *, secrets: bool) -> bytes:
    """A list of orders, as near to `size_bytes` as whole items come."""
    document: dict[str, Any] = {
        "id": "019c1360-1d62-7000-8000-000000000001",
        "created_at": "2026-01-31T12:30:15.250Z",
        "customer": {"name": "Ada", "email": "ada@example.com", "phone": "+44 20 7946 0000"},
        "items": [],
    }
    if secrets:
        document["access_token"] = "ghp_" + "a1B2" * 9
        document["callback"] = "https://example.com/hook?order=1001&token=a1B2c3"
        document["payment"] = {"card": "4" + "1" * 15, "cvv": 123}
    while len(json.dumps(document)) < size_bytes - 80:
        at = len(document["items"])
        document["items"] += [
            {
                "sku": f"item-{at}",
                "name": "Tea, green, loose",
                "price_cents": 1200 + at % 100,
                "in_stock": True,
            }
        ] * (1 if size_bytes < 10_000 else 500)
    return json.dumps(document).encode()


def hostile(size_bytes: int) -> dict[str, bytes]:
    """What costs most a byte: many short secrets, many short escaped strings, many coded parameters."""
    units = {
        "secrets, each 1 byte": b'"token":"a",',
        "strings with an escape": b'"aaaaaaa\\n",',
        "coded parameters": b"aaaa=aaaaaa%20&",
    }
    return {name: unit * (size_bytes // len(unit)) for name, unit in units.items()}
