"""Which headers pass through a proxy, and as what. Pure; raw bytes in, raw bytes out, order and case
untouched.

Hop-by-hop headers are taken out (RFC 9110 7.6.1): the well-known ones, `Proxy-*`, and those that `Connection`
names. `Trailer` goes with them, since trailers are not relayed. Framing is what both sides must agree on, so
no `Connection` header can take `Host`, `Content-Length` or `Transfer-Encoding` away.
"""

from __future__ import annotations

from collections.abc import Iterable

RawHeader = tuple[bytes, bytes]

CALL_ID = b"Trunkline-Call-Id"

_HOP_BY_HOP = frozenset((b"connection", b"keep-alive", b"te", b"trailer", b"upgrade"))
BUCKET_AUTH = frozenset((b"trunkline-bucket-auth", b"runscope-bucket-auth"))
"""Carry the bucket's auth token: for the gateway alone, neither relayed nor captured."""

_OURS = (b"trunkline-", b"runscope-", b"proxy-")  # what clients say to the gateway (`instructions`)
_FRAMING = frozenset((b"host", b"content-length", b"transfer-encoding"))
_USUAL_TOKENS = frozenset((b"close", b"keep-alive", b"te", b"upgrade", b""))


class RequestHeaders:
    """headers: what the target gets. chunked: the body travels in chunked transfer coding."""

    __slots__ = ("chunked", "headers", "size_bytes", "upgrade")

    def __init__(self, raw: Iterable[RawHeader], host: bytes, upgrade: bool = False) -> None:
        """`host`: the target's, which takes the place of the gateway's. upgrade: to a protocol that is
        relayed, so that `Upgrade` passes, and of `Connection` the word that goes with it."""
        kept: list[RawHeader] = []
        named: set[bytes] = set()
        self.chunked = False
        self.upgrade = upgrade
        self.size_bytes = 0
        host_at = -1
        for pair in raw:
            name, value = pair
            self.size_bytes += len(name) + len(value)
            lower = name.lower()
            if lower == b"host":
                host_at = len(kept)
                kept.append((name, host))
            elif lower in _HOP_BY_HOP:
                if lower == b"connection":
                    named |= _tokens(value)
                    if upgrade and b"upgrade" in value.lower():
                        kept.append((name, b"Upgrade"))
                elif lower == b"upgrade" and upgrade:
                    kept.append(pair)
            elif lower.startswith(_OURS):
                pass
            else:
                if lower == b"transfer-encoding":
                    self.chunked = True
                kept.append(pair)
        if host_at < 0:
            kept.insert(0, (b"Host", host))
        self.headers = _without(kept, named) if named else kept


class ResponseHeaders:
    """headers: what passes of a response's, its transfer coding still among them. coded: there is one.
    length: of Content-Length, None without one."""

    __slots__ = ("coded", "headers", "length", "size_bytes")

    def __init__(self, raw: Iterable[RawHeader]) -> None:
        kept: list[RawHeader] = []
        named: set[bytes] = set()
        self.length: int | None = None
        self.coded = False
        self.size_bytes = 0
        for pair in raw:
            name, value = pair
            self.size_bytes += len(name) + len(value)
            lower = name.lower()
            if lower in _HOP_BY_HOP:
                if lower == b"connection":
                    named |= _tokens(value)
            elif not lower.startswith(b"proxy-"):
                if lower == b"transfer-encoding":
                    self.coded = True
                elif lower == b"content-length" and value.isdigit():
                    self.length = int(value)
                kept.append(pair)
        if self.coded and self.length is not None:  # RFC 9112 6.3: the coding overrides
            named.add(b"content-length")
            self.length = None
        self.headers = _without(kept, named) if named else kept

    def uncoded(self) -> list[RawHeader]:
        """The headers for a body that is sent without a transfer coding."""
        return _without(self.headers, {b"transfer-encoding"}) if self.coded else self.headers


def serialized(headers: Iterable[RawHeader]) -> bytes:
    parts: list[bytes] = []
    for name, value in headers:
        parts += (name, b": ", value, b"\r\n")
    return b"".join(parts)


def _tokens(value: bytes) -> set[bytes]:
    return {token.strip().lower() for token in value.split(b",")} - _USUAL_TOKENS - _FRAMING


def _without(headers: list[RawHeader], named: set[bytes]) -> list[RawHeader]:
    return [pair for pair in headers if pair[0].lower() not in named]
