"""What a chunk of a body has to be. Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

from bus.errors import Reject
from schemas.identity import MAX_BODY_CAP_BYTES
from schemas.request_vault import BODY_PART_BYTES, BodyChunk

MAX_BODY_BYTES = MAX_BODY_CAP_BYTES
BUCKET = re.compile(r"[A-Za-z0-9_-]{1,200}")
SHA256 = re.compile(r"[0-9a-f]{64}")


def is_name(bucket: str, sha256: str) -> bool:
    """Whether there can be such a body: no other name becomes a path."""
    return bool(BUCKET.fullmatch(bucket) and SHA256.fullmatch(sha256))


def check_chunk(chunk: BodyChunk) -> None:
    """Raises Reject unless the chunk can be a piece of the body that it names."""
    name = f"body chunk {chunk.index} of {chunk.count} of {chunk.sha256[:80]!r}"
    if not is_name(chunk.bucket, chunk.sha256):
        raise Reject(f"{name}: bucket {chunk.bucket[:80]!r} or hash is none")
    if not 0 <= chunk.index < chunk.count:
        raise Reject(f"{name}: there is no such chunk")
    if not 1 <= chunk.size_bytes <= MAX_BODY_BYTES:
        raise Reject(f"{name}: a body of {chunk.size_bytes} bytes; it has 1 to {MAX_BODY_BYTES}")
    if not 1 <= len(chunk.data) <= BODY_PART_BYTES or chunk.count > chunk.size_bytes:
        raise Reject(f"{name}: {len(chunk.data)} bytes; a chunk has 1 to {BODY_PART_BYTES}")


def check_body(chunk: BodyChunk, contents: Iterable[bytes]) -> None:
    """Raises Reject unless these are the bytes of the body that `chunk` names."""
    digest, size = hashlib.sha256(), 0
    for content in contents:
        digest.update(content)
        size += len(content)
    if digest.hexdigest() != chunk.sha256 or size != chunk.size_bytes:
        raise Reject(
            f"body {chunk.sha256} in bucket {chunk.bucket}: its {chunk.count} chunks make {size} bytes "
            f"(it has {chunk.size_bytes}) with hash {digest.hexdigest()}"
        )
