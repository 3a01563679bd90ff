"""`Redactor` masks what a bucket's settings, and the built-in rules, say is secret in a call."""

from __future__ import annotations

import codecs
from typing import NamedTuple

from schemas.identity import MAX_BODY_CAP_BYTES, Redaction
from schemas.traffic_gateway import Headers, MaskedWhere
from services.calls.body import header
from services.calls.redaction import headers as header_values
from services.calls.redaction.bodies import opened, shape, wide_charset
from services.calls.redaction.errors import InvalidRule
from services.calls.redaction.finder import Finder
from services.calls.redaction.json_paths import JsonPaths
from services.calls.redaction.json_texts import dropped, is_json
from services.calls.redaction.marks import MARK, Hit, Marker, Side, Tally, merged, moved
from services.calls.redaction.multipart import dropped_parts, find_in_multipart
from services.calls.redaction.names import Names
from services.calls.redaction.patterns import Patterns
from services.calls.redaction.remembering import Clean
from services.calls.redaction.urls import dropped_fields, parts_of

MAX_HEADERS = 100
MAX_HEADER_CHARS = 200
MIN_KEY_BYTES = 16


class RedactedBody(NamedTuple):
    """data: what may be published. decoded: the content codings that the headers name were undone, and the
    bytes are to be captured without them, since something was masked inside, or what lies behind a cut or a
    damage could not be looked into. cut: bytes are missing, beyond those that the capture had cut off."""

    data: bytes
    decoded: bool = False
    cut: bool = False


