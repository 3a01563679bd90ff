"""What about a request's head the gateway refuses to relay, though the parser lets it through. Pure; called
by `edge.serving` before anything else looks at the request.

A target, or a proxy before it, that reads a head in another way than the gateway takes the end of one request
for the beginning of the next: request smuggling. So a head passes only when there is one way to read it. What
llhttp refuses by itself (a Content-Length beside a Transfer-Encoding, several of either, several Hosts,
obs-fold, bare CR and LF, NUL, blanks before the colon, sizes that are no numbers) is not looked for again. A
Host that contradicts an absolute request target is no second reading: what is relayed names the target only
(RFC 9112 3.2.2).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

import msgspec

from services.traffic_gateway.domain.headers import RawHeader

MAX_HOST_BYTES = 1024  # four times what DNS allows: escapes and other scripts are longer

Kind = Literal["invalid", "coding", "version"]

_HOST = re.compile(
    rb"(?:[A-Za-z0-9._~%\x80-\xff-]*|\[[0-9A-Fa-f:.]+(?:%[A-Za-z0-9._~-]+)?\])(?::[0-9]{0,5})?"
)
# What a CGI-like target reads as a framing header (RFC 3875 4.1.18 turns "-" into "_").
_DISGUISED = frozenset((b"content_length", b"transfer_encoding"))
# Methods of RTSP and of ICE, which the parser knows too and calls HTTP/1.0.
_RTSP = ("DESCRIBE", "ANNOUNCE", "SETUP", "PLAY", "PAUSE", "TEARDOWN", "RECORD", "FLUSH", "REDIRECT")
_OTHER_PROTOCOLS = frozenset((*_RTSP, "GET_PARAMETER", "SET_PARAMETER", "SOURCE"))


class Refusal(msgspec.Struct, frozen=True):
    """kind: `invalid` (400), `coding` (501, RFC 9112 6.1), `version` (505)."""

    kind: Kind
    detail: str


def refusal(method: str, version: tuple[int, int], headers: Sequence[RawHeader]) -> Refusal | None:
    """Why this head is not relayed; None: it may be."""
    if version not in ((1, 1), (1, 0)) or method in _OTHER_PROTOCOLS:
        return Refusal("version", "the request line names no HTTP/1.1 and no HTTP/1.0")
    host: bytes | None = None
    coding: bytes | None = None
    for name, value in headers:
        lower = name.lower()
        if lower == b"host":
            host = value
        elif lower == b"transfer-encoding":
            coding = value if coding is None else coding + b"," + value
        elif lower in _DISGUISED:
            return Refusal("invalid", f"a header is called {_shown(name)}: some targets frame bodies by it")
    if coding is not None and (refused := _coding_refused(coding, version)) is not None:
        return refused
    if host is not None and (len(host) > MAX_HOST_BYTES or _HOST.fullmatch(host) is None):
        return Refusal("invalid", f"{_shown(host)} in the Host header is no host")
    return None


def _coding_refused(coding: bytes, version: tuple[int, int]) -> Refusal | None:
    if version == (1, 0):
        return Refusal("invalid", "HTTP/1.0 has no Transfer-Encoding (RFC 9112 6.1)")
    if coding.lower() == b"chunked":
        return None
    if coding.lower().replace(b" ", b"").endswith(b",chunked") and not coding.startswith(b","):
        return Refusal("coding", f"transfer coding {_shown(coding)}: only chunked is understood")
    return Refusal("invalid", f"Transfer-Encoding {_shown(coding)} is not chunked")


def _shown(raw: bytes) -> str:
    return repr(raw[:80].decode("ascii", "backslashreplace"))
