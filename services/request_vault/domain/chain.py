"""The chain over a partition's records: what proves that nothing in the log was changed, taken out or put in.

Pure. Each record has a digest, salted so that a digest that stays behind says nothing of a record that was
erased. The digests of SEGMENT consecutive numbers run into one (`running`), and each full segment is sealed
into the chain:

    running(n) = sha256(running(n - 1) + digest(n)), beginning with START in each segment
    chain(s)   = sha256(chain(s - 1) + running at the segment's last number), beginning with START

A record that is erased leaves its digest; a segment that was trimmed whole leaves its `running`. Part of the
log's format.
"""

from __future__ import annotations

import hashlib

SEGMENT = 1000
SALT_BYTES = 16
DIGEST_BYTES = 32
START = bytes(32)


def record_digest(
    salt: bytes,
    partition: int,
    number: int,
    stream: str,
    version: int,
    prev: int | None,
    recorded_us: int,
    encoded: bytes,
) -> bytes:
    """Of a record's envelope and of what the envelope does not say. 32 bytes."""
    digest = hashlib.sha256(salt)
    digest.update(f"{partition}:{number}:{stream}:{version}:{prev}:{recorded_us}\x1f".encode())
    digest.update(encoded)
    return digest.digest()


def run_on(running: bytes, digest: bytes) -> bytes:
    """`running` after one more digest."""
    return hashlib.sha256(running + digest).digest()


def sealed(chain: bytes, running: bytes) -> bytes:
    """`chain` after one more segment."""
    return hashlib.sha256(chain + running).digest()


def ends_segment(number: int) -> bool:
    return number % SEGMENT == 0


def begins_segment(number: int) -> bool:
    return number % SEGMENT == 1


def segment_of(number: int) -> tuple[int, int]:
    """The first and the last number of a number's segment."""
    first = (number - 1) // SEGMENT * SEGMENT + 1
    return first, first + SEGMENT - 1
