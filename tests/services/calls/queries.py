"""Trees of the query language, and what they mean, worked out call by call in plain Python."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import cast, get_args

import msgspec
from hypothesis import strategies as st

from schemas.request_vault import CallSummary
from services.calls import query as language
from services.calls.query import (
    AllOf,
    AnyOf,
    Compared,
    Condition,
    Is,
    Not,
    NumberField,
    Operator,
    Started,
    StatusClass,
    Term,
    Text,
    TextField,
    TimeField,
    Words,
    WordsScope,
)
from services.calls.words import Indexed, holds, words
from services.calls.words import matches as words_match

NOW = datetime(2026, 1, 1, tzinfo=UTC)
WORDS = ("", "a", "/", "/v1/x", "*", "[ab]", "?", "é€𐍈", '"', "\\", "a b", "(", "-", "OR", "x.example.com")
"""What texts are made of: whatever a pattern, a quote or SQL could take for its own."""

METHODS = ("GET", "get", "POST", "é")
STATUSES = (None, 101, 200, 201, 404, 500, 503)
SLUGS = (None, "connect-refused", "dns-failed")
TYPES = (None, "application/json", "text/html")
HOSTS = ("api.example.com", "x.example.com:8443", "é.example")
PATHS = ("/", "/v1/x", "/v1/X", "/a b", "/a*b", "/[ab]", "/a?", "/é€𐍈", '/"\\')

_words = st.sampled_from(WORDS) | st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=4)


def _pieces(wholes: st.SearchStrategy[str]) -> st.SearchStrategy[tuple[str, ...]]:
    """A whole text, or one with stars in it; inner pieces are never empty."""
    inner = st.lists(_words.filter(bool) | wholes.filter(bool), max_size=2)
    starred = st.tuples(_words | wholes, inner, _words | wholes)
    return wholes.map(lambda whole: (whole,)) | starred.map(lambda parts: (parts[0], *parts[1], parts[2]))


def _texts(field: str, known: tuple[str | None, ...]) -> st.SearchStrategy[Term]:
    wholes = st.sampled_from([each for each in known if each is not None]) | _words
    pieces = wholes.map(lambda whole: (whole,)) if field == "method" else _pieces(wholes)
    if field in ("host", "type"):
        pieces = pieces.map(lambda given: tuple(piece.lower() for piece in given))
    return pieces.map(lambda given: Text(cast(TextField, field), given))


def _measures(field: NumberField) -> st.SearchStrategy[Term]:
    values = st.sampled_from((0, 11, 1000, 12_345, 60_000_000, 2**63 - 1)) | st.integers(0, 2**63 - 1)
    operators: st.SearchStrategy[Operator] = st.sampled_from([each for each in get_args(Operator) if each])
    return st.builds(Compared, st.just(field), operators, values)


_moments = st.integers(-90, 90).map(lambda seconds: NOW + timedelta(seconds=seconds, microseconds=seconds))

leaves: st.SearchStrategy[Term] = st.one_of(
    st.builds(StatusClass, st.integers(1, 9)),
    st.builds(Compared, st.just("status"), st.sampled_from(get_args(Operator)), st.integers(100, 999)),
    _measures("duration"),
    _measures("size"),
    _measures("request-size"),
    _texts("method", METHODS),
    _texts("host", HOSTS),
    _texts("path", PATHS),
    _texts("query", ("", "page=2", "a=b*")),
    _texts("type", TYPES),
    _texts("error", SLUGS),
    st.sampled_from(("gateway", "replay", "import", "bin")).map(lambda one: Text("origin", (one,))),
    st.builds(Started, st.sampled_from(get_args(TimeField)), _moments),
    st.sampled_from(("error", "answered")).map(lambda what: Is(cast(Condition, what))),
)
"""About what a summary of a call tells."""

TAGS = ("checkout", "Checkout", "a b", "\u00e9*", "beta/1")
NOTES = ("", "out of stock again", "Stock: \u00e9t\u00e9")
TEMPLATES = ("/", "/v1/{id}", "/v1/x", "/a*b")
HEADERS = (
    ("Content-Type", "application/json; charset=utf-8"),
    ("X-Shop", "out of stock"),
    ("x_shop", "Caf\u00e9 Out"),
    ("Stock", ""),
)
TEXTS = (
    b"",
    b"out of stock",
    b'{"state": "out", "of": "stock"}',
    "CAF\u00c9 \u7f3a\u8d27\u4e86 out".encode(),
)

_spoken = st.sampled_from(
    ("out of stock", "of", "stock", "out", "json", "charset utf", "caf\u00e9", "\u8d27", "v1", "https")
).map(words) | st.text(min_size=1).map(words).filter(bool)


@st.composite
def _phrases(draw: st.DrawFn) -> Term:
    scope: WordsScope = draw(st.sampled_from(get_args(WordsScope)))
    spoken = tuple(draw(_spoken))
    prefix = draw(st.booleans())
    name = None
    if scope == "header" and draw(st.booleans()):
        name = draw(st.sampled_from(("content_type", "x_shop", "stock", "other")))
        if draw(st.integers(0, 4)) == 0:
            return Words("header", name, ("",), True)
    if prefix:
        # A star lengthens no word of a script whose characters stand alone, nor one that is cut.
        spoken = (*spoken[:-1], spoken[-1][: draw(st.integers(1, len(spoken[-1])))])
        prefix = len(words(f"{spoken[-1]}x")) == 1
    return Words(scope, name, spoken, prefix)


phrases: st.SearchStrategy[Term] = _phrases()
"""About words of a call or its note."""

mark_leaves: st.SearchStrategy[Term] = st.one_of(
    _texts("tag", TAGS),
    _texts("template", TEMPLATES),
    st.sampled_from(("starred", "shared")).map(lambda what: Is(cast(Condition, what))),
)
"""About what people marked, and the path template."""


def _larger(terms: st.SearchStrategy[Term]) -> st.SearchStrategy[Term]:
    several = st.lists(terms, min_size=2, max_size=3)
    return several.map(language.all_of) | several.map(language.any_of) | terms.map(language.negated)


trees: st.SearchStrategy[Term] = st.recursive(leaves, _larger, max_leaves=8)
whole_trees: st.SearchStrategy[Term] = st.recursive(
    st.one_of(leaves, phrases, mark_leaves), _larger, max_leaves=8
)
"""Of the whole language."""


class Beside(msgspec.Struct, frozen=True):
    """What a query knows of a call that its summary does not tell."""

    indexed: Indexed = Indexed([], [], [], [])
    starred: bool = False
    shared: bool = False
    tags: tuple[str, ...] = ()
    note: str = ""
    template: str = "/"


def matches(term: Term, call: CallSummary, beside: Beside | None = None) -> bool:
    """Whether a query finds this call."""
    match term:
        case AllOf(terms):
            return all(matches(each, call, beside) for each in terms)
        case AnyOf(terms):
            return any(matches(each, call, beside) for each in terms)
        case Not(turned):
            return not matches(turned, call, beside)
        case StatusClass(hundreds):
            return call.status is not None and call.status // 100 == hundreds
        case Compared(field, operator, value):
            return _compares(_number(field, call), operator, value)
        case Started("since", at):
            return call.started_at >= at
        case Started(_, at):
            return call.started_at < at
        case Is("error"):
            return call.error is not None
        case Is("answered"):
            return call.status is not None
        case Is(mark):
            return beside is not None and cast(bool, getattr(beside, mark))
        case Words(scope="note"):
            return beside is not None and holds(words(beside.note), term)
        case Words():
            return beside is not None and words_match(beside.indexed, term)
        case Text("tag", pieces):
            return beside is not None and any(_fits(pieces, tag) for tag in beside.tags)
        case Text("template", pieces):
            return beside is not None and _fits(pieces, beside.template)
        case Text("method", (method,)):
            return _ascii_lower(method) == _ascii_lower(call.method)
        case Text(field, pieces):
            text = _text(field, call)
            return text is not None and _fits(pieces, text)


def _compares(number: int | None, operator: Operator, value: int) -> bool:
    if number is None:
        return False
    compared = {"": number == value, ">": number > value, ">=": number >= value}
    return {**compared, "<": number < value, "<=": number <= value}[operator]


def _number(field: NumberField, call: CallSummary) -> int | None:
    match field:
        case "status":
            return call.status
        case "duration":
            return round(call.duration_ms * 1000)
        case "size":
            return call.response_bytes
        case "request-size":
            return call.request_bytes


def _text(field: TextField, call: CallSummary) -> str | None:
    return call.content_type if field == "type" else cast(str | None, getattr(call, field))


def _fits(pieces: tuple[str, ...], text: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, pieces)), text, re.DOTALL) is not None


def _ascii_lower(text: str) -> str:
    return re.sub("[A-Z]", lambda letter: letter[0].lower(), text)
