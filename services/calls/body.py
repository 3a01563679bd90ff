"""Reads a captured body: undoes its content codings, finds its charset, and renders it as text, pretty JSON
or base64.

Called by the API and the command line (to show a call) and by `har`. Captured bytes are hostile: every step
is bounded by `limit_bytes`, whatever a gzip stream or a nest of brackets would grow to, and nothing here
raises on bad input; what could not be done is said in `note`.
"""

from __future__ import annotations

import codecs
import importlib
import io
import re
import zlib
from base64 import b64encode
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Literal

import msgspec

from schemas.traffic_gateway import Body, Headers

READING_LIMIT_BYTES = 1024 * 1024
MAX_CODINGS = 4
ZSTD_WINDOW_BYTES = 8 * 1024 * 1024  # RFC 9659: the largest window a sender may use for the coding "zstd"

Kind = Literal["empty", "json", "text", "binary"]

_TEXT_TYPE = re.compile(
    r"text/.+|.+\+(json|xml|yaml)|application/("
    r"json|json5|x-ndjson|jsonl|ndjson|xml|javascript|ecmascript|x-javascript|graphql|yaml|x-yaml|toml|sql|"
    r"x-www-form-urlencoded|xhtml|problem\+json|http)|multipart/.+|message/.+"
)
_BINARY_TYPE = re.compile(
    r"(image|audio|video|font)/(?!.+\+xml).+|application/(zip|gzip|pdf|wasm|zstd|protobuf|msgpack|grpc.*)"
)
_JSON_TYPE = re.compile(r"(application|text)/json|.+\+json|application/csp-report")
# Charsets of real bodies, none of which decodes to lone surrogates (they cannot travel as JSON). Python knows
# others that are no charsets (unicode_escape), cost quadratic time (punycode), or do (utf-7).
_CHARSET = re.compile(
    r"utf-?(8|8-sig|16|16-[bl]e|32|32-[bl]e)|ascii|iso8859-\d+|cp\d+|koi8-[rut]|mac-\w+|gb2312|gbk|gb18030|big5(hkscs)?|"
    r"euc_(jp|kr|jis_2004|jisx0213)|shift_jis(_2004|x0213)?|iso2022_\w+|johab|hz|tis-620|ptcp154"
)
_BOMS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_PIECE_BYTES = 256
_MAX_GZIP_MEMBERS = 1000
_JSON_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{},]')


class Undone(msgspec.Struct, frozen=True):
    """A body with its content codings undone as far as that went.

    data: at most `limit_bytes`. codings: as the header names them. complete: all codings were undone and
    their end was reached.
    note: what kept it from being complete. still_coded: bytes of `data` are still in the coding that stopped
    it.
    """

    data: bytes
    codings: tuple[str, ...] = ()
    complete: bool = True
    note: str | None = None
    still_coded: bool = False


class Text(msgspec.Struct, frozen=True):
    text: str
    charset: str


class Readable(msgspec.Struct, frozen=True):
    """A body for a person. `text` for kinds json (indented) and text, `base64` for binary; size_bytes: with
    the content codings undone, of what is shown. complete: nothing of the body is missing here."""

    kind: Kind
    size_bytes: int
    complete: bool
    text: str | None = None
    base64: str | None = None
    content_type: str | None = None
    charset: str | None = None
    codings: tuple[str, ...] = ()
    note: str | None = None


def header(headers: Headers, name: str) -> str | None:
    """The first value of a header, whatever the case of its name."""
    wanted, chars = name.lower(), len(name)
    for have, value in headers:
        if len(have) == chars and have.lower() == wanted:
            return value
    return None


def as_kept(headers: Headers, body: Body) -> Headers:
    """The headers as they describe the captured bytes of `body`, to read these with: whose codings were
    undone, for something had to be masked, is coded no more."""
    if not body.decoded:
        return headers
    return tuple((name, value) for name, value in headers if name.lower() != "content-encoding")


def media_type(content_type: str | None) -> str:
    """`text/html` of `Text/HTML; charset=x`; empty when there is none."""
    return (content_type or "").split(";", 1)[0].strip().lower()


def readable(
    headers: Headers, data: bytes, *, truncated: bool = False, limit_bytes: int = READING_LIMIT_BYTES
) -> Readable:
    """`data`, a captured body, for reading. headers: as `as_kept` gives them. truncated: the capture is cut,
    so a broken end is no fault."""
    content_type = header(headers, "content-type")
    if not data:
        return Readable("empty", 0, not truncated, content_type=content_type)
    undone = undo_codings(data, headers, limit_bytes=limit_bytes)
    complete = undone.complete and not truncated
    note = undone.note or ("the captured body is cut at the bucket's cap" if truncated else None)
    size_bytes = len(undone.data)
    found = None if undone.still_coded else text_of(undone.data, content_type, complete=complete)
    if found is None:
        encoded = b64encode(undone.data).decode()
        return Readable(
            "binary", size_bytes, complete, None, encoded, content_type, None, undone.codings, note
        )
    pretty = pretty_json(found.text, content_type, limit_bytes=4 * limit_bytes) if complete else None
    kind: Kind = "text" if pretty is None else "json"
    text = found.text if pretty is None else pretty
    return Readable(kind, size_bytes, complete, text, None, content_type, found.charset, undone.codings, note)