class Redactor:
    """One for a bucket, made again when its settings change; any number of calls, one `Tally` for each.

    Nothing here raises on what a client or an API sent, and no input takes longer than in proportion to its
    length. Masking what is masked changes nothing.
    """

    __slots__ = ("_clean_headers", "_clean_urls", "_finder", "_limit_bytes", "_marker", "_names", "mode")

    def __init__(self, settings: Redaction, key: bytes, *, limit_bytes: int = MAX_BODY_CAP_BYTES) -> None:
        """key: secret, the bucket's own, for nothing but these marks. limit_bytes: the bucket's body cap; a
        body is not decoded past it. Raises InvalidRule, which names the rule at fault."""
        if len(key) < MIN_KEY_BYTES:
            raise ValueError(f"the key has {len(key)} bytes; it needs {MIN_KEY_BYTES}")
        if len(settings.headers) > MAX_HEADERS:
            raise InvalidRule("headers", f"{len(settings.headers)} of them; the limit is {MAX_HEADERS}")
        for name in settings.headers:
            if not 0 < len(name) <= MAX_HEADER_CHARS or not header_values.NAME.fullmatch(name):
                raise InvalidRule(f"header {name[:80]!r}", "this is no header's name (RFC 9110, 5.1)")
        self.mode = settings.mode
        self._limit_bytes = limit_bytes
        self._names = Names(settings.headers)
        self._finder = Finder(self._names, JsonPaths(settings.paths), Patterns(settings.patterns))
        self._marker = Marker(key if settings.mode == "default" else None)
        self._clean_headers: Clean[tuple[str, str]] = Clean()
        self._clean_urls: Clean[str] = Clean()

    def headers(self, headers: Headers, side: Side, tally: Tally) -> Headers:
        """The same headers in the same order, values masked."""
        if self.mode == "raw":
            return headers
        where: MaskedWhere = "request.header" if side == "request" else "response.header"
        if self.mode == "strict":
            return header_values.dropped(headers, self._finder, self._marker, where, tally)
        return header_values.redacted(
            headers, self._names, self._finder, self._marker, where, tally, self._clean_headers
        )

    def url(self, url: str, tally: Tally) -> str:
        """A request's URL: userinfo, the query's and the fragment's parameters, and tokens in the path."""
        if self.mode == "raw" or url in self._clean_urls.known:
            return url
        raw = url.encode("utf-8", "surrogatepass")
        path_end, query, fragment = parts_of(raw)
        hits = self._finder.text(raw[:path_end])
        for start, end in (query, fragment):
            part = raw[start:end]
            if self.mode == "strict":
                hits += moved(dropped_fields(part), start)
            elif part:
                hits += moved(self._finder.form(part, rule="query"), start)
        hits = merged(raw, hits)
        if not hits:
            self._clean_urls.add(url, len(url))
            return url
        return self._masked(raw, hits, "request.url", tally).decode("utf-8", "surrogatepass")

    def body(
        self, data: bytes, headers: Headers, side: Side, tally: Tally, *, truncated: bool = False
    ) -> RedactedBody:
        """headers: those that came with the body, not yet redacted. truncated: the capture was cut."""
        if self.mode == "raw" or not data:
            return RedactedBody(data)
        where: MaskedWhere = "request.body" if side == "request" else "response.body"
        if len(data) > MAX_BODY_CAP_BYTES:
            tally.add(where, "strict", "")
            return RedactedBody(b"", cut=True)
        inside = opened(data, headers, truncated=truncated, limit_bytes=self._limit_bytes)
        content_type = header(headers, "content-type")
        text = self._text(inside.text, content_type, where, tally, truncated or not inside.whole)
        if not inside.decoded:
            return RedactedBody(text, cut=not text)
        if text is inside.text and inside.whole:
            return RedactedBody(data)
        return RedactedBody(text, decoded=True, cut=not inside.whole or not text)

    def text(self, text: str, where: MaskedWhere, tally: Tally) -> str:
        """Any other text of a call, as an error's detail."""
        if self.mode == "raw":
            return text
        raw = text.encode("utf-8", "surrogatepass")
        return self._masked(raw, self._finder.nested(raw, 0), where, tally).decode("utf-8", "surrogatepass")

    def _text(
        self, text: bytes, content_type: str | None, where: MaskedWhere, tally: Tally, truncated: bool
    ) -> bytes:
        """The very same object if nothing is masked."""
        charset = wide_charset(text)
        if charset is None:
            return self._masked_body(text, content_type, where, tally, truncated)
        # The end of a character that is cut is no part of the text.
        read = codecs.getincrementaldecoder(charset)("surrogatepass")
        try:
            narrow = read.decode(text).encode("utf-8", "surrogatepass")
        except UnicodeError:
            return self._masked_body(text, content_type, where, tally, truncated)
        masked = self._masked_body(narrow, content_type, where, tally, truncated)
        if masked is narrow:
            return text
        return masked.decode("utf-8", "surrogatepass").encode(charset, "surrogatepass")

    def _masked_body(
        self, text: bytes, content_type: str | None, where: MaskedWhere, tally: Tally, truncated: bool
    ) -> bytes:
        kind = shape(text, content_type)
        hits: list[Hit] | None
        if self.mode == "strict":
            hits = None
            if kind == "json" and (truncated or is_json(text)):
                hits = merged(text, dropped(text) + self._finder.json(text, truncated=truncated))
            elif kind == "form":
                hits = merged(text, dropped_fields(text) + self._finder.form(text))
            elif kind == "multipart":
                hits = dropped_parts(text, content_type)
            if hits is None:
                if MARK.fullmatch(text) is None:
                    tally.add(where, "strict", "")
                return b""
        elif kind == "json":
            hits = self._finder.json(text, truncated=truncated)
        elif kind == "form":
            hits = self._finder.form(text)
        elif kind == "multipart":
            hits = find_in_multipart(text, content_type, self._finder)
        elif kind == "text":
            hits = self._finder.text(text)
        else:
            return text
        return self._masked(text, hits, where, tally)

    def _masked(self, text: bytes, hits: list[Hit], where: MaskedWhere, tally: Tally) -> bytes:
        if not hits:
            return text
        tally.add_all(where, hits)
        return self._marker.applied(text, hits)
