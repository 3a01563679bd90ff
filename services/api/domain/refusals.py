"""What a service's refusal is in HTTP: by the last word of its slug, so that a new operation's refusals need
no line anywhere. Pure."""

from __future__ import annotations

OTHER = 422
BY_LAST_WORD = {
    "invalid": 400,
    "malformed": 400,
    "unauthorized": 401,
    "forbidden": 403,
    "unknown": 404,
    "conflict": 409,
    "exists": 409,
    "observed": 409,
    "damaged": 410,
    "deleted": 410,
    "gone": 410,
    "limited": 429,
}


def status_by_word(slug: str) -> int:
    return BY_LAST_WORD.get(slug.rpartition("-")[2], OTHER)
