"""The query language for calls: from the text a person types to a small tree, and back. Pure.

    query   = [ any ]                           nothing matches every call
    any     = all *( "OR" all )
    all     = term *( [ "AND" ] term )          binds closer than OR
    term    = *"-" ( "(" any ")" / field ":" value )
    value   = 1*( bare / quoted )               bare: no blanks, parentheses or quotes; `*` is any run of
                                                characters; in quotes nothing is special but \\" and \\\\

Read by the vault in front of every engine. Takes time linear in the text, which is bounded, as are nesting,
terms and stars. Raises QueryInvalid, which points at the character. `parse(str(tree), now) == tree` for every
tree that `parse` makes (times become absolute), as long as that text is within the bound.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Literal, NoReturn, cast, get_args

import msgspec

MAX_QUERY_CHARS = 2048
MAX_NESTING = 16
MAX_TERMS = 64
MAX_STARS = 8

Operator = Literal["", ">", ">=", "<", "<="]
NumberField = Literal["status", "duration", "size", "request-size"]
TextField = Literal["method", "host", "path", "query", "type", "error", "origin"]
TimeField = Literal["since", "before"]
Condition = Literal["error", "answered"]

FIELDS = (*get_args(NumberField), *get_args(TextField), *get_args(TimeField), "is")

_UNTYPED = re.compile(r"[\x00-\x08\x0e-\x1f\x7f\ud800-\udfff]")
_BLANKS = re.compile(r"\s*")
_FIELD = re.compile(r"([A-Za-z][A-Za-z0-9._-]*):")
_BARE = re.compile(r'[^\s()"]+')
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_ESCAPED = re.compile(r'\\(["\\])')
_AND, _OR = re.compile(r"AND(?![^\s()])"), re.compile(r"OR(?![^\s()])")
_COMPARED = re.compile(r"(>=|<=|>|<|)(.*)", re.DOTALL)
_AMOUNT = re.compile(r"([0-9]{1,19}(?:\.[0-9]{1,9})?)([a-z]+)", re.IGNORECASE)
_STATUS = re.compile(r"[1-9][0-9]{2}")
_STATUS_CLASS = re.compile(r"([1-9])xx", re.IGNORECASE)
_QUOTE_WORTHY = re.compile(r'[\s()"*]|^$')

# The first unit of each scale that divides an amount is the one it is shown in.
_DURATIONS = {"h": 3_600_000_000, "m": 60_000_000, "s": 1_000_000, "ms": 1000, "us": 1}
_SIZES = {"gb": 10**9, "mb": 10**6, "kb": 1000, "b": 1, "kib": 2**10, "mib": 2**20, "gib": 2**30}
_AGES_S = {"w": 604_800, "d": 86_400, "h": 3600, "m": 60, "s": 1}
_SCALES: dict[str, dict[str, int]] = {"duration": _DURATIONS, "size": _SIZES, "request-size": _SIZES}
_EXAMPLES = {"duration": ">500ms", "size": ">1mb", "request-size": ">10kb"}
_ORIGINS = ("gateway", "replay", "import", "bin")
_LATER = ("body", "header", "tag", "note")
_LATER_IS = ("starred", "shared")
_MOST = 2**63 - 1


class QueryInvalid(ValueError):
    """position: the character at fault, counted from 1. why: in words for the person who typed it."""

    def __init__(self, position: int, why: str) -> None:
        super().__init__(f"character {position}: {why}")
        self.position = position
        self.why = why


class Compared(msgspec.Struct, frozen=True):
    """A number of the call beside `value`. duration: microseconds; size (of the response's body) and
    request-size: bytes. A call without a status compares as false. operator: `` for equal, status only."""

    field: NumberField
    operator: Operator
    value: int

    def __str__(self) -> str:
        return f"{self.field}:{self.operator}{_amount(self.value, _SCALES.get(self.field))}"


class StatusClass(msgspec.Struct, frozen=True):
    """hundreds: 5 for 5xx."""

    hundreds: int

    def __str__(self) -> str:
        return f"status:{self.hundreds}xx"


class Text(msgspec.Struct, frozen=True):
    """A text of the call. pieces: literal, with any run of characters between one and the next; one piece is
    the whole text. Hosts and types are in lower case; methods are compared in any case (ASCII). A call
    without such a text (type, error) does not match."""

    field: TextField
    pieces: tuple[str, ...]

    def __str__(self) -> str:
        if len(self.pieces) == 1:
            return f"{self.field}:{_quoted(self.pieces[0])}"
        return f"{self.field}:{'*'.join(_quoted(piece) if piece else '' for piece in self.pieces)}"


class Started(msgspec.Struct, frozen=True):
    """When the call started. since: then or later; before: earlier than that. at: in UTC."""

    field: TimeField
    at: datetime

    def __str__(self) -> str:
        return f"{self.field}:{self.at.isoformat().replace('+00:00', 'Z')}"


class Is(msgspec.Struct, frozen=True):
    """error: it failed on its way. answered: a response came."""

    what: Condition

    def __str__(self) -> str:
        return f"is:{self.what}"


class Not(msgspec.Struct, frozen=True):
    term: Term

    def __str__(self) -> str:
        return f"-({self.term})" if isinstance(self.term, (AllOf, AnyOf)) else f"-{self.term}"


class AllOf(msgspec.Struct, frozen=True):
    """Made by `all_of`. Without terms: every call."""

    terms: tuple[Term, ...] = ()

    def __str__(self) -> str:
        return " ".join(f"({term})" if isinstance(term, AnyOf) else str(term) for term in self.terms)


class AnyOf(msgspec.Struct, frozen=True):
    """Made by `any_of`."""

    terms: tuple[Term, ...]

    def __str__(self) -> str:
        return " OR ".join(map(str, self.terms))


Term = Compared | StatusClass | Text | Started | Is | Not | AllOf | AnyOf


def all_of(terms: Iterable[Term]) -> Term:
    """One term for all of these: flat, and a single one as it is."""
    flat = tuple(one for term in terms for one in (term.terms if isinstance(term, AllOf) else (term,)))
    return flat[0] if len(flat) == 1 else AllOf(flat)


def any_of(terms: Iterable[Term]) -> Term:
    flat = tuple(one for term in terms for one in (term.terms if isinstance(term, AnyOf) else (term,)))
    return flat[0] if len(flat) == 1 else AnyOf(flat)


def negated(term: Term) -> Term:
    return term.term if isinstance(term, Not) else Not(term)


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
        named = _FIELD.match(self._text, start)
        if named is None:
            self._refuse_word(start)
        field = named[1].lower()
        if field.partition(".")[0] in _LATER:
            self._fail(start, f"{field}: is not searchable yet; {_known()}")
        if field not in FIELDS:
            self._fail(start, f"there is no field {named[1][:40]!r}; {_known()}")
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

    def _refuse_word(self, start: int) -> NoReturn:
        for between in (_AND, _OR):
            if (found := between.match(self._text, start)) is not None:
                self._fail(start, f"{found[0]} stands between two terms; one is missing here")
        word = _BARE.match(self._text, start)
        shown = repr(word[0][:40]) if word is not None else "a phrase"
        self._fail(start, f"{shown} names no field, and text alone is not searchable yet; {_known()}")

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
        if value in _LATER_IS:
            self._fail(at, f"is:{value} is not searchable yet; there are is:error, is:answered")
        if value not in get_args(Condition):
            self._fail(at, f"there is no is:{value[:40]}; there are is:error, is:answered")
        return Is(cast(Condition, value))

    def _compared(self, at: int, field: NumberField, value: str) -> Term:
        parts = _COMPARED.fullmatch(value)
        assert parts is not None  # it matches everything
        operator, text = cast(Operator, parts[1]), parts[2]
        at += len(operator)
        scale = _SCALES.get(field)
        if scale is None:
            if not operator and (hundreds := _STATUS_CLASS.fullmatch(text)) is not None:
                return StatusClass(int(hundreds[1]))
            if _STATUS.fullmatch(text) is None:
                self._fail(at, "a status is such as 404, 5xx or >=400")
            return Compared(field, operator, int(text))
        example = f"{field}:{_EXAMPLES[field]}"
        if not operator:
            self._fail(at, f"{field}: is compared with >, >=, < or <=, as in {example}")
        return Compared(field, operator, self._measured(at, text, scale, f"as in {example}"))

    def _moment(self, at: int, field: str, text: str) -> datetime:
        shape = (
            f"{field}: takes 30s, 10m, 2h, 1d or 1w ago, or a time such as 2026-11-01 or 2026-11-01T12:00Z"
        )
        try:
            if _AMOUNT.fullmatch(text) is not None:
                return self._now.astimezone(UTC) - timedelta(seconds=self._measured(at, text, _AGES_S, shape))
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


def _known() -> str:
    return f"the fields are {', '.join(FIELDS)}"


def _quoted(text: str) -> str:
    if _QUOTE_WORTHY.search(text) is None:
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _amount(value: int, scale: dict[str, int] | None) -> str:
    if scale is None:
        return str(value)
    return next(f"{value // unit}{name}" for name, unit in scale.items() if value % unit == 0)