def undo_codings(data: bytes, headers: Headers, *, limit_bytes: int) -> Undone:
    """`data` with the codings of Content-Encoding (RFC 9110 8.4) undone, last applied first, each step cut at
    `limit_bytes`."""
    listed = ",".join(value for name, value in headers if name.lower() == "content-encoding")
    codings = tuple(
        coding for part in listed.split(",") if (coding := part.strip().lower()) not in ("", "identity")
    )
    if len(codings) > MAX_CODINGS:
        return Undone(
            data[:limit_bytes], codings, False, f"more than {MAX_CODINGS} content codings", still_coded=True
        )
    notes: list[str] = []
    for coding in reversed(codings):
        undo = _CODINGS.get(coding)
        if undo is None:
            note = f"the content coding {coding[:40]!r} is not understood"
            return Undone(data[:limit_bytes], codings, False, note, still_coded=True)
        before = data
        try:
            data, ended = undo(data, limit_bytes)
        except _NoLibrary as error:
            return Undone(before[:limit_bytes], codings, False, str(error), still_coded=True)
        except _Broken as error:
            notes.append(f"{coding} stream is damaged: {error}")
            if not error.good:
                return Undone(before[:limit_bytes], codings, False, notes[0], still_coded=True)
            data, ended = error.good, True
        if not ended:
            cut = len(data) >= limit_bytes
            notes.append(
                f"cut at {limit_bytes} decoded bytes" if cut else f"the {coding} stream ends too early"
            )
    if len(data) > limit_bytes:
        notes.append(f"cut at {limit_bytes} bytes")
        data = data[:limit_bytes]
    return Undone(data, codings, not notes, notes[0] if notes else None)


def text_of(data: bytes, content_type: str | None, *, complete: bool = True) -> Text | None:
    """`data` as text, None when it is binary: by its type, its BOM or declared charset, else by looking.
    Without a charset UTF-8 is tried, then, only for types that are text, windows-1252 (as browsers do). Not
    complete: a character cut in two at the end is dropped."""
    kind = media_type(content_type)
    if _BINARY_TYPE.fullmatch(kind):
        return None
    declared_text = bool(_TEXT_TYPE.fullmatch(kind))
    candidates = [name for bom, name in _BOMS if data.startswith(bom)][:1]
    if (declared := _declared_charset(content_type)) is not None:
        candidates.append(declared)
    candidates.append("utf-8")
    if declared_text and not kind.startswith("multipart/"):
        candidates.append("cp1252")
    for charset in dict.fromkeys(candidates):
        try:
            text = codecs.getincrementaldecoder(charset)("strict").decode(data, complete)
        except (UnicodeError, LookupError):
            continue
        if charset == "cp1252" or not declared_text:
            return None if _CONTROL.search(text) else Text(text, charset)
        return None if "\x00" in text else Text(text, charset)
    return None


def pretty_json(text: str, content_type: str | None, *, limit_bytes: int) -> str | None:
    """`text` indented, numbers and the order of keys untouched; None when it is no JSON or would grow past
    `limit_bytes`."""
    if not (_JSON_TYPE.fullmatch(media_type(content_type)) or text.lstrip()[:1] in ("{", "[")):
        return None
    raw = text.encode()
    if _pretty_bound_bytes(raw, limit_bytes) > limit_bytes:
        return None
    try:
        msgspec.json.decode(raw)
        return msgspec.json.format(raw, indent=2).decode()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError):
        return None


def _pretty_bound_bytes(raw: bytes, enough: int) -> int:
    """At least what indenting would give: a thousand brackets around a long list indent each of its lines by
    2000 spaces."""
    opens = raw.count(b"[") + raw.count(b"{")
    lines = 2 * opens + raw.count(b",") + 1
    rough = len(raw) * 2 + lines * 2 * min(opens, 2000)
    if rough <= enough:
        return rough
    depth = exact = 0
    for match in _JSON_TOKEN.finditer(raw):
        token = match.group()
        if token in b"[{":
            depth += 1
        elif token in b"]}":
            depth -= 1
        elif token != b",":
            continue
        exact += 2 * max(depth, 0) + 2
        if exact > enough:
            break
    return exact + len(raw) * 2


def _declared_charset(content_type: str | None) -> str | None:
    found = re.search(r"charset\s*=\s*[\"']?([A-Za-z0-9_.:-]{1,40})", content_type or "", re.IGNORECASE)
    if found is None:
        return None
    try:
        name = codecs.lookup(found.group(1)).name
    except (LookupError, ValueError):
        return None
    return name if _CHARSET.fullmatch(name) else None


