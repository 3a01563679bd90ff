"""What a captured body is: coded or not, and which kind of text, whatever its label says.

A label is the client's word: what looks like JSON is searched as JSON, and only what looks binary is left.
"""

from __future__ import annotations

import codecs
import re
from typing import Literal, NamedTuple

from schemas.traffic_gateway import Headers
from services.calls.body import header, media_type, undo_codings
from services.calls.redaction.json_texts import looks_like_json

Shape = Literal["json", "form", "multipart", "text", "binary"]

_LOOKED_AT_BYTES = 1024
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_BINARY_TYPE = re.compile(
    r"(image|audio|video|font)/(?!.+\+xml).+|application/(zip|gzip|pdf|wasm|zstd|protobuf|msgpack|grpc.*)"
)
_JSON_TYPE = re.compile(
    r"(application|text)/(x-)?(json|json5|ndjson|jsonl|json-seq)|.+\+json|application/csp-report"
)
_FORM = re.compile(rb"[^\s=&<>\"{]{1,100}=\S*+\s*+\Z")
_MAGIC = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd")  # gzip (RFC 1952, 2.3.1), zstd (RFC 8878, 3.1.1)
_WIDE_BOMS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# ASCII in a wide charset, by which of its first four bytes are zeros (RFC 4627, 3).
_ZEROS = {
    (False, True, True, True): "utf-32-le",
    (True, True, True, False): "utf-32-be",
    (False, True, False, True): "utf-16-le",
    (True, False, True, False): "utf-16-be",
}


class Opened(NamedTuple):
    """A body that can be looked into. decoded: content codings were undone. whole: to their end, so that the
    coded bytes hold nothing that is not here."""

    text: bytes
    decoded: bool
    whole: bool


def opened(data: bytes, headers: Headers, *, truncated: bool, limit_bytes: int) -> Opened:
    """A coding that nobody here knows may be none: the bytes are looked at as they are. One that is there,
    but cannot be undone at all, as where the first block of a stream is cut, leaves nothing."""
    if header(headers, "content-encoding") is None:
        return Opened(data, False, True)
    undone = undo_codings(data, headers, limit_bytes=limit_bytes)
    if undone.still_coded and data.startswith(_MAGIC):
        return Opened(b"", True, False)
    if undone.still_coded or not undone.codings:
        return Opened(data, False, True)
    return Opened(undone.data, True, undone.complete and not truncated)


def shape(text: bytes, content_type: str | None) -> Shape:
    kind = media_type(content_type)
    head = text[:_LOOKED_AT_BYTES]
    if kind.startswith("multipart/"):
        return "multipart"
    if looks_like_json(text.removeprefix(codecs.BOM_UTF8)) or _JSON_TYPE.fullmatch(kind):
        return "json"
    if _CONTROL.search(head) is not None:
        return "binary"
    if kind == "application/x-www-form-urlencoded":
        return "form"
    if _BINARY_TYPE.fullmatch(kind):
        return "binary"
    return "form" if _FORM.match(text) is not None else "text"


def wide_charset(text: bytes) -> str | None:
    """UTF-16 or UTF-32, in which no ASCII is found as it is."""
    for bom, charset in _WIDE_BOMS:
        if text.startswith(bom):
            return charset
    first = text[:4]
    return _ZEROS.get((not first[0], not first[1], not first[2], not first[3])) if len(first) == 4 else None
