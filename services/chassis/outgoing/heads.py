"""What about a response's head is refused, though the parser lets it through. Pure; called by `client` for
every head, those of 1xx responses too, and by whoever answers with headers that were kept.

aiohttp parses responses leniently. `Content-Length : 5` frames the body for the parser, and is a header of
another name for all who read the head as it stands; what passes such a head on makes two bodies of one.
Response smuggling and header injection end here: a head that can be read in two ways is no head.
"""

from __future__ import annotations

import re
from functools import lru_cache

from aiohttp.http import RawResponseMessage

MAX_REMEMBERED_BYTES = 64

_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 5.6.2
_CODING, _LENGTH = b"transfer-encoding", b"content-length"
_FRAMING_BYTES = frozenset((len(_CODING), len(_LENGTH)))
_LINE_END = re.compile(rb"[\r\n\0]")


def fault(message: RawResponseMessage) -> str | None:
    """What is wrong with the head; None: nothing."""
    if message.version not in ((1, 1), (1, 0)):
        return f"HTTP/{message.version[0]}.{message.version[1]}"
    if message.code < 100:
        return f"the status {message.code:03}"
    reason = message.reason
    if not reason.isprintable() and _LINE_END.search(reason.encode("utf-8", "surrogateescape")):
        return "a reason phrase that holds a line end or NUL"
    codings: list[bytes] = []
    lengths: list[bytes] = []
    for name, value in message.raw_headers:
        if (wrong := header_fault(name, value)) is not None:
            return wrong
        if len(name) not in _FRAMING_BYTES:
            continue
        lower = name.lower()
        if lower == _CODING:
            codings.append(value)
        elif lower == _LENGTH:
            lengths.append(value)
    return _unframed(message, codings, lengths)


def header_fault(name: bytes, value: bytes) -> str | None:
    """What about a header would make others of it, written on a wire; None: nothing."""
    if not (_is_name(name) if len(name) <= MAX_REMEMBERED_BYTES else _NAME.fullmatch(name)):
        return f"a header called {_shown(name)}"
    if _LINE_END.search(value) is not None:
        return f"a line end or NUL in the header {_shown(name)}"
    return None


@lru_cache(maxsize=1024)
def _is_name(name: bytes) -> bool:
    """Remembers answers: short names repeat."""
    return _NAME.fullmatch(name) is not None


def _unframed(message: RawResponseMessage, codings: list[bytes], lengths: list[bytes]) -> str | None:
    """RFC 9112 6.1 to 6.3."""
    bodiless = message.code < 200 or message.code == 204
    if codings:
        if message.version != (1, 1):
            return "a Transfer-Encoding in HTTP/1.0"
        if len(codings) > 1 or codings[0].lower() != b"chunked":
            return f"a transfer coding other than chunked: {_shown(b', '.join(codings))}"
        if lengths:
            return "both Content-Length and Transfer-Encoding"
        if bodiless:
            return f"a Transfer-Encoding with status {message.code}"
    if len(lengths) > 1 or (lengths and not lengths[0].isdigit()):
        return f"Content-Length {_shown(b', '.join(lengths))}"
    if bodiless and lengths and int(lengths[0]) > 0:
        return f"Content-Length {_shown(lengths[0])} with status {message.code}"
    return None


def _shown(raw: bytes) -> str:
    return repr(raw[:80].decode("ascii", "backslashreplace"))
