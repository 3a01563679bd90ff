"""Pages of a list that is at hand whole: in the order of a key that never changes, so that a page stays right
while things come and go."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable, Iterable
from typing import TypeVar

import msgspec

from bus.errors import Refused

MAX_LIMIT = 500

T = TypeVar("T")


def page(
    items: Iterable[T], key: Callable[[T], str], *, of: tuple[str, ...], limit: int, cursor: str
) -> tuple[tuple[T, ...], str | None]:
    """The `limit` items behind `cursor`, and the next cursor, None at the end. key: unique. of: which list
    this is, and whose; a cursor of another one is refused. Raises Refused."""
    if not 1 <= limit <= MAX_LIMIT:
        raise Refused("list-invalid", f"limit {limit} is not from 1 to {MAX_LIMIT}")
    bound = hashlib.sha256(msgspec.json.encode(of)).hexdigest()[:16]
    after = opened_cursor(cursor, bound) if cursor else ""
    left = sorted((item for item in items if key(item) > after), key=key)
    shown = tuple(left[:limit])
    more = len(left) > limit
    return shown, cursor_of(bound, key(shown[-1])) if more else None


def cursor_of(bound: str, key: str) -> str:
    """bound: the fingerprint of what the list is and whose."""
    return base64.urlsafe_b64encode(msgspec.json.encode((bound, key))).rstrip(b"=").decode()


def opened_cursor(cursor: str, bound: str) -> str:
    """The key that the page before ended with. Raises Refused for a cursor of another list."""
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        of, key = msgspec.json.decode(text, type=tuple[str, str])
    except (binascii.Error, ValueError, msgspec.MsgspecError) as error:
        raise Refused("cursor-invalid", "no page of this list ended with this cursor") from error
    if of != bound:
        raise Refused("cursor-invalid", "the cursor belongs to another list")
    return key
