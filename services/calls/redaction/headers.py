"""Finds secrets in headers: by name, in cookies, and by what the other values look like.

Headers are text of one byte a character (RFC 9110, 5.5). Text of other characters is taken as UTF-8.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from itertools import accumulate

from schemas.traffic_gateway import Headers, MaskedWhere
from services.calls.redaction.finder import Finder
from services.calls.redaction.json_texts import looks_like_json
from services.calls.redaction.marks import MARK, Hit, Marker, Tally, merged
from services.calls.redaction.names import Names
from services.calls.redaction.remembering import Clean
from services.calls.redaction.rules import COOKIE_ATTRIBUTES, DESCRIBING_HEADERS
from services.calls.redaction.texts import masked_whole

NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2: token

_CRUMB = re.compile(rb"[ \t]*+([^=;]*+)(=?+)[ \t]*+([^;]*+);?+")
_ERRORS = {"latin-1": "strict", "utf-8": "surrogatepass"}
_DESCRIPTION = re.compile(rb"[A-Za-z0-9!#$&^_.+*/;=, \t:'()\"?-]{0,300}+")


def redacted(
    headers: Headers,
    names: Names,
    finder: Finder,
    marker: Marker,
    where: MaskedWhere,
    tally: Tally,
    clean: Clean[tuple[str, str]],
) -> Headers:
    """clean: of these names and finder."""
    found: dict[int, list[Hit]] = {}
    plain: list[int] = []
    lines: list[bytes] = []
    known = clean.known
    for place, pair in enumerate(headers):
        if pair in known:
            continue
        name, text = pair
        raw, _ = _bytes(text)
        secret = names.header(name)
        if secret is not None:
            found[place] = _by_name(raw, *secret, finder)
        elif looks_like_json(raw) or b"\n" in raw:
            found[place] = finder.nested(raw, 0)
        else:
            plain.append(place)
            lines.append(raw)
    if not found and not lines:
        return headers
    # One search of all costs little more than one of each. Only where it finds something each is searched.
    starts = list(accumulate([len(line) + 1 for line in lines], initial=0))
    for hit in finder.text(b"\n".join(lines)):
        for line in range(bisect_right(starts, hit.start) - 1, bisect_left(starts, hit.end)):
            if plain[line] not in found:
                found[plain[line]] = finder.text(lines[line])
    for place in plain:
        if not found.get(place):
            name, text = headers[place]
            clean.add((name, text), len(name) + len(text))
    if not any(found.values()):
        return headers
    kept = list(headers)
    for place, hits in found.items():
        name, text = headers[place]
        raw, charset = _bytes(text)
        tally.add_all(where, hits)
        kept[place] = (name, marker.applied(raw, hits).decode(charset, _ERRORS[charset]))
    return tuple(kept)


def _by_name(raw: bytes, rule: str, told: str, finder: Finder) -> list[Hit]:
    if rule == "cookie":
        return merged(raw, _in_cookies(raw, told) + finder.text(raw))
    whole = masked_whole(raw, 0, rule, told)
    return [] if whole is None else [whole]


def _in_cookies(value: bytes, told: str) -> list[Hit]:
    """Every cookie's value; of Set-Cookie (RFC 6265, 4.1) the attributes stay."""
    hits: list[Hit] = []
    for crumb in _CRUMB.finditer(value):
        name, equals, plain = crumb.groups()
        start = crumb.start(3)
        if not equals:
            # A cookie without a name, or an attribute without a value.
            plain, start = name, crumb.start(1)
            name = plain if plain.strip().lower() in COOKIE_ATTRIBUTES else b""
        if told == "set-cookie" and crumb.start() and name.strip().lower() in COOKIE_ATTRIBUTES:
            continue
        plain = plain.rstrip(b" \t")
        if len(plain) > 1 and plain[:1] == plain[-1:] == b'"':
            plain, start = plain[1:-1], start + 1
        if plain and MARK.fullmatch(plain) is None:
            hits.append(Hit(start, start + len(plain), "cookie", told, plain))
    return hits


def dropped(headers: Headers, finder: Finder, marker: Marker, where: MaskedWhere, tally: Tally) -> Headers:
    """Every value, in strict mode, but those without which the body could not be read."""
    kept: list[tuple[str, str]] = []
    for name, text in headers:
        lower = name.lower()
        raw, charset = _bytes(text)
        if lower in DESCRIBING_HEADERS and _DESCRIPTION.fullmatch(raw) is not None:
            hits = finder.text(raw)
        elif lower in ("cookie", "set-cookie"):
            hits = _in_cookies(raw, lower)
        else:
            hits = [Hit(0, len(raw), "strict", "", b"")] if raw and MARK.fullmatch(raw) is None else []
        for _ in hits:
            tally.add(where, "strict", "")
        kept.append((name, marker.applied(raw, hits).decode(charset, _ERRORS[charset])))
    return tuple(kept)


def _bytes(text: str) -> tuple[bytes, str]:
    try:
        return text.encode("latin-1"), "latin-1"
    except UnicodeEncodeError:
        return text.encode("utf-8", _ERRORS["utf-8"]), "utf-8"
