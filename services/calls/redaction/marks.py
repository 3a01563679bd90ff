"""What is found (`Hit`), what is written in its place, and the record of what was masked."""

from __future__ import annotations

import hmac
import re
from bisect import bisect_right
from collections.abc import Iterable
from typing import Literal, NamedTuple

from schemas.traffic_gateway import Masked, MaskedWhere

DROPPED = b"[redacted]"
"""Stands for a value in strict mode."""

MARK = re.compile(rb"(?:\[|%5B)redacted(?::[a-z0-9-]{1,40}:[0-9a-f]{8})?(?:\]|%5D)")
MAX_RECORDS = 64

Side = Literal["request", "response"]


class Hit(NamedTuple):
    """`text[start:end]` is to be masked. rule: the kind of secret. name: the header, key, parameter, path or
    expression that tells so; empty when the value does. secret: what is masked, its escapes undone. quote:
    what the mark needs around it, where it takes the place of a JSON number."""

    start: int
    end: int
    rule: str
    name: str
    secret: bytes
    quote: bytes = b""


class Marker:
    """Writes marks. key: the bucket's own, derived for this purpose; None: every mark is DROPPED."""

    __slots__ = ("_key",)

    def __init__(self, key: bytes | None) -> None:
        self._key = key

    def mark(self, rule: str, secret: bytes) -> bytes:
        """Equal secrets get equal digits, whatever rule found them. 32 bits tell a bucket's secrets apart and
        no more: without the key there is nothing to try guesses against."""
        if self._key is None:
            return DROPPED
        digest = hmac.digest(self._key, secret, "sha256")
        return f"[redacted:{rule}:{digest[:4].hex()}]".encode()

    def applied(self, text: bytes, hits: list[Hit]) -> bytes:
        """`text` with each hit replaced by its mark, every other byte as it was."""
        pieces: list[bytes] = []
        at = 0
        for start, end, rule, _, secret, quote in hits:
            mark = self.mark(rule, secret)
            if rule == "userinfo":  # brackets before an `@` are taken for those of an IPv6 address
                mark = b"%5B" + mark[1:-1] + b"%5D"
            pieces += (text[at:start], quote, mark, quote)
            at = end
        pieces.append(text[at:])
        return b"".join(pieces)


def merged(text: bytes, hits: list[Hit]) -> list[Hit]:
    """In order, and those that overlap made one: what any rule masks is masked."""
    if len(hits) < 2:
        return hits
    hits.sort(key=lambda hit: (hit.start, -hit.end))
    kept: list[Hit] = []
    for hit in hits:
        if not kept or hit.start >= kept[-1].end:
            kept.append(hit)
        elif hit.end > kept[-1].end:
            first = kept[-1]
            kept[-1] = first._replace(end=hit.end, secret=text[first.start : hit.end])
    return kept


def moved(hits: list[Hit], offset: int) -> list[Hit]:
    return [hit._replace(start=hit.start + offset, end=hit.end + offset) for hit in hits]


def outside(spans: list[tuple[int, int]], hits: list[Hit]) -> list[Hit]:
    """Those that begin in none of the spans, which are in order and overlap no other."""
    if not spans:
        return hits
    kept = []
    for hit in hits:
        nearest = bisect_right(spans, hit.start, key=lambda span: span[0]) - 1
        if nearest < 0 or hit.start >= spans[nearest][1]:
            kept.append(hit)
    return kept


class Tally:
    """What was masked of one call. `masked` at the end."""

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts: dict[tuple[MaskedWhere, str, str], int] = {}

    def add(self, where: MaskedWhere, rule: str, name: str, count: int = 1) -> None:
        record = (where, rule, name)
        if record not in self._counts and len(self._counts) >= MAX_RECORDS:
            record = (where, rule, "")  # names are the client's: they must not make an event grow
        self._counts[record] = self._counts.get(record, 0) + count

    def add_all(self, where: MaskedWhere, hits: Iterable[Hit]) -> None:
        for hit in hits:
            self.add(where, hit.rule, hit.name)

    def masked(self) -> tuple[Masked, ...]:
        return tuple(Masked(where, rule, name, count) for (where, rule, name), count in self._counts.items())
