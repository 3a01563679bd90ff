"""A value that is looked for in calls, so that the calls are erased: at a header, or at a JSON path in JSON
bodies.

Pure. Bodies are hostile, and so may a path be: what one call can cost is bounded. A path has no filters (what
they compare with would stay in the log), at most one `..` and few alternatives, so that it visits each value
of a document a few times at most.
"""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec
from jsonpath_rfc9535 import JSONPathEnvironment, JSONPathError, JSONPathQuery
from jsonpath_rfc9535.segments import JSONPathRecursiveDescentSegment
from jsonpath_rfc9535.selectors import FilterSelector

from bus.errors import Refused
from schemas.request_vault import EraseSubject
from schemas.traffic_gateway import Body, CallCaptured, Headers
from services.calls.body import as_kept, header, media_type, text_of, undo_codings

MAX_VALUE_CHARS = 1000
MAX_PATH_CHARS = 500
MAX_SEGMENTS = 20
MAX_ALTERNATIVES = 8
READ_BYTES = 8 * 1024 * 1024
"""How much of a body is looked into, its content codings undone."""

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,200}")  # RFC 9110, 5.6.2: token
_JSON_TYPE = re.compile(r"(application|text)/json|.+\+json")
_NUMBER = re.compile(r"-?[0-9]{1,400}(\.[0-9]{1,400})?([eE][+-]?[0-9]{1,4})?")


class Sought:
    """Made by `sought`. `where` says what the log may keep of it."""

    def __init__(self, header: str, path: JSONPathQuery | None, value: str) -> None:
        self._header = header.lower()
        self._path = path
        self._value = value
        self.where = f"header {self._header}" if path is None else f"json {path}"

    @property
    def reads_bodies(self) -> bool:
        return self._path is not None

    def in_headers(self, call: CallCaptured) -> bool:
        if self._path is not None:
            return False
        # Captured headers are latin-1, whatever was meant by their bytes.
        wanted = {self._value, self._value.encode().decode("latin-1")}
        sides = (call.request.headers, call.response.headers if call.response is not None else ())
        return any(
            name.lower() == self._header and value.strip() in wanted
            for headers in sides
            for name, value in headers
        )

    def in_body(self, headers: Headers, body: Body, data: bytes) -> bool:
        """data: the captured bytes, as `services.calls.body` takes them."""
        if self._path is None or not data:
            return False
        content_type = header(headers, "content-type")
        undone = undo_codings(data, as_kept(headers, body), limit_bytes=READ_BYTES)
        if undone.still_coded:
            return False
        whole = undone.complete and not body.truncated
        found = text_of(undone.data, content_type, complete=whole)
        if found is None:
            return False
        text = found.text.lstrip("\ufeff \t\r\n")
        if not (_JSON_TYPE.fullmatch(media_type(content_type)) or text[:1] in ("{", "[")):
            return False
        try:
            document = msgspec.json.decode(text)
            return any(self._is_it(node.value) for node in self._path.finditer(document))
        except (msgspec.DecodeError, JSONPathError, RecursionError, ValueError):
            # Cut, several documents in one, or nested past what can be followed.
            return self._stands_in(text)

    def _is_it(self, value: Any) -> bool:
        match value:
            case str():
                return value == self._value
            case None | True | False:
                return msgspec.json.encode(value).decode() == self._value
            case int() | float() if _NUMBER.fullmatch(self._value):
                try:
                    return Decimal(self._value) == Decimal(str(value))
                except InvalidOperation:
                    return False
        return False

    def _stands_in(self, text: str) -> bool:
        """Whether the value is anywhere in it, as JSON writes it."""
        plain = msgspec.json.encode(self._value).decode()
        escaped = '"' + "".join(c if c.isascii() else _escaped(c) for c in plain[1:-1]) + '"'
        if plain in text or escaped in text:
            return True
        if not _NUMBER.fullmatch(self._value) and self._value not in ("true", "false", "null"):
            return False
        return re.search(rf"(?<![\w.+\"-]){re.escape(self._value)}(?![\w.+\"-])", text) is not None


def sought(ask: EraseSubject) -> Sought:
    """Raises Refused("erasure-invalid"), without repeating the value."""
    if bool(ask.header) == bool(ask.path):
        raise invalid("header, path", "exactly one of them says where the value stands")
    if not 0 < len(ask.value) <= MAX_VALUE_CHARS:
        raise invalid("value", f"{len(ask.value)} characters; it has 1 to {MAX_VALUE_CHARS}")
    if any("\ud800" <= character <= "\udfff" for character in ask.value):
        raise invalid("value", "half a character stands in it")
    if ask.path:
        return Sought("", _path(ask.path), ask.value)
    if _HEADER_NAME.fullmatch(ask.header) is None:
        raise invalid("header", f"{ask.header[:40]!r} is no header's name")
    if ask.value != ask.value.strip():
        raise invalid("value", "a header's value has no blanks around it")
    return Sought(ask.header, None, ask.value)


def invalid(name: str, why: str) -> Refused:
    return Refused("erasure-invalid", f"{name}: {why}")


def _path(text: str) -> JSONPathQuery:
    if len(text) > MAX_PATH_CHARS:
        raise invalid("path", f"{len(text)} characters; the limit is {MAX_PATH_CHARS}")
    try:
        path = JSONPathEnvironment().compile(text)
    except JSONPathError as error:
        raise invalid("path", f"{text[:80]!r} is no JSON path: {error}") from None
    except (RecursionError, ValueError):
        raise invalid("path", f"{text[:80]!r} is no JSON path") from None
    if len(path.segments) > MAX_SEGMENTS:
        raise invalid("path", f"{len(path.segments)} segments; the limit is {MAX_SEGMENTS}")
    alternatives = 1
    for segment in path.segments:
        if any(isinstance(selector, FilterSelector) for selector in segment.selectors):
            raise invalid("path", "filters are not taken; name the members, or take all with [*]")
        alternatives *= len(segment.selectors)
    if alternatives > MAX_ALTERNATIVES:
        raise invalid("path", f"{alternatives} alternatives; the limit is {MAX_ALTERNATIVES}")
    if sum(isinstance(segment, JSONPathRecursiveDescentSegment) for segment in path.segments) > 1:
        raise invalid("path", "`..` stands in it more than once")
    return path


def _escaped(character: str) -> str:
    """As JSON may write what is not ASCII (RFC 8259, 7)."""
    units = character.encode("utf-16-be")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))
