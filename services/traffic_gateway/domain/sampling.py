"""Which calls of a bucket with a sampling rate are kept. Pure.

A call's id decides, and nothing about the call: what is kept is a fair share of everything, errors too, and
whoever knows the id can tell.
"""

from __future__ import annotations

import hashlib

_BITS = 64


def is_kept(id: str, share: float) -> bool:
    """share: 0 keeps none, 1 all."""
    if share >= 1.0:
        return True
    digest = hashlib.blake2b(id.encode(), digest_size=_BITS // 8).digest()
    return int.from_bytes(digest, "big") < share * (1 << _BITS)
