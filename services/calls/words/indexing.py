"""Which words of a call are searched. Called by the vault when it indexes a call, and by those who check what
a search found."""

from __future__ import annotations

import re
from collections import Counter
from contextlib import suppress
from functools import lru_cache
from urllib.parse import unquote_plus

import msgspec

from schemas.traffic_gateway import Body, CallCaptured, Headers
from services.calls.body import as_kept, header, media_type, text_of, undo_codings
from services.calls.words.splitting import canonical_name, words

BODY_TEXT_BYTES = 32 * 1024
MAX_HEAD_WORDS = 2000
MAX_BODY_WORDS = 6000
MAX_PLACES = 255

_JSON_TYPE = re.compile(r".+[/+](json|json5|x-ndjson|jsonl|ndjson)")
_JSON_ESCAPE = re.compile(r'\\(?:u([0-9a-fA-F]{4})|[bfnrt/"\\])')
_FORM = "application/x-www-form-urlencoded"


class Indexed(msgspec.Struct, frozen=True):
    """The words of a call. No phrase reaches from one list into the next.

    url: as it was called, and once more with its percent-encoding undone when it has any. headers: name and
    value of each header of the request, then of the response. named: canonical name and the value's words.
    bodies: the request's, then the response's.
    """

    url: list[list[str]]
    headers: list[list[str]]
    named: list[tuple[str, list[str]]]
    bodies: list[list[str]]


def indexed(call: CallCaptured, request_body: bytes | None, response_body: bytes | None) -> Indexed:
    """The words of a call. Bodies: as captured; None: what rides inline, if anything. Never raises, whatever
    was captured.

    Of each body the first BODY_TEXT_BYTES with its codings undone count, if they are text, and of these
    MAX_BODY_WORDS; of URL and headers together MAX_HEAD_WORDS. Of one word, the first MAX_PLACES places in
    the URL, in headers and in bodies count each: PostgreSQL keeps no more, and all engines are to agree.
    """
    room = MAX_HEAD_WORDS
    url: list[list[str]] = []
    for text in _readings(call.request.url):
        url.append(words(text)[:room])
        room -= len(url[-1])
    headers: list[list[str]] = []
    named: list[tuple[str, list[str]]] = []
    response = call.response
    for name, value in call.request.headers + (() if response is None else response.headers):
        if room <= 0:
            break
        of_name, of_value = (_short_header if len(value) <= 128 else _header_words)(name, value)
        line = [*of_name, *of_value][:room]
        room -= len(line)
        headers.append(line)
        named.append((canonical_name(name), line[len(of_name) :]))
    bodies = [_body_words(call.request.headers, call.request.body, request_body)]
    if response is not None:
        bodies.append(_body_words(response.headers, response.body, response_body))
    by_name = _placed([line for _, line in named])
    return Indexed(
        url=[line for lines in _placed(url) for line in lines],
        headers=[line for lines in _placed(headers) for line in lines],
        named=[(name, line) for (name, _), lines in zip(named, by_name, strict=True) for line in lines],
        bodies=[line for lines in _placed(bodies) for line in lines],
    )


def _readings(url: str) -> list[str]:
    read = unquote_plus(url) if "%" in url or "+" in url else url
    return [url] if read == url else [url, read]


def _header_words(name: str, value: str) -> tuple[list[str], list[str]]:
    """Values are latin-1 as received; many that are not ASCII were sent as UTF-8."""
    if not value.isascii():
        with suppress(UnicodeError):
            value = value.encode("latin-1").decode()
    return words(name), words(value)


_short_header = lru_cache(maxsize=8192)(_header_words)  # most repeat from call to call


def _body_words(headers: Headers, body: Body, data: bytes | None) -> list[str]:
    data = body.inline if data is None else data
    if not data:
        return []
    undone = undo_codings(data, as_kept(headers, body), limit_bytes=BODY_TEXT_BYTES)
    content_type = header(headers, "content-type")
    complete = undone.complete and not body.truncated
    read = None if undone.still_coded else text_of(undone.data, content_type, complete=complete)
    if read is None:
        return []
    text = read.text
    kind = media_type(content_type)
    if kind == _FORM:
        text = unquote_plus(text)
    elif "\\" in text and (_JSON_TYPE.fullmatch(kind) or text.lstrip()[:1] in ("{", "[")):
        text = _unescaped(text)
    return words(text)[:MAX_BODY_WORDS]


def _unescaped(text: str) -> str:
    """JSON (RFC 8259 section 7) with the escapes of its strings undone as far as words go: `\\n` is a blank
    before the next word, not its first letter."""
    read = _JSON_ESCAPE.sub(lambda found: chr(int(found[1], 16)) if found[1] else " ", text)
    return read.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _placed(lines: list[list[str]]) -> list[list[list[str]]]:
    """Each line in pieces without its words that have had their MAX_PLACES places; none of them empty."""
    if sum(map(len, lines)) <= MAX_PLACES:
        return [[line] if line else [] for line in lines]
    had: Counter[str] = Counter()
    return [_pieces(line, had) for line in lines]


def _pieces(line: list[str], had: Counter[str]) -> list[list[str]]:
    pieces: list[list[str]] = [[]]
    for word in line:
        had[word] += 1
        if had[word] <= MAX_PLACES:
            pieces[-1].append(word)
        elif pieces[-1]:
            pieces.append([])
    return pieces if pieces[-1] else pieces[:-1]
