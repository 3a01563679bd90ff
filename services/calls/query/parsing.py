"""The reader of what a person typed."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from fractions import Fraction
from typing import NoReturn, cast, get_args

from services.calls.query.tree import (
    FIELDS,
    WORD_FIELDS,
    AllOf,
    Compared,
    Condition,
    Is,
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
    all_of,
    any_of,
    negated,
)
from services.calls.query.units import AGES_S, EXAMPLES, SCALES
from services.calls.words import canonical_name, words

MAX_QUERY_CHARS = 2048
MAX_NESTING = 16
MAX_TERMS = 64
MAX_STARS = 8
MAX_PHRASE_WORDS = 64

_UNTYPED = re.compile(r"[\x00-\x08\x0e-\x1f\x7f\ud800-\udfff]")
_BLANKS = re.compile(r"\s*")
_FIELD = re.compile(r"([A-Za-z][A-Za-z0-9._-]*):")
_HEADER = re.compile(r'header\.([^\s()":*]*):', re.IGNORECASE)
# An address that was pasted: with a scheme, or a host with its port.
_ADDRESS = re.compile(
    r"[A-Z][A-Z0-9+.-]*://|(?:localhost|[A-Z][A-Z0-9-]*(?:\.[A-Z0-9-]+)+):[0-9]", re.IGNORECASE
)
_COLONLESS = re.compile(r"(status|duration|size|request-size)([<>]=?[0-9][0-9a-z.]{0,20})", re.IGNORECASE)
_BARE = re.compile(r'[^\s()"]+')
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_ESCAPED = re.compile(r'\\(["\\])')
_AND, _OR = re.compile(r"AND(?![^\s()])"), re.compile(r"OR(?![^\s()])")
_COMPARED = re.compile(r"(>=|<=|>|<|)(.*)", re.DOTALL)
_AMOUNT = re.compile(r"([0-9]{1,19}(?:\.[0-9]{1,9})?)([a-z]+)", re.IGNORECASE)
_STATUS = re.compile(r"[1-9][0-9]{2}")
_STATUS_CLASS = re.compile(r"([1-9])xx", re.IGNORECASE)
_ORIGINS = ("gateway", "replay", "import", "bin")
_MOST = 2**63 - 1


class QueryInvalid(ValueError):
    """position: the character at fault, counted from 1. why: in words for the person who typed it."""

    def __init__(self, position: int, why: str) -> None:
        super().__init__(f"character {position}: {why}")
        self.position = position
        self.why = why


def parse(text: str, now: datetime) -> Term:
    """The tree of a query; `AllOf()` for a blank one. now: what `2h` is counted back from. Raises
    QueryInvalid."""
    if len(text) > MAX_QUERY_CHARS:
        raise QueryInvalid(
            MAX_QUERY_CHARS + 1, f"the query has {len(text)} characters; the limit is {MAX_QUERY_CHARS}"
        )
    if (untyped := _UNTYPED.search(text)) is not None:
        raise QueryInvalid(untyped.start() + 1, "a control character, which no query holds")
    return _Parser(text, now).whole()


class _Parser:
    """at: the next character to be looked at."""

    def __init__(self, text: str, now: datetime) -> None:
        self._text = text
        self._now = now
        self._at = 0
        self._terms = 0

    def whole(self) -> Term:
        if not self._ahead():
            return AllOf()
        found = self._any(0)
        if self._ahead():
            self._fail(self._at, "this parenthesis closes nothing")
        return found

    def _any(self, nesting: int) -> Term:
        terms = [self._all(nesting)]
        while self._passes(_OR):
            terms.append(self._all(nesting))
        return any_of(terms)

    def _all(self, nesting: int) -> Term:
        terms = [self._term(nesting)]
        while self._ahead() not in ("", ")") and _OR.match(self._text, self._at) is None:
            self._passes(_AND)
            terms.append(self._term(nesting))
        return all_of(terms)

    def _term(self, nesting: int) -> Term:
        ahead = self._ahead()
        start = self._at
        while self._text.startswith("-", self._at):
            self._at += 1
        turned = (self._at - start) % 2 == 1
        if self._at > start and self._text[self._at : self._at + 1].strip() == "":
            self._fail(start, "a minus stands directly before what it excludes, as in -path:/health")
        if self._text.startswith("(", self._at):
            found = self._group(nesting + 1)
        elif ahead in ("", ")") or self._text.startswith(")", self._at):
            self._fail(self._at, "a term is missing here, such as status:5xx")
        else:
            found = self._single()
        return negated(found) if turned else found

    def _group(self, nesting: int) -> Term:
        opened = self._at
        if nesting > MAX_NESTING:
            self._fail(opened, f"parentheses are nested more than {MAX_NESTING} deep")
        self._at += 1
        found = self._any(nesting)
        if self._ahead() != ")":
            self._fail(opened, "this parenthesis is never closed")
        self._at += 1
        return found

    def _single(self) -> Term:
        start = self._at
        self._terms += 1
        if self._terms > MAX_TERMS:
            self._fail(start, f"a query has at most {MAX_TERMS} terms")
        if (headed := _HEADER.match(self._text, start)) is not None:
            return self._words_of("header", start, headed)
        named = _FIELD.match(self._text, start)
        if named is None or self._is_address(named[1]):
            return self._words_of("any", start, None)
        field = named[1].lower()
        if field not in FIELDS:
            self._fail(start, f"there is no field {named[1][:40]!r}; {_nearest(field)}{_known()}")
        if field in WORD_FIELDS:
            return self._words_of(cast(WordsScope, field), start, named)
        self._at = named.end()
        if field in get_args(TextField):
            return self._text_of(cast(TextField, field))
        at, pieces = self._value(field)
        value = "*".join(pieces)
        if field == "is":
            return self._is(at, value.lower())
        if field in get_args(TimeField):
            return Started(cast(TimeField, field), self._moment(at, field, value))
        return self._compared(at, cast(NumberField, field), value)

    def _is_address(self, field: str) -> bool:
        if _ADDRESS.match(self._text, self._at) is None:
            return False
        return not get_close_matches(field.partition(".")[0].lower()[:40], ("header",))

    def _words_of(self, scope: WordsScope, start: int, named: re.Match[str] | None) -> Words:
        """named: what stands before the value, its field; None for a value alone."""
        if named is None:
            self._refuse_misread(start)
        else:
            self._at = named.end()
        name = canonical_name(named[1]) if named is not None and named.re is _HEADER else None
        if name == "":
            self._fail(start + len("header."), "the header's name is missing, as in header.content-type:json")
        at, pieces = self._value(scope)
        if name is not None and pieces == ("", ""):
            return Words("header", name, ("",), True)
        first, *rest = pieces
        if rest not in ([], [""]):
            self._fail(at, "among words a * stands at the end only, as in out*")
        found = words(first)
        if not found:
            self._fail(at, "there is no word in this: letters or digits are what is searched")
        if len(found) > MAX_PHRASE_WORDS:
            self._fail(at, f"a phrase has at most {MAX_PHRASE_WORDS} words; this one has {len(found)}")
        # A star behind what is no part of a word (`foo-*`) lengthens none.
        prefix = bool(rest) and len(words(first + "x")) == len(found)
        return Words(scope, name, tuple(found), prefix)

    def _refuse_misread(self, start: int) -> None:
        for between in (_AND, _OR):
            if (found := between.match(self._text, start)) is not None:
                self._fail(start, f"{found[0]} stands between two terms; one is missing here")
        if (found := _COLONLESS.match(self._text, start)) is not None:
            field = found[1].lower()
            self._fail(
                start, f"a colon is missing, as in {field}:{found[2]}; text that looks so stands in quotes"
            )

    def _text_of(self, field: TextField) -> Text:
        at, pieces = self._value(field)
        if field in ("host", "type"):
            pieces = tuple(piece.lower() for piece in pieces)
        if field in ("method", "origin") and len(pieces) > 1:
            self._fail(at, f"{field}: takes no *")
        if field == "origin" and pieces[0] not in _ORIGINS:
            self._fail(at, f"origin: is one of {', '.join(_ORIGINS)}")
        return Text(field, pieces)

    def _is(self, at: int, value: str) -> Is:
        if value not in get_args(Condition):
            there_are = ", ".join(f"is:{each}" for each in get_args(Condition))
            self._fail(at, f"there is no is:{value[:40]}; there are {there_are}")
        return Is(cast(Condition, value))

    def _compared(self, at: int, field: NumberField, value: str) -> Term:
        parts = _COMPARED.fullmatch(value)
        assert parts is not None  # it matches everything
        operator, text = cast(Operator, parts[1]), parts[2]
        at += len(operator)
        scale = SCALES.get(field)
        if scale is None:
            if not operator and (hundreds := _STATUS_CLASS.fullmatch(text)) is not None:
                return StatusClass(int(hundreds[1]))
            if _STATUS.fullmatch(text) is None:
                self._fail(at, "a status is such as 404, 5xx or >=400")
            return Compared(field, operator, int(text))
        example = f"{field}:{EXAMPLES[field]}"
        if not operator:
            self._fail(at, f"{field}: is compared with >, >=, < or <=, as in {example}")
        return Compared(field, operator, self._measured(at, text, scale, f"as in {example}"))

    def _moment(self, at: int, field: str, text: str) -> datetime:
        shape = (
            f"{field}: takes 30s, 10m, 2h, 1d or 1w ago, or a time such as 2026-11-01 or 2026-11-01T12:00Z"
        )
        try:
            if _AMOUNT.fullmatch(text) is not None:
                return self._now.astimezone(UTC) - timedelta(seconds=self._measured(at, text, AGES_S, shape))
            found = datetime.fromisoformat(text)
            return (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).astimezone(UTC)
        except (ValueError, OverflowError) as error:
            if isinstance(error, QueryInvalid):
                raise
            raise QueryInvalid(at + 1, shape) from error

    def _measured(self, at: int, text: str, scale: dict[str, int], shape: str) -> int:
        """An amount with its unit, in the scale's smallest."""
        found = _AMOUNT.fullmatch(text)
        unit = None if found is None else scale.get(found[2].lower())
        if found is None or unit is None:
            self._fail(at, f"a number with one of the units {', '.join(scale)} is missing: {shape}")
        amount = round(Fraction(found[1]) * unit)
        if amount > _MOST:
            self._fail(at, "this is more than can be counted")
        return amount

    def _value(self, field: str) -> tuple[int, tuple[str, ...]]:
        """Where the value begins, and its pieces between stars. Inner pieces are never empty."""
        start = self._at
        pieces = [""]
        while True:
            if (quoted := _QUOTED.match(self._text, self._at)) is not None:
                pieces[-1] += _ESCAPED.sub(r"\1", quoted[1])
                self._at = quoted.end()
            elif self._text.startswith('"', self._at):
                self._fail(self._at, "this quote is never closed")
            elif (bare := _BARE.match(self._text, self._at)) is not None:
                first, *rest = bare[0].split("*")
                pieces[-1] += first
                for piece in rest:
                    if len(pieces) == 1 or pieces[-1]:
                        pieces.append(piece)
                    else:
                        pieces[-1] = piece
                self._at = bare.end()
            else:
                break
        if self._at == start:
            self._fail(start, f"{field}: has no value; one without blanks follows directly, or one in quotes")
        if len(pieces) - 1 > MAX_STARS:
            self._fail(start, f"a value has at most {MAX_STARS} stars")
        return start, tuple(pieces)

    def _ahead(self) -> str:
        """The next character that is no blank; empty at the end."""
        blanks = _BLANKS.match(self._text, self._at)
        assert blanks is not None  # it matches everything
        self._at = blanks.end()
        return self._text[self._at : self._at + 1]

    def _passes(self, word: re.Pattern[str]) -> bool:
        self._ahead()
        found = word.match(self._text, self._at)
        if found is not None:
            self._at = found.end()
        return found is not None

    def _fail(self, at: int, why: str) -> NoReturn:
        raise QueryInvalid(at + 1, why)


def _nearest(field: str) -> str:
    stem, dot, _ = field[:40].partition(".")
    if dot and get_close_matches(stem, ("header",)):
        return "did you mean header.NAME? "
    near = get_close_matches(field[:40], FIELDS, n=1)
    return f"did you mean {near[0]}? " if near else ""


def _known() -> str:
    return f"the fields are {', '.join(FIELDS)} and header.NAME, and text with a colon stands in quotes"
