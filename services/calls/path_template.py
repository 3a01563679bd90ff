"""A path as the route it was probably called by: `/v1/items/123` is `/v1/items/{id}`. Pure.

Called by the vault for every call, so that calls of one route are counted together. It is a guess by the look
of each segment alone, the same for the same path always; what looks like nothing known stays as it is.
"""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import quote, unquote

MAX_PATH_CHARS = 256
MAX_SEGMENTS = 16
MAX_SEGMENT_CHARS = 64
CUT = "\u2026"  # stands for the segments that are too many

_READ_CHARS = 8 * MAX_PATH_CHARS
# Of what is replaced, everything but long text has a digit or an @.
_SUSPECT = re.compile(r"[0-9@%]")
_UUID = r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"
_DAY = r"(?:19|20)[0-9]{2}(?P<between>[-_.])(?:0[1-9]|1[0-2])(?:(?P=between)(?:0[1-9]|[12][0-9]|3[01]))?"
_COMPACT_DAY = r"(?:19|20)[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])(?=T)"
_TIME = r"[T ][0-9]{2}:?[0-9]{2}(?::?[0-9]{2}(?:\.[0-9]{1,9})?)?(?:Z|[+-][0-9]{2}:?[0-9]{2})?"
_WHOLE_UUID = re.compile(_UUID)
_INSIDE = re.compile(
    rf"(?<![0-9A-Za-z])(?:(?P<uuid>{_UUID})|(?P<date>(?:{_DAY}|{_COMPACT_DAY})(?:{_TIME})?))(?![0-9A-Za-z])"
)
_EMAIL = re.compile(r"[^@\s{}]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){0,8}\.[A-Za-z]{2,24}")
_VERSION = re.compile(r"[vV][0-9]+(?:\.[0-9]+){0,3}|[0-9]\.[0-9]{1,2}")
_PLACEHOLDER = re.compile(r"(\{[a-z]{1,8}\})")
_PART = re.compile(r"[0-9A-Za-z]+")
_OPAQUE = re.compile(r"[0-9A-Za-z_.~+=-]{20,}")
_HEX = re.compile(r"(?=[0-9]*[A-Fa-f])[0-9A-Fa-f]{7,}")
_ULID = re.compile(r"[0-7][0-9A-HJKMNP-TV-Za-hjkmnp-tv-z]{25}")
_TURN = re.compile(r"(?<=[a-z])[A-Z0-9]|(?<=[A-Z])[0-9]|(?<=[0-9])[A-Za-z]")
_ALGORITHM = re.compile(r"(?:sha|hs|rs|es|ps|aes|x|h|s|p)[0-9]{3}", re.IGNORECASE)
_SIZE = re.compile(r"[0-9]+x[0-9]+")
_NUMBER = re.compile(r"[0-9]{3,}")


def path_template(path: str) -> str:
    """`path`, without its query, with what varies from call to call replaced: {id} (numbers, ULIDs, hex and
    base64-like ids, hashes in file names), {uuid}, {date} (of ISO 8601, with its time), {email}, {text} (more
    than MAX_SEGMENT_CHARS that are none of these).

    At most MAX_SEGMENTS segments and MAX_PATH_CHARS; CUT takes the place of the rest. Never raises.
    `path_template(path_template(p)) == path_template(p)`.
    """
    if len(path) <= MAX_SEGMENT_CHARS and path.count("/") <= MAX_SEGMENTS and not _SUSPECT.search(path):
        return path
    if len(path) > _READ_CHARS:
        path = f"{path[:_READ_CHARS]}/{CUT}"
    segments = path.split("/", MAX_SEGMENTS + 2)
    # The piece before the first slash is no segment.
    if len(segments) > MAX_SEGMENTS + 1:
        segments[MAX_SEGMENTS:] = [CUT]
    found = "/".join([_segment(each) for each in segments])
    if len(found) <= MAX_PATH_CHARS:
        return found
    return f"{found[: found.rindex('/', 0, MAX_PATH_CHARS - 1)]}/{CUT}"


def _segment(text: str) -> str:
    length = len(text)
    if length <= MAX_SEGMENT_CHARS:
        if not _SUSPECT.search(text):
            return text
        if text.isdigit() and text.isascii():
            return "{id}"
        if length == 36 and _WHOLE_UUID.fullmatch(text):
            return "{uuid}"
        if length >= 12 and _HEX.fullmatch(text) is not None:
            return "{id}"
    return _judged(text)


@lru_cache(maxsize=8192)
def _judged(segment: str) -> str:
    text = unquote(segment) if "%" in segment else segment
    found = text
    while _SUSPECT.search(found) and (again := _once(found)) != found:
        found = again
    if found == text:
        found = segment
    elif text is not segment:
        found = quote(found, safe="{}!$&'()*+,:;=@", errors="surrogatepass")
    return found if len(found) <= MAX_SEGMENT_CHARS else "{text}"


def _once(text: str) -> str:
    """What is left to replace after one look: less each time."""
    if "@" in text and _EMAIL.fullmatch(text):
        return "{email}"
    if _VERSION.fullmatch(text):
        return text
    mixed_case = text.lower() != text != text.upper()
    if mixed_case and _OPAQUE.fullmatch(text) and _looks_random(text, 0.26) and not _INSIDE.search(text):
        return "{id}"
    dated = _INSIDE.sub(_named, text) if len(text) > 6 else text
    if "{" not in dated:
        return _PART.sub(_part, dated)
    return "".join(
        piece if at % 2 else _PART.sub(_part, piece) for at, piece in enumerate(_PLACEHOLDER.split(dated))
    )


def _named(found: re.Match[str]) -> str:
    return f"{{{found.lastgroup}}}"


def _part(found: re.Match[str]) -> str:
    """Letters and digits between other characters."""
    word = found[0]
    length = len(word)
    if word.isalpha():
        return word
    if word.isdigit():
        return "{id}"
    if _ULID.fullmatch(word) or (_HEX.fullmatch(word) and (length >= 12 or sum(map(str.isdigit, word)) > 1)):
        return "{id}"
    if _ALGORITHM.fullmatch(word):
        return word
    if length >= 8 and _looks_random(word, 0.4 if length < 12 else 0.35 if length < 16 else 0.26):
        return "{id}"
    if _SIZE.fullmatch(word):
        return "{id}x{id}"
    return _NUMBER.sub("{id}", word)


def _looks_random(text: str, at_least: float) -> bool:
    """By how often letters, capitals and digits take turns, which words do seldom."""
    return any(map(str.isdigit, text)) and len(_TURN.findall(text)) >= at_least * len(text)
