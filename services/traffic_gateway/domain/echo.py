"""What the request bin answers: the request back, as JSON. Pure."""

from __future__ import annotations

import msgspec

from schemas.traffic_gateway import Body, Headers


def echo_of(id: str, method: str, url: str, headers: Headers, body: Body) -> bytes:
    """As much of the body as rides in an event, as text."""
    inline = body.inline
    return msgspec.json.encode(
        {
            "id": id,
            "method": method,
            "url": url,
            "headers": headers,
            "body": None if inline is None else inline.decode("utf-8", "replace"),
            "body_bytes": body.size_bytes,
        }
    )