class _Broken(Exception):
    """A coded stream that is not what it claims; `good` is what could be read before."""

    def __init__(self, reason: str, good: bytes = b"") -> None:
        super().__init__(reason)
        self.good = good


class _NoLibrary(Exception):
    """The coding is known, but nothing that can undo it within a bound is installed."""


def _gzip(data: bytes, limit_bytes: int) -> tuple[bytes, bool]:
    """RFC 1952; several members may follow each other, and zeros may pad the last."""
    out = bytearray()
    at = members = 0
    ended = True
    while at < len(data) and ended and members < _MAX_GZIP_MEMBERS:
        at, ended = _inflate(31, data, at, limit_bytes, out)
        members += 1
        while data[at : at + 1] == b"\x00":
            at += 1
    return bytes(out[:limit_bytes]), ended and at >= len(data)


def _deflate(data: bytes, limit_bytes: int) -> tuple[bytes, bool]:
    """zlib's format (RFC 1950), or the bare stream that some servers send instead."""
    zlib_headed = len(data) >= 2 and data[0] & 0x0F == 8 and int.from_bytes(data[:2], "big") % 31 == 0
    out = bytearray()
    _, ended = _inflate(15 if zlib_headed else -15, data, 0, limit_bytes, out)
    return bytes(out[:limit_bytes]), ended


def _inflate(wbits: int, data: bytes, at: int, limit_bytes: int, out: bytearray) -> tuple[int, bool]:
    """Inflate one stream of `data` from `at` on into `out`, up to one byte past the limit. Returns where it
    stopped and whether that is the stream's end. Raises _Broken with what could be read before the damage."""
    stream = zlib.decompressobj(wbits=wbits)
    start, before = at, len(out)
    try:
        while not stream.eof and len(out) <= limit_bytes and (at < len(data) or stream.unconsumed_tail):
            piece = stream.unconsumed_tail + data[at : at + _PIECE_BYTES]
            out += stream.decompress(piece, limit_bytes + 1 - len(out))
            at += _PIECE_BYTES
    except zlib.error as error:
        # zlib gives nothing of a call that fails: go there again, the last piece byte by byte.
        del out[before:]
        again = zlib.decompressobj(wbits=wbits)
        out += again.decompress(data[start:at], limit_bytes + 1 - len(out))
        with suppress(zlib.error):
            for index in range(at, len(data)):
                out += again.decompress(data[index : index + 1])
        raise _Broken(str(error), bytes(out[:limit_bytes])) from error
    return min(at, len(data)) - len(stream.unused_data), stream.eof and len(out) <= limit_bytes


def _brotli(data: bytes, limit_bytes: int) -> tuple[bytes, bool]:
    """RFC 7932. Only by a library whose output can be limited: a hundred bytes can grow to gigabytes."""
    library = _first_of("brotli", "brotlicffi")
    if library is None:
        raise _NoLibrary("reading br needs the package Brotli")
    stream = library.Decompressor()
    out = bytearray()
    try:
        out += stream.process(data, output_buffer_limit=limit_bytes)
        while len(out) < limit_bytes and not stream.is_finished():
            more = stream.process(b"", output_buffer_limit=limit_bytes - len(out))
            if not more:
                break
            out += more
    except TypeError:
        raise _NoLibrary("reading br needs Brotli 1.2 or newer, which can bound its output") from None
    except library.error as error:
        raise _Broken(str(error) or "not a brotli stream", bytes(out)) from error
    return bytes(out[:limit_bytes]), bool(stream.is_finished()) and len(out) <= limit_bytes


def _zstd(data: bytes, limit_bytes: int) -> tuple[bytes, bool]:
    """RFC 8878, several frames, windows up to RFC 9659's bound."""
    library = _first_of("zstandard")
    if library is None:
        raise _NoLibrary("reading zstd needs the package zstandard")
    reader = library.ZstdDecompressor(max_window_size=ZSTD_WINDOW_BYTES).stream_reader(
        io.BytesIO(data), read_across_frames=True
    )
    out = bytearray()
    try:
        while len(out) <= limit_bytes and (piece := reader.read(min(65_536, limit_bytes + 1 - len(out)))):
            out += piece
    except library.ZstdError as error:
        raise _Broken(str(error), bytes(out[:limit_bytes])) from error
    return bytes(out[:limit_bytes]), len(out) <= limit_bytes


def _first_of(*names: str) -> Any:
    for name in names:
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    return None


_CODINGS: dict[str, Callable[[bytes, int], tuple[bytes, bool]]] = {
    "gzip": _gzip,
    "x-gzip": _gzip,
    "deflate": _deflate,
    "br": _brotli,
    "zstd": _zstd,
}
